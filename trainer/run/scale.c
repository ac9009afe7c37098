/* scale.c -- what a step on a mesh takes, before any device is asked: memory, bytes sent, time. */
#include "scale.h"
#include "kernels.h"
#include "model.h"
#include "report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- bytes --------------------------------------------------------------------------------- */

/* Bytes that a rank sends in one step along each axis (comm.h counts the same). */
struct scale_bytes {
    uint64_t dp, fsdp, mp;
};

/* What one collective sends: `times` (n-1)/n of the bytes that all ranks together hold. */
static uint64_t sent(uint64_t bytes, int ranks, int times)
{
    return (uint64_t)times * (bytes * (uint64_t)(ranks - 1) / (uint64_t)ranks);
}

/* stored: the bytes of a stored value, which activations and gathered matrices are. */
static uint64_t fsdp_bytes(const struct params *p, int parts, size_t stored)
{
    int ranks = p->mesh.fsdp, blocks = p->units - 2;
    /* Blocks are gathered for the forward and again for the backward, but for the last ones, which
       are still there. */
    int again = blocks > SHARD_PLACES ? blocks - SHARD_PLACES : 0;
    uint64_t total = 0;
    if (ranks == 1)
        return 0;
    for (int u = 0; u < p->units; u++) {
        bool outer = u == 0 || u == p->units - 1;
        const struct param_unit *unit = &p->unit[u];
        uint64_t gathered =
            sent(sizeof(float) * unit->vectors, ranks, 1) + sent(stored * unit->matrices, ranks, 1);
        uint64_t scattered = sent(sizeof(float) * unit->vectors, ranks, 1) +
                             sent(sizeof(float) * unit->matrices, ranks, 1);
        total += gathered * (uint64_t)(!outer && u <= again ? 2 : 1) + scattered;
    }
    return (uint64_t)parts * total + sent(sizeof(double), ranks, 2);
}

/* Rows of logits are seen some at a time. */
static uint64_t mp_bytes(const struct params *p, const struct config *c, int parts, int batch,
                         int seq, size_t stored)
{
    int ranks = p->mesh.mp, layers = c->num_hidden_layers;
    uint64_t rows = (uint64_t)batch * (uint64_t)seq, n = (uint64_t)ranks;
    if (ranks == 1)
        return 0;
    uint64_t stream = sent(stored * rows * (uint64_t)c->hidden_size, ranks, 2);
    uint64_t total = stream * (4 * (uint64_t)layers + 2);
    total += sent(4 * sizeof(float) * rows * n, ranks, 1); /* of the cross entropy */
    if (mixer_is_ttt(c->seq_modeling_block))
        total += (uint64_t)layers * (sent(2 * sizeof(float) * rows * n, ranks, 1) +
                                     sent(2 * sizeof(float) * rows, ranks, 2) +
                                     sent(sizeof(float) * (uint64_t)c->mini_batch_size, ranks, 2));
    return (uint64_t)parts * total + sent(sizeof(double), ranks, 2);
}

/* p is listed on the mesh; parts micro-batches of batch rows of seq tokens on each rank. */
static struct scale_bytes count_bytes(const struct params *p, const struct config *c, int parts,
                                      int batch, int seq, size_t stored)
{
    return (struct scale_bytes){
        .dp = p->mesh.dp > 1 ? sent(sizeof(float) * p->floats, p->mesh.dp, 2) : 0,
        .fsdp = fsdp_bytes(p, parts, stored),
        .mp = mp_bytes(p, c, parts, batch, seq, stored),
    };
}

/* ---- machines ------------------------------------------------------------------------------- */

/* Per device. docs/scale.md tells where from. */
struct machine {
    const char *name;
    double memory_bytes, flops; /* dense bf16, at its peak */
    double near_bytes_s;        /* sent to others of the same machine */
    double far_bytes_s;         /* and over the network */
    int here;                   /* devices on a machine */
};

static const struct machine machines[] = {
    {"h100", 80e9 * 0.94, 989.5e12, 370e9, 42e9, 8},
    {"h200", 141e9 * 0.94, 989.5e12, 370e9, 42e9, 8},
};

/* What of the peak the model's products reach; what a collective costs beside its bytes. */
static const double REACHED = 0.4, NEAR_CALL_S = 15e-6, FAR_CALL_S = 40e-6;

/* ---- a mesh --------------------------------------------------------------------------------- */

struct estimate {
    struct mesh mesh;
    int parts, batch;
    double memory_bytes, compute_s, dp_s, fsdp_s, mp_s, step_s;
    struct scale_bytes bytes, own; /* of a bf16 build, and of this one */
    struct plan plan;
};

/* In the CPU build, where activations are floats, the lines of a bf16 build. */
static double memory_of(struct plan *plan, const struct params *p)
{
    static const char *const halves[] = {"activations", "scratch of the backward",
                                         "gathered parameters"};
    double total = 0;
    if (sizeof(real) == sizeof(float)) {
        for (int i = 0; i < plan->lines; i++)
            for (size_t h = 0; h < sizeof halves / sizeof *halves; h++)
                if (!strcmp(plan->line[i].name, halves[h]))
                    plan->line[i].bytes /= 2;
        plan_add(plan, "working copies", 2 * p->floats);
    }
    for (int i = 0; i < plan->lines; i++)
        total += (double)plan->line[i].bytes;
    return total;
}

/* Seconds for `calls` collectives of `bytes` in all, along an axis whose neighbours lie `apart`. */
static double comm_s(const struct machine *m, double bytes, double calls, int ranks, int apart)
{
    bool near = apart * ranks <= m->here;
    if (ranks == 1)
        return 0;
    return bytes / (near ? m->near_bytes_s : m->far_bytes_s) +
           calls * (near ? NEAR_CALL_S : FAR_CALL_S);
}

static void take_time(struct estimate *e, const struct machine *m, const struct options *o,
                      const struct config *c)
{
    double tokens = (double)o->global_batch_size * (double)o->seq_length;
    double layers = c->num_hidden_layers, parts = e->parts, gib = 1 << 24;
    e->compute_s = tokens * config_train_flops(c, (int)o->seq_length) /
                   (REACHED * m->flops * mesh_ranks(&e->mesh));
    e->mp_s = comm_s(m, (double)e->bytes.mp, parts * (6 * layers + 3), e->mesh.mp, 1);
    e->fsdp_s =
        comm_s(m, (double)e->bytes.fsdp, parts * (6 * layers + 8), e->mesh.fsdp, e->mesh.mp);
    e->dp_s = comm_s(m, (double)e->bytes.dp, (double)e->bytes.dp / gib + 1, e->mesh.dp,
                     e->mesh.mp * e->mesh.fsdp);
    /* Sums along mp are waited for; fsdp's run beside the computing, dp's beside the last
       micro-batch's backward, two thirds of it. */
    double fsdp_over = e->fsdp_s - e->compute_s, dp_over = e->dp_s - e->compute_s / parts * 2 / 3;
    e->step_s =
        e->compute_s + e->mp_s + (fsdp_over > 0 ? fsdp_over : 0) + (dp_over > 0 ? dp_over : 0);
}

/* The largest micro-batch that fits. -1 when none does, or the mesh does not divide the model. */
static int estimate(struct estimate *e, const struct machine *m, const struct options *o,
                    const struct config *c)
{
    struct params p;
    int rows = (int)(o->global_batch_size / o->accum_steps / mesh_data_ranks(&e->mesh));
    if (rows < 1 || params_list_on(&p, c, &e->mesh))
        return -1;
    int status = -1;
    for (int batch = rows; batch >= 1 && status; batch = batch > 1 ? batch / 2 : 0) {
        if (rows % batch)
            continue;
        e->plan = (struct plan){0};
        if (model_plan(&e->plan, c, &p, batch, (int)o->seq_length, true))
            break;
        e->memory_bytes = memory_of(&e->plan, &p);
        e->batch = batch;
        e->parts = rows / batch * (int)o->accum_steps;
        status = e->memory_bytes <= m->memory_bytes ? 0 : -1;
    }
    if (!status) {
        int seq = (int)o->seq_length;
        e->bytes = count_bytes(&p, c, e->parts, e->batch, seq, sizeof(uint16_t));
        e->own = count_bytes(&p, c, e->parts, e->batch, seq, sizeof(real));
        take_time(e, m, o, c);
    }
    params_close(&p);
    return status;
}

/* ---- the best ------------------------------------------------------------------------------- */

enum { SHOWN = 6 };

/* Keep the fastest. */
static void keep(struct estimate best[SHOWN], int *count, const struct estimate *e)
{
    int at = *count < SHOWN ? (*count)++ : SHOWN;
    while (at > 0 && best[at - 1].step_s > e->step_s) {
        if (at < SHOWN)
            best[at] = best[at - 1];
        at--;
    }
    if (at < SHOWN)
        best[at] = *e;
}

static bool divides(const struct options *o, const struct mesh *m)
{
    return o->global_batch_size / o->accum_steps % mesh_data_ranks(m) == 0;
}

static int search(struct estimate best[SHOWN], const struct machine *m, const struct options *o,
                  const struct config *c)
{
    int count = 0, gpus = (int)o->gpus;
    for (int mp = 1; mp <= m->here; mp *= 2)
        for (int fsdp = 1; mp * fsdp <= gpus; fsdp *= 2) {
            struct estimate e = {.mesh = {gpus / mp / fsdp, fsdp, mp, 0}};
            if (mesh_ranks(&e.mesh) == gpus && divides(o, &e.mesh) && !estimate(&e, m, o, c))
                keep(best, &count, &e);
        }
    return count;
}

static void print_bytes(const char *what, const struct scale_bytes *b)
{
    printf("%s: dp %" PRIu64 ", fsdp %" PRIu64 ", mp %" PRIu64 " bytes\n", what, b->dp, b->fsdp,
           b->mp);
}

static void print(const struct estimate *best, int count, const struct machine *m,
                  const struct options *o)
{
    double tokens = (double)o->global_batch_size * (double)o->seq_length;
    char rate[16];
    printf("%" PRId64 " %s, %" PRId64 " rows of %" PRId64 " tokens a step, bf16:\n", o->gpus,
           m->name, o->global_batch_size, o->seq_length);
    printf("  %-16s %6s %10s %9s %9s %9s %9s %9s %12s\n", "dp,fsdp,mp", "rows", "memory GB",
           "compute s", "mp s", "fsdp s", "dp s", "step s", "tokens/s");
    for (int i = 0; i < count; i++) {
        const struct estimate *e = &best[i];
        char mesh[48], batch[24];
        snprintf(mesh, sizeof mesh, "%d,%d,%d", e->mesh.dp, e->mesh.fsdp, e->mesh.mp);
        snprintf(batch, sizeof batch, "%dx%d", e->parts, e->batch);
        printf("  %-16s %6s %10.1f %9.4f %9.4f %9.4f %9.4f %9.4f %12s\n", mesh, batch,
               e->memory_bytes / 1e9, e->compute_s, e->mp_s, e->fsdp_s, e->dp_s, e->step_s,
               human(rate, tokens / e->step_s));
    }
    printf("best: --mesh_dim=%d,%d,%d --micro_batch=%d; of each device:\n", best->mesh.dp,
           best->mesh.fsdp, best->mesh.mp, best->batch);
    plan_write(&best->plan, (size_t)m->memory_bytes, stdout);
    print_bytes("sent a step by a rank", &best->bytes);
    if (sizeof(real) != sizeof(uint16_t))
        print_bytes("as fp32, which this build sends", &best->own);
}

int scale_print(const struct options *o)
{
    const struct machine *m = NULL;
    struct config c;
    struct estimate best[SHOWN];
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
        if (!strcmp(machines[i].name, o->gpu))
            m = &machines[i];
    if (!m)
        return fail("--gpu=%s: no figures for it", o->gpu);
    if (config_from_flags(&c, &o->model))
        return -1;
    c.vocab_size = o->vocab_size ? (int)o->vocab_size : 32000;
    c.max_sequence_length = (int)o->seq_length;
    if (config_check(&c, (int)o->seq_length))
        return -1;
    int count = 0;
    if (strstr(o->mesh_dim, "-1")) {
        count = search(best, m, o, &c);
    } else {
        best[0] = (struct estimate){.mesh = o->mesh};
        count = !estimate(&best[0], m, o, &c);
    }
    if (!count)
        return fail("no mesh of %" PRId64 " %s fits this model with --global_batch_size=%" PRId64
                    ": more devices, or a batch that they divide",
                    o->gpus, m->name, o->global_batch_size);
    print(best, count, m, o);
    return 0;
}
