/* model_block.c -- one block of the model: convolution, mixer, feed-forward; forward and backward.
 */
#include "model_block.h"
#include "device.h"
#include "mixer_parts.h"
#include "model_parts.h"

/* ---- parameters and memory ---------------------------------------------------------------- */

static int find(const struct params *p, int l, const char *name)
{
    char path[PARAM_NAME_BYTES];
    snprintf(path, sizeof path, "model/h/%d/%s", l, name);
    return params_find(p, path);
}

void block_find(struct block_ids *ids, const struct params *p, const struct config *c, int l)
{
    ids->conv_norm = find(p, l, "conv/conv_norm/kernel");
    ids->conv_kernel = find(p, l, "conv/conv1/kernel");
    ids->conv_bias = find(p, l, "conv/conv1/bias");
    ids->seq_norm = find(p, l, "seq_norm/kernel");
    ids->ffn_norm = find(p, l, "ffn_norm/kernel");
    ids->wo = find(p, l, "seq_modeling_block/wo/kernel");
    ids->w1 = find(p, l, "feed_forward/w1/kernel");
    ids->w2 = find(p, l, "feed_forward/w2/kernel");
    ids->w3 = find(p, l, "feed_forward/w3/kernel");
    mixer_find(&ids->mixer, p, c, l);
}

void block_take(struct model *m, struct block_acts *a, struct arena *from)
{
    static const char line[] = "activations";
    const struct config *c = &m->config;
    struct ttt_shape s = model_shape(m, 1);
    size_t column = sizeof(float) * (size_t)m->rows;
    size_t wide = sizeof(real) * (size_t)m->rows * c->hidden_size;
    size_t inner = sizeof(real) * (size_t)m->rows * m->inner;
    bool keep = m->training;

    if (a != m->acts && (!keep || m->recomputing)) {
        *a = m->acts[0];
        a->x = keep ? arena_take(from, line, wide) : a->x;
        a->x_mixer = c->pre_conv ? a->x_mixer : a->x;
        return;
    }
    a->x = arena_take(from, line, wide);
    a->x_mixer = (keep || m->reading) && c->pre_conv ? arena_take(from, line, wide) : a->x;
    a->x_ffn = keep ? arena_take(from, line, wide) : a->x;
    a->h_mixer = arena_take(from, line, wide);
    a->h_ffn = keep ? arena_take(from, line, wide) : a->h_mixer;
    a->conv_in = (keep || m->reading) && c->pre_conv ? arena_take(from, line, wide) : a->h_mixer;
    a->w1_out = arena_take(from, line, inner);
    a->w3_out = arena_take(from, line, inner);
    a->gated = keep ? arena_take(from, line, inner) : a->w1_out;
    a->rms_mixer = arena_take(from, line, column);
    a->rms_ffn = keep ? arena_take(from, line, column) : a->rms_mixer;
    a->rms_conv = keep && c->pre_conv ? arena_take(from, line, column) : a->rms_mixer;
    mixer_take_acts(&a->mixer, c, &s, keep, m->reading, from);
}

/* ---- forward ------------------------------------------------------------------------------ */

/* The stream goes on to where a part of it is added; along mp one rank alone passes it on, for the
   ranks' streams are then added up. */
static void pass_on(real *to, const real *from, const struct model *m)
{
    size_t bytes = sizeof *to * (size_t)m->rows * m->config.hidden_size;
    if (mesh_mp_rank(&m->params->mesh))
        device_zero(to, bytes);
    else if (to != from)
        device_copy(to, from, bytes);
}

void block_fwd(struct model *m, int l, real *x_next, const struct ttt_shape *s, float *curves)
{
    const struct params *p = m->params;
    const struct block_ids *w = &m->ids[l];
    struct block_acts *a = &m->acts[l];
    int rows = m->rows, width = m->config.hidden_size, inner = m->inner;
    int heads_width = width / p->mesh.mp;

    if (m->config.pre_conv) {
        model_rms_fwd(a->conv_in, a->rms_conv, a->x, w->conv_norm, m);
        conv_read(a->x_mixer, a->conv_in, param_master(p, w->conv_kernel),
                  param_master(p, w->conv_bias), a->x, a->past, a->mixer.ttt.zero, m->batch, m->seq,
                  width);
    }
    model_rms_fwd(a->h_mixer, a->rms_mixer, a->x_mixer, w->seq_norm, m);
    mixer_fwd(&a->mixer, a->h_mixer, &w->mixer, p, &m->config, s, curves);
    pass_on(a->x_ffn, a->x_mixer, m);
    matmul(a->x_ffn, a->mixer.y, param_work(p, w->wo), NN, rows, width, heads_width, 1);
    model_add_up(a->x_ffn, m);

    model_rms_fwd(a->h_ffn, a->rms_ffn, a->x_ffn, w->ffn_norm, m);
    matmul(a->w1_out, a->h_ffn, param_work(p, w->w1), NN, rows, inner, width, 0);
    matmul(a->w3_out, a->h_ffn, param_work(p, w->w3), NN, rows, inner, width, 0);
    swiglu_fwd(a->gated, a->w1_out, a->w3_out, (size_t)rows * inner);
    if (!x_next)
        return;
    pass_on(x_next, a->x_ffn, m);
    matmul(x_next, a->gated, param_work(p, w->w2), NN, rows, width, inner, 1);
    model_add_up(x_next, m);
}

/* ---- backward ----------------------------------------------------------------------------- */

void block_bwd(struct model *m, int l, const struct ttt_shape *s)
{
    struct params *p = m->params;
    const struct block_ids *w = &m->ids[l];
    struct block_acts *a = &m->acts[l];
    int rows = m->rows, width = m->config.hidden_size, inner = m->inner;
    int heads_width = width / p->mesh.mp;
    size_t count = (size_t)rows * inner;

    /* gated, w1_out and w3_out become their own gradients once they have served. */
    matmul_f32(param_grad(p, w->w2), a->gated, m->dx, TN, inner, width, rows, 1);
    matmul(a->gated, m->dx, param_work(p, w->w2), NT, rows, inner, width, 0);
    swiglu_bwd(a->w1_out, a->w3_out, a->gated, a->w1_out, a->w3_out, count);
    matmul(m->dh, a->w1_out, param_work(p, w->w1), NT, rows, width, inner, 0);
    matmul(m->dh, a->w3_out, param_work(p, w->w3), NT, rows, width, inner, 1);
    matmul_f32(param_grad(p, w->w1), a->h_ffn, a->w1_out, TN, width, inner, rows, 1);
    matmul_f32(param_grad(p, w->w3), a->h_ffn, a->w3_out, TN, width, inner, rows, 1);
    model_add_up(m->dh, m);
    model_rms_bwd(m, m->dh, a->x_ffn, a->rms_ffn, w->ffn_norm);

    matmul(m->dy, m->dx, param_work(p, w->wo), NT, rows, heads_width, width, 0);
    matmul_f32(param_grad(p, w->wo), a->mixer.y, m->dx, TN, heads_width, width, rows, 1);
    mixer_bwd(m->dh, m->dy, a->h_mixer, &a->mixer, &m->mixer, &w->mixer, p, &m->config, s);
    model_add_up(m->dh, m);
    model_rms_bwd(m, m->dh, a->x_mixer, a->rms_mixer, w->seq_norm);

    if (m->config.pre_conv) {
        conv_bwd(m->dh, param_grad(p, w->conv_kernel), param_grad(p, w->conv_bias), m->dx,
                 a->conv_in, param_master(p, w->conv_kernel), false, m->batch, m->seq, width);
        model_rms_bwd(m, m->dh, a->x, a->rms_conv, w->conv_norm);
    }
}
