/* ttt_mlp.c -- the inner loop of TTT-MLP, forward. */
#include "device.h"
#include "inner_mlp.h"
#include "kernels.h"

#include <omp.h>

size_t ttt_mlp_state_floats(int head_dim)
{
    size_t f = head_dim;
    return 8 * f * f + 5 * f;
}

size_t ttt_mlp_kept_floats(const struct ttt_shape *s)
{
    size_t steps = (size_t)s->seq / s->mini_batch;
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    return (size_t)s->batch * s->heads * groups * ttt_mlp_state_floats(s->head_dim);
}

/* One thread's scratch. XQ and Z1 hold the rows of the keys and, after them, those of the queries:
   one product with W1 serves both. */
struct arena {
    float *state;
    float *xq;             /* [2 padded][f] */
    float *z1;             /* [2 padded][4f] */
    float *v, *e, *xh, *g; /* [padded][f] */
    float *zb, *scaled;    /* [padded][f] */
    float *xt, *gt;        /* [f][padded] */
    float *x2, *g1;        /* [padded][4f] */
    float *wide;           /* [4f][padded] */
    float *p;              /* [padded][padded] */
    float *r;              /* [padded] */
};

static size_t arena_floats(const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch);
    return lines(ttt_mlp_state_floats(s->head_dim)) + (10 + 5 * 4) * padded * f + padded * padded +
           padded;
}

static struct arena arena_lay(float *at, const struct ttt_shape *s)
{
    size_t padded = inner_padded(s->mini_batch), tile = padded * s->head_dim;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s));
    a.state = at;
    a.xq = at + lines(ttt_mlp_state_floats(s->head_dim));
    a.v = a.xq + 2 * tile;
    a.e = a.v + tile;
    a.xh = a.e + tile;
    a.g = a.xh + tile;
    a.zb = a.g + tile;
    a.scaled = a.zb + tile;
    a.xt = a.scaled + tile;
    a.gt = a.xt + tile;
    a.z1 = a.gt + tile;
    a.x2 = a.z1 + 8 * tile;
    a.g1 = a.x2 + 4 * tile;
    a.wide = a.g1 + 4 * tile;
    a.p = a.wide + 4 * tile;
    a.r = a.p + padded * padded;
    return a;
}

/* The rows of Zb after what the mini-batch has learned; p is E's part of it, [padded][padded]. */
INLINE void outputs(const int f, struct arena *a, const struct mlp *m, const float *t,
                    const float *rate, int padded)
{
    float *queries = a->xq + padded * f, *z1b = a->z1 + padded * 4 * f;
    transpose(a->xt, a->xq, padded, f);
    product(a->p, queries, f, 1, a->xt, padded, padded, f, false);
    pair_weights(a->p, a->p, t, rate, padded);
    product(z1b, a->p, padded, 1, a->g1, padded, 4 * f, padded, true);
#pragma omp simd
    for (int i = 0; i < padded * 4 * f; i++)
        z1b[i] = vec_gelu(z1b[i]);
    transpose(a->wide, a->x2, padded, 4 * f);
    product(a->p, z1b, 4 * f, 1, a->wide, padded, padded, 4 * f, false);
    pair_weights(a->p, a->p, t, rate, padded);
    layer(a->zb, z1b, m->w2, m->b2, padded, 4 * f, f);
    product(a->zb, a->p, padded, 1, a->g, padded, f, padded, true);
}

/* One head of one sequence. */
INLINE void head(const int f, struct arena *a, int batch, int h, real *out, float *kept,
                 float *last, const real *q, const real *k, const real *v, const float *sigma,
                 const struct ttt_params *p, const struct ttt_shape *s)
{
    const int tokens = s->mini_batch, padded = inner_padded(tokens), steps = s->seq / tokens;
    const size_t stride = (size_t)s->heads * f, state = ttt_mlp_state_floats(f);
    const size_t chain = (size_t)batch * s->heads + h;
    const float *scale = p->norm_scale + h * f, *bias = p->norm_bias + h * f;
    const struct mlp m = mlp_lay(a->state, f);
    const struct mlp_learned l = {
        .z1 = a->z1, .x2 = a->x2, .xh = a->xh, .e = a->e, .r = a->r, .g2 = a->g, .h = a->g1};
    float *queries = a->xq + padded * f;
    float t[INNER_TOKENS_MAX], rate[INNER_TOKENS_MAX] = {0}, step[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, tokens);
    mlp_begin(a->state, p, h, f);
    if (kept)
        kept += chain * ((steps + s->keep_every - 1) / s->keep_every) * state;

    for (int c = 0; c < steps; c++) {
        if (kept && c % s->keep_every == 0) {
            memcpy(kept, a->state, sizeof(float) * state);
            kept += state;
        }
        size_t at = head_at(s, batch, c * tokens, h);
        rows_load(a->xq, k + at, stride, tokens, f);
        rows_load(queries, q + at, stride, tokens, f);
        rows_load(a->v, v + at, stride, tokens, f);
        if (c + 1 < steps) {
            size_t next = head_at(s, batch, (c + 1) * tokens, h);
            rows_prefetch(k + next, stride, tokens, f);
            rows_prefetch(q + next, stride, tokens, f);
            rows_prefetch(v + next, stride, tokens, f);
        }
        for (int j = 0; j < tokens; j++) {
            rate[j] = s->rate * sigma[chain * s->seq + c * tokens + j];
            step[j] = t[tokens - 1] * rate[j];
        }
        layer(a->z1, a->xq, m.w1, m.b1, 2 * padded, f, 4 * f);
        mlp_learn(&l, a->wide, a->gt, a->xq, a->v, &m, scale, bias, s->eps, tokens, padded, f);
        mlp_slope(a->g1, a->z1, padded, f);
        outputs(f, a, &m, t, rate, padded);
        for (int i = 0; i < tokens; i++) {
            float *zi = a->zb + i * f;
            const float *qi = queries + i * f;
            real *to = out + at + i * stride;
            row_normalise(zi, s->eps, f);
#pragma omp simd
            for (int x = 0; x < f; x++)
                to[x] = qi[x] + scale[x] * zi[x] + bias[x];
        }
        mlp_update(&m, a->scaled, a->xq, a->g1, a->x2, a->g, step, tokens, padded, f);
    }
    if (last)
        memcpy(last + chain * state, a->state, sizeof(float) * state);
}

void ttt_mlp_fwd(real *out, float *kept, float *last, const real *q, const real *k, const real *v,
                 const float *sigma, const struct ttt_params *p, const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads;
    size_t arena = arena_floats(s);
    float *work = device_workspace(sizeof *work * arena * omp_get_max_threads());
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), s);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < chains; i++)
            WITH_HEAD_DIM(s->head_dim, head, &a, i / s->heads, i % s->heads, out, kept, last, q, k,
                          v, sigma, p, s);
    }
}
