/* mixer_ttt.c -- the TTT mixer around its inner loop: projections, convolutions, positions, step
   sizes, inner loop, norm, gate. */
#include "mixer_ttt.h"
#include "comm.h"
#include "device.h"
#include "mixer_parts.h"
#include "ttt_inner.h"

#include <stdio.h>

static const float NORM_EPS = 1e-6f; /* of both layer norms, in every model of the reference */

/* ---- parts -------------------------------------------------------------------------------- */

static int find(const struct params *p, int l, const char *name)
{
    char path[PARAM_NAME_BYTES];
    snprintf(path, sizeof path, "model/h/%d/seq_modeling_block/%s", l, name);
    return params_find(p, path);
}

void mixer_ttt_find(struct mixer_ttt_ids *ids, const struct params *p, int l)
{
    *ids = (struct mixer_ttt_ids){
        .wq = find(p, l, "wq/kernel"),
        .wk = find(p, l, "wk/kernel"),
        .wv = find(p, l, "wv/kernel"),
        .wg = find(p, l, "wg/kernel"),
        .conv_q_kernel = find(p, l, "conv_q/kernel"),
        .conv_q_bias = find(p, l, "conv_q/bias"),
        .conv_k_kernel = find(p, l, "conv_k/kernel"),
        .conv_k_bias = find(p, l, "conv_k/bias"),
        .token_idx = find(p, l, "learnable_token_idx"),
        .lr_kernel = find(p, l, "learnable_ttt_lr/kernel"),
        .lr_bias = find(p, l, "learnable_ttt_lr/bias"),
        .inner_scale = find(p, l, "ttt_norm/scale"),
        .inner_bias = find(p, l, "ttt_norm/bias"),
        .post_scale = find(p, l, "post_norm/scale"),
        .post_bias = find(p, l, "post_norm/bias"),
        .w1 = find(p, l, "ttt_dense_0"),
        .b1 = find(p, l, "ttt_bias_0"),
        .w2 = find(p, l, "ttt_dense_1"),
        .b2 = find(p, l, "ttt_bias_1"),
    };
}

struct ttt_shape mixer_ttt_shape(const struct config *c, int batch, int seq, float ttt_lr_mult)
{
    return (struct ttt_shape){
        .batch = batch,
        .seq = seq,
        .heads = c->num_attention_heads,
        .head_dim = config_head_dim(c),
        .mini_batch = c->mini_batch_size,
        .keep_every = c->remat_mini_batch_group_size,
        .rate = (float)(ttt_lr_mult * c->ttt_base_lr / config_head_dim(c)),
        .eps = NORM_EPS,
    };
}

/* What the inner loop learns from, in masters or, with grad, in gradients. */
static struct ttt_params params_of(const struct mixer_ttt_ids *ids, const struct params *p,
                                   bool grad)
{
    float *(*of)(const struct params *, int) = grad ? param_grad : param_master;
    return (struct ttt_params){
        .token_idx = of(p, ids->token_idx),
        .norm_scale = of(p, ids->inner_scale),
        .norm_bias = of(p, ids->inner_bias),
        .w1 = of(p, ids->w1),
        .b1 = of(p, ids->b1),
        .w2 = ids->w2 < 0 ? NULL : of(p, ids->w2),
        .b2 = ids->b2 < 0 ? NULL : of(p, ids->b2),
    };
}

/* ---- memory ------------------------------------------------------------------------------- */

static size_t sigma_bytes(const struct ttt_shape *s)
{
    return sizeof(float) * (size_t)s->batch * s->heads * s->seq;
}

void mixer_ttt_take_acts(struct mixer_ttt_acts *a, const struct config *c,
                         const struct ttt_shape *s, bool training, bool reading, struct arena *from)
{
    static const char line[] = "activations";
    bool base = mixer_is_base(c->seq_modeling_block), mlp = mixer_is_mlp(c->seq_modeling_block);
    size_t wide = wide_bytes(s), rows = sizeof(float) * (size_t)s->batch * s->seq;
    a->u = base ? NULL : arena_take(from, line, wide);
    a->q = arena_take(from, line, wide);
    a->k = arena_take(from, line, wide);
    a->v = arena_take(from, line, wide);
    a->inner = arena_take(from, line, wide);
    a->normed = arena_take(from, line, wide);
    a->gate = base ? NULL : arena_take(from, line, wide);
    a->y = base ? a->normed : arena_take(from, line, wide);
    a->sigma = arena_take(from, line, sigma_bytes(s));
    a->mean = arena_take(from, line, rows);
    a->inv_std = arena_take(from, line, rows);
    int mp = c->num_attention_heads / s->heads;
    a->parts = mp > 1 ? arena_take(from, line, 2 * rows * (size_t)(mp + 1)) : NULL;
    a->kept = training ? arena_take(from, "inner states kept",
                                    sizeof(float) * ttt_inner_kept_floats(mlp, s))
                       : NULL;
    size_t state = sizeof(float) * (size_t)s->heads * ttt_inner_state_floats(mlp, s->head_dim);
    a->last = reading ? arena_take(from, line, (size_t)s->batch * state) : NULL;
    a->start = reading ? arena_take(from, line, state) : NULL;
    a->zero = reading ? arena_take(from, line, sizeof *a->zero) : NULL;
}

void mixer_ttt_take_scratch(struct mixer_ttt_scratch *t, const struct config *c,
                            const struct ttt_shape *s, struct arena *from)
{
    static const char line[] = "scratch of the backward";
    bool base = mixer_is_base(c->seq_modeling_block);
    size_t wide = wide_bytes(s);
    t->dgate = base ? NULL : arena_take(from, line, wide);
    t->dq = arena_take(from, line, wide);
    t->dk = arena_take(from, line, wide);
    t->dv = arena_take(from, line, wide);
    t->du = base ? NULL : arena_take(from, line, wide);
    t->dsigma = arena_take(from, line, sigma_bytes(s));
}

/* ---- forward ------------------------------------------------------------------------------ */

/* q, k and v before positions; for the kinds with convolutions, u alone and v. */
static void project(struct mixer_ttt_acts *a, const real *h, const struct mixer_ttt_ids *ids,
                    const struct params *p, int rows, int width, int full)
{
    if (a->u) {
        matmul(a->u, h, param_work(p, ids->wq), NN, rows, width, full, 0);
    } else {
        matmul(a->q, h, param_work(p, ids->wq), NN, rows, width, full, 0);
        matmul(a->k, h, param_work(p, ids->wk), NN, rows, width, full, 0);
    }
    matmul(a->v, h, param_work(p, ids->wv), NN, rows, width, full, 0);
}

/* Positions start again with every mini-batch. */
static void turn(real *x, const struct config *c, const struct ttt_shape *s, bool inverse)
{
    rope(x, s->batch, s->seq, s->heads, s->head_dim, 0, s->mini_batch, (float)c->rope_theta,
         inverse);
}

/* Normalise what the inner loop wrote over the whole width, of which a rank has its heads'. */
static void post_norm(struct mixer_ttt_acts *a, const struct mixer_ttt_ids *ids,
                      const struct params *p, int rows, int width)
{
    const float *scale = param_master(p, ids->post_scale), *bias = param_master(p, ids->post_bias);
    int mp = p->mesh.mp;
    if (mp == 1) {
        layernorm_fwd(a->normed, a->mean, a->inv_std, a->inner, scale, bias, rows, width, NORM_EPS);
        return;
    }
    float *own = a->parts + 2 * (size_t)mp * rows;
    layernorm_part_moments(own, a->inner, rows, width);
    comm_wait(comm_all_gather(a->parts, own, 2 * (size_t)rows, COMM_F32, COMM_MP));
    layernorm_part_fwd(a->normed, a->mean, a->inv_std, a->inner, a->parts, scale, bias, rows, width,
                       mp, NORM_EPS);
}

static void post_norm_bwd(real *dy, struct mixer_ttt_acts *a, const struct mixer_ttt_ids *ids,
                          struct params *p, int rows, int width)
{
    const float *scale = param_master(p, ids->post_scale);
    float *dscale = param_grad(p, ids->post_scale), *dbias = param_grad(p, ids->post_bias);
    int mp = p->mesh.mp;
    if (mp == 1) {
        layernorm_bwd(dy, dscale, dbias, dy, a->inner, a->mean, a->inv_std, scale, rows, width);
        return;
    }
    layernorm_part_sums(a->parts, dy, a->inner, a->mean, a->inv_std, scale, rows, width);
    comm_wait(comm_all_reduce(a->parts, 2 * (size_t)rows, COMM_F32, COMM_MP));
    layernorm_part_bwd(dy, dscale, dbias, dy, a->inner, a->mean, a->inv_std, scale, a->parts, rows,
                       width, mp);
}

/* From what the inner loop wrote to y. */
static void norm_and_gate(struct mixer_ttt_acts *a, const real *h, const struct mixer_ttt_ids *ids,
                          const struct params *p, int rows, int width, int full)
{
    post_norm(a, ids, p, rows, width);
    if (!a->gate)
        return;
    matmul(a->gate, h, param_work(p, ids->wg), NN, rows, width, full, 0);
    gelu_gate_fwd(a->y, a->gate, a->normed, (size_t)rows * width);
}

void mixer_ttt_go_on(struct mixer_ttt_acts *a, const struct mixer_ttt_memory *m, int b, bool mlp,
                     const struct ttt_shape *s)
{
    size_t history = (size_t)b * (CONV_WIDTH - 1) * s->heads * s->head_dim;
    a->past = (struct mixer_ttt_memory){0};
    if (!m)
        return;
    if (m->history_q) {
        a->past.history_q = m->history_q + history;
        a->past.history_k = m->history_k + history;
    }
    a->past.inner = (char *)m->inner + (size_t)b * s->heads * ttt_inner_decode_bytes(mlp, s);
    device_zero(a->zero, sizeof *a->zero);
}

/* The matrices of every head one after the other, as parameters are; of a head they are together.
   Returns where the next one's are to be. */
static float *gather_matrix(float **to, float *at, const char *states, size_t stride, size_t first,
                            size_t floats, int heads)
{
    *to = at;
    for (int h = 0; h < heads; h++)
        device_copy(at + (size_t)h * floats, states + (size_t)h * stride + first * sizeof *at,
                    floats * sizeof *at);
    return at + (size_t)heads * floats;
}

/* What the inner loop begins with: the parameters', or what a sequence that goes on has come to. */
static struct ttt_params start_of(const struct mixer_ttt_acts *a, struct ttt_params p,
                                  const struct ttt_shape *s)
{
    bool mlp = p.w2;
    size_t f = (size_t)s->head_dim, wide = mlp ? 4 * f : f, matrix = f * wide;
    size_t stride = ttt_inner_decode_bytes(mlp, s);
    const char *states = a->past.inner;
    if (!states)
        return p;
    float *at = gather_matrix(&p.w1, a->start, states, stride, 0, matrix, s->heads);
    at = gather_matrix(&p.b1, at, states, stride, matrix, wide, s->heads);
    if (mlp) {
        at = gather_matrix(&p.w2, at, states, stride, matrix + wide, matrix, s->heads);
        gather_matrix(&p.b2, at, states, stride, 2 * matrix + wide, f, s->heads);
    }
    return p;
}

void mixer_ttt_fwd(struct mixer_ttt_acts *a, const real *h, const struct mixer_ttt_ids *ids,
                   const struct params *p, const struct config *c, const struct ttt_shape *s,
                   float *curves)
{
    int rows = s->batch * s->seq, width = s->heads * s->head_dim, full = c->hidden_size;
    struct ttt_params inner = start_of(a, params_of(ids, p, false), s);

    project(a, h, ids, p, rows, width, full);
    if (a->u) {
        conv_read(a->q, a->u, param_master(p, ids->conv_q_kernel),
                  param_master(p, ids->conv_q_bias), NULL, a->past.history_q, a->zero, s->batch,
                  s->seq, width);
        conv_read(a->k, a->u, param_master(p, ids->conv_k_kernel),
                  param_master(p, ids->conv_k_bias), NULL, a->past.history_k, a->zero, s->batch,
                  s->seq, width);
    }
    if (curves)
        ttt_target_variance(curves, a->k, a->v, s);
    turn(a->q, c, s, false);
    turn(a->k, c, s, false);
    ttt_gate_fwd(a->sigma, h, param_master(p, ids->lr_kernel), param_master(p, ids->lr_bias),
                 s->batch, s->seq, s->heads, full);
    if (curves)
        ttt_inner_stats(curves + s->seq / s->mini_batch, a->k, a->v, a->sigma, &inner, s);
    ttt_inner_fwd(a->inner, a->kept, a->last, a->q, a->k, a->v, a->sigma, &inner, s);
    norm_and_gate(a, h, ids, p, rows, width, full);
}

/* ---- one token ---------------------------------------------------------------------------- */

void mixer_ttt_take_memory(struct mixer_ttt_memory *m, const struct config *c,
                           const struct ttt_shape *s, struct arena *from)
{
    static const char line[] = "memory of the sequences";
    bool base = mixer_is_base(c->seq_modeling_block);
    size_t history = sizeof(real) * (size_t)s->batch * (CONV_WIDTH - 1) * s->heads * s->head_dim;
    m->history_q = base ? NULL : arena_take(from, line, history);
    m->history_k = base ? NULL : arena_take(from, line, history);
    m->inner = arena_take(from, line,
                          (size_t)s->batch * s->heads *
                              ttt_inner_decode_bytes(mixer_is_mlp(c->seq_modeling_block), s));
}

void mixer_ttt_begin(struct mixer_ttt_memory *m, int first, const struct mixer_ttt_acts *read,
                     const struct mixer_ttt_ids *ids, const struct params *p,
                     const struct ttt_shape *s)
{
    struct ttt_params inner = params_of(ids, p, false);
    size_t state = (size_t)s->heads * ttt_inner_decode_bytes(inner.w2, s);
    if (m->history_q) {
        history_begin(m->history_q, first, read ? read->u : NULL, s);
        history_begin(m->history_k, first, read ? read->u : NULL, s);
    }
    ttt_inner_decode_begin((char *)m->inner + (size_t)first * state, read ? read->last : NULL,
                           &inner, s);
}

void mixer_ttt_step(struct mixer_ttt_acts *a, struct mixer_ttt_memory *m, const real *h,
                    const int32_t *position, const struct mixer_ttt_ids *ids,
                    const struct params *p, const struct config *c, const struct ttt_shape *s)
{
    int rows = s->batch, width = s->heads * s->head_dim, full = c->hidden_size;
    struct ttt_params inner = params_of(ids, p, false);

    project(a, h, ids, p, rows, width, full);
    if (a->u) {
        conv_step(a->q, m->history_q, a->u, param_master(p, ids->conv_q_kernel),
                  param_master(p, ids->conv_q_bias), NULL, position, rows, width);
        conv_step(a->k, m->history_k, a->u, param_master(p, ids->conv_k_kernel),
                  param_master(p, ids->conv_k_bias), NULL, position, rows, width);
    }
    rope_step(a->q, position, rows, s->heads, s->head_dim, s->mini_batch, s->mini_batch,
              (float)c->rope_theta);
    rope_step(a->k, position, rows, s->heads, s->head_dim, s->mini_batch, s->mini_batch,
              (float)c->rope_theta);
    ttt_gate_fwd(a->sigma, h, param_master(p, ids->lr_kernel), param_master(p, ids->lr_bias),
                 s->batch, 1, s->heads, full);
    ttt_inner_decode(a->inner, m->inner, a->q, a->k, a->v, a->sigma, position, &inner, s);
    norm_and_gate(a, h, ids, p, rows, width, full);
}

/* ---- backward ----------------------------------------------------------------------------- */

void mixer_ttt_bwd(real *dh, real *dy, const real *h, struct mixer_ttt_acts *a,
                   struct mixer_ttt_scratch *t, const struct mixer_ttt_ids *ids, struct params *p,
                   const struct config *c, const struct ttt_shape *s)
{
    int rows = s->batch * s->seq, width = s->heads * s->head_dim, full = c->hidden_size;
    struct ttt_params inner = params_of(ids, p, false);
    struct ttt_params dinner = params_of(ids, p, true);

    if (a->gate)
        gelu_gate_bwd(t->dgate, dy, dy, a->gate, a->normed, (size_t)rows * width);
    post_norm_bwd(dy, a, ids, p, rows, width);

    if (mesh_mp_rank(&p->mesh)) /* every head adds to it, whichever rank has them */
        device_zero(dinner.token_idx, sizeof *dinner.token_idx * (size_t)s->mini_batch);
    ttt_inner_bwd(t->dq, t->dk, t->dv, t->dsigma, &dinner, dy, a->q, a->k, a->v, a->sigma, a->kept,
                  &inner, s);
    if (p->mesh.mp > 1)
        comm_wait(comm_all_reduce(dinner.token_idx, (size_t)s->mini_batch, COMM_F32, COMM_MP));

    turn(t->dq, c, s, true);
    turn(t->dk, c, s, true);
    project_bwd(dh, t->dv, h, p, ids->wv, rows, width, full, 0);
    if (!a->u) {
        project_bwd(dh, t->dq, h, p, ids->wq, rows, width, full, 1);
        project_bwd(dh, t->dk, h, p, ids->wk, rows, width, full, 1);
    } else {
        conv_bwd(t->du, param_grad(p, ids->conv_q_kernel), param_grad(p, ids->conv_q_bias), t->dq,
                 a->u, param_master(p, ids->conv_q_kernel), false, s->batch, s->seq, width);
        conv_bwd(t->du, param_grad(p, ids->conv_k_kernel), param_grad(p, ids->conv_k_bias), t->dk,
                 a->u, param_master(p, ids->conv_k_kernel), true, s->batch, s->seq, width);
        project_bwd(dh, t->du, h, p, ids->wq, rows, width, full, 1);
        project_bwd(dh, t->dgate, h, p, ids->wg, rows, width, full, 1);
    }
    ttt_gate_bwd(dh, param_grad(p, ids->lr_kernel), param_grad(p, ids->lr_bias), t->dsigma,
                 a->sigma, h, param_master(p, ids->lr_kernel), s->batch, s->seq, s->heads, full);
}
