/* mixer_attention.c -- the Transformer's mixer: projections, positions, causal attention. */
#include "mixer_attention.h"
#include "device.h"
#include "mixer_parts.h"

#include <assert.h>
#include <stdio.h>

/* ---- parts -------------------------------------------------------------------------------- */

static int find(const struct params *p, int l, const char *name)
{
    char path[PARAM_NAME_BYTES];
    snprintf(path, sizeof path, "model/h/%d/seq_modeling_block/%s/kernel", l, name);
    return params_find(p, path);
}

void mixer_attention_find(struct mixer_attention_ids *ids, const struct params *p, int l)
{
    ids->wq = find(p, l, "wq");
    ids->wk = find(p, l, "wk");
    ids->wv = find(p, l, "wv");
}

void mixer_attention_take_acts(struct mixer_attention_acts *a, const struct ttt_shape *s,
                               struct arena *from)
{
    static const char line[] = "activations";
    a->q = arena_take(from, line, wide_bytes(s));
    a->k = arena_take(from, line, wide_bytes(s));
    a->v = arena_take(from, line, wide_bytes(s));
    a->y = arena_take(from, line, wide_bytes(s));
    a->lse = arena_take(from, line, sizeof *a->lse * (size_t)s->batch * s->heads * s->seq);
}

void mixer_attention_take_scratch(struct mixer_attention_scratch *t, const struct ttt_shape *s,
                                  struct arena *from)
{
    static const char line[] = "scratch of the backward";
    t->dq = arena_take(from, line, wide_bytes(s));
    t->dk = arena_take(from, line, wide_bytes(s));
    t->dv = arena_take(from, line, wide_bytes(s));
}

void mixer_attention_take_memory(struct mixer_attention_memory *m, const struct ttt_shape *s,
                                 int capacity, struct arena *from)
{
    static const char line[] = "memory of the sequences";
    assert(s->seq == 1);
    m->capacity = capacity;
    m->k = arena_take(from, line, wide_bytes(s) * (size_t)capacity);
    m->v = arena_take(from, line, wide_bytes(s) * (size_t)capacity);
}

/* ---- forward ------------------------------------------------------------------------------ */

/* Positions count from the sequence's start. */
static void turn(real *x, const struct config *c, const struct ttt_shape *s, bool inverse)
{
    rope(x, s->batch, s->seq, s->heads, s->head_dim, 0, 0, (float)c->rope_theta, inverse);
}

/* q, k and v before positions. */
static void project(struct mixer_attention_acts *a, const real *h,
                    const struct mixer_attention_ids *ids, const struct params *p,
                    const struct config *c, const struct ttt_shape *s)
{
    int rows = s->batch * s->seq, width = s->heads * s->head_dim, full = c->hidden_size;
    matmul(a->q, h, param_work(p, ids->wq), NN, rows, width, full, 0);
    matmul(a->k, h, param_work(p, ids->wk), NN, rows, width, full, 0);
    matmul(a->v, h, param_work(p, ids->wv), NN, rows, width, full, 0);
}

void mixer_attention_fwd(struct mixer_attention_acts *a, const real *h,
                         const struct mixer_attention_ids *ids, const struct params *p,
                         const struct config *c, const struct ttt_shape *s)
{
    project(a, h, ids, p, c, s);
    turn(a->q, c, s, false);
    turn(a->k, c, s, false);
    attention_fwd(a->y, a->lse, a->q, a->k, a->v, s->batch, s->seq, s->heads, s->head_dim);
}

void mixer_attention_begin(struct mixer_attention_memory *m, int first,
                           const struct mixer_attention_acts *read, const struct ttt_shape *s)
{
    size_t width = (size_t)s->heads * s->head_dim, bytes = sizeof(real) * width * (size_t)s->seq;
    assert(s->seq <= m->capacity);
    for (int b = 0; b < s->batch; b++) {
        size_t from = (size_t)b * (size_t)s->seq * width;
        size_t to = ((size_t)first + (size_t)b) * (size_t)m->capacity * width;
        device_copy(m->k + to, read->k + from, bytes);
        device_copy(m->v + to, read->v + from, bytes);
    }
}

void mixer_attention_step(struct mixer_attention_acts *a, struct mixer_attention_memory *m,
                          const real *h, const int32_t *position,
                          const struct mixer_attention_ids *ids, const struct params *p,
                          const struct config *c, const struct ttt_shape *s)
{
    project(a, h, ids, p, c, s);
    rope_step(a->q, position, s->batch, s->heads, s->head_dim, 0, m->capacity,
              (float)c->rope_theta);
    rope_step(a->k, position, s->batch, s->heads, s->head_dim, 0, m->capacity,
              (float)c->rope_theta);
    attention_decode(a->y, m->k, m->v, a->q, a->k, a->v, position, m->capacity, s->batch, s->heads,
                     s->head_dim);
}

/* ---- backward ----------------------------------------------------------------------------- */

void mixer_attention_bwd(real *dh, const real *dy, const real *h,
                         const struct mixer_attention_acts *a, struct mixer_attention_scratch *t,
                         const struct mixer_attention_ids *ids, struct params *p,
                         const struct config *c, const struct ttt_shape *s)
{
    int rows = s->batch * s->seq, width = s->heads * s->head_dim, full = c->hidden_size;
    attention_bwd(t->dq, t->dk, t->dv, dy, a->y, a->lse, a->q, a->k, a->v, s->batch, s->seq,
                  s->heads, s->head_dim);
    turn(t->dq, c, s, true);
    turn(t->dk, c, s, true);
    project_bwd(dh, t->dv, h, p, ids->wv, rows, width, full, 0);
    project_bwd(dh, t->dq, h, p, ids->wq, rows, width, full, 1);
    project_bwd(dh, t->dk, h, p, ids->wk, rows, width, full, 1);
}
