/* norms.c -- how large a run's weights and activations are, layer by layer. */
#include "norms.h"
#include "device.h"
#include "kernels.h"
#include "run_ranks.h"

#include <math.h>

/* The square sum of [rows][width]; sum: room for one on the device. The logits' place serves, which
   the next micro-batch writes anew. */
static double stream_square_sum(const struct model *m, const real *x, double *sum)
{
    size_t count = (size_t)m->rows * (size_t)m->config.hidden_size;
    size_t room = (size_t)m->chunk_rows * (size_t)m->vocab;
    double all = 0, part;
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < room ? count - at : room;
        float_from_real(m->logits, x + at, n);
        square_sum(sum, m->logits, n);
        device_get(&part, sum, sizeof part);
        all += part;
    }
    return all;
}

/* Ranks along mp have the same stream, other ranks each its own rows. */
static int add_over_ranks(struct run *r, double *sums, int count)
{
    for (int i = 0; i < count && mesh_mp_rank(&r->options->mesh); i++)
        sums[i] = 0;
    for (int i = 0; i < count; i += TEAM_SUMS)
        if (team_sum(r->team, sums + i, count - i < TEAM_SUMS ? count - i : TEAM_SUMS))
            return -1;
    return 0;
}

int norms_measure(struct run *r, double *weights, double *activations)
{
    const struct model *m = &r->model;
    const struct params *p = &r->params;
    int layers = m->config.num_hidden_layers;
    double *sum = device_alloc(sizeof *sum);
    if (!sum)
        return fail("out of memory on the device for --norms_every");
    for (int l = 0; l <= layers; l++)
        activations[l] = stream_square_sum(m, l < layers ? m->acts[l].x : m->x_out, sum);
    device_free(sum);
    if (add_over_ranks(r, activations, layers + 1))
        return -1;
    double floats = (double)m->rows * m->config.hidden_size * mesh_data_ranks(&r->options->mesh);
    for (int l = 0; l <= layers; l++)
        activations[l] = sqrt(activations[l] / floats);

    const double *sums = optim_weight_sums(&r->optim, p);
    for (int u = 0; u < layers + 2; u++)
        weights[u] = 0;
    for (int i = 0; i < p->count; i++)
        weights[p->list[i].unit] += sums[i];
    for (int u = 0; u < layers + 2; u++)
        weights[u] = sqrt(weights[u]);
    const char *broken = device_sync();
    return broken ? fail("%s", broken) : 0;
}
