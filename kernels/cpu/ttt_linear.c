/* ttt_linear.c -- the inner loop of TTT-Linear, forward. */
#include "device.h"
#include "inner.h"
#include "kernels.h"

#include <omp.h>

int ttt_mini_batch_most(void)
{
    return INNER_TOKENS_MAX;
}

size_t ttt_linear_state_floats(int head_dim)
{
    return (size_t)head_dim * head_dim + head_dim;
}

size_t ttt_linear_kept_floats(const struct ttt_shape *s)
{
    size_t steps = (size_t)s->seq / s->mini_batch;
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    return (size_t)s->batch * s->heads * groups * ttt_linear_state_floats(s->head_dim);
}

/* One thread's scratch: pointers into its part of the workspace. XQ and Z hold the rows of the keys
   and, after them, those of the queries: one product with W serves both. */
struct arena {
    float *w, *b;     /* [f][f], [f]: the state */
    float *xq, *z;    /* [2 padded][f] */
    float *v, *e, *g; /* [padded][f] */
    float *xt;        /* [f][padded] */
    float *p;         /* [padded][padded] */
    float *sx;        /* [padded][f] */
};

static size_t arena_floats(const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch);
    return lines(f * f + f) + 9 * padded * f + padded * padded;
}

static struct arena arena_lay(float *at, const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch), tile = padded * f;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s));
    a.w = at;
    a.b = a.w + f * f;
    a.xq = at + lines(f * f + f);
    a.z = a.xq + 2 * tile;
    a.v = a.z + 2 * tile;
    a.e = a.v + tile;
    a.g = a.e + tile;
    a.xt = a.g + tile;
    a.sx = a.xt + tile;
    a.p = a.sx + tile;
    return a;
}

/* One head of one sequence. */
INLINE void head(const int f, struct arena *a, int batch, int h, real *out, float *kept,
                 float *last, const real *q, const real *k, const real *v, const float *sigma,
                 const struct ttt_params *p, const struct ttt_shape *s)
{
    const int tokens = s->mini_batch, padded = inner_padded(tokens), steps = s->seq / tokens;
    const int tile = padded * f;
    const size_t stride = (size_t)s->heads * f, state = (size_t)f * f + f;
    const size_t chain = (size_t)batch * s->heads + h;
    const float *scale = p->norm_scale + h * f, *bias = p->norm_bias + h * f;
    float *zq = a->z + tile, *queries = a->xq + tile;
    float t[INNER_TOKENS_MAX], rate[INNER_TOKENS_MAX] = {0}, step[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, tokens);
    memcpy(a->w, p->w1 + (size_t)h * f * f, sizeof(float) * f * f);
    memcpy(a->b, p->b1 + (size_t)h * f, sizeof(float) * f);
    if (kept)
        kept += chain * ((steps + s->keep_every - 1) / s->keep_every) * state;

    for (int c = 0; c < steps; c++) {
        if (kept && c % s->keep_every == 0) {
            memcpy(kept, a->w, sizeof(float) * state);
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
        rows_fill(a->z, a->b, 2 * padded, f);
        product(a->z, a->xq, f, 1, a->w, 2 * padded, f, f, true);
        for (int j = 0; j < tokens; j++)
            row_gradient(a->z + j * f, a->e + j * f, a->g + j * f, a->xq + j * f, a->v + j * f,
                         scale, bias, s->eps, f);
        transpose(a->xt, a->xq, padded, f);
        product(a->p, queries, f, 1, a->xt, padded, padded, f, false);
        pair_weights(a->p, a->p, t, rate, padded);
        product(zq, a->p, padded, 1, a->g, padded, f, padded, true);
        for (int i = 0; i < tokens; i++) {
            float *zi = zq + i * f;
            const float *qi = queries + i * f;
            real *to = out + at + i * stride;
            row_normalise(zi, s->eps, f);
#pragma omp simd
            for (int x = 0; x < f; x++)
                to[x] = qi[x] + scale[x] * zi[x] + bias[x];
        }
        state_update(a->w, a->b, a->sx, a->xq, a->g, step, tokens, padded, f);
    }
    if (last)
        memcpy(last + chain * state, a->w, sizeof(float) * state);
}

void ttt_linear_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                    const real *v, const float *sigma, const struct ttt_params *p,
                    const struct ttt_shape *s)
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
