/* ttt_stats.c -- how well the inner model fits, for people. */
#include "device.h"
#include "inner_mlp.h"
#include "kernels.h"

#include <omp.h>

struct arena {
    float *first, *state;      /* the model at the start, and as it learns */
    float *x, *v, *z, *e, *g;  /* [padded][f] */
    float *scaled, *gt;        /* [padded][f] */
    float *z1, *x2, *g1, *z1t; /* [padded][4f], of the MLP */
    float *r;                  /* [padded] */
};

static size_t state_floats(const struct ttt_shape *s, bool mlp)
{
    return mlp ? ttt_mlp_state_floats(s->head_dim) : ttt_linear_state_floats(s->head_dim);
}

static size_t arena_floats(const struct ttt_shape *s, bool mlp)
{
    size_t padded = inner_padded(s->mini_batch), tile = padded * s->head_dim;
    return 2 * lines(state_floats(s, mlp)) + 7 * tile + (mlp ? 16 * tile : 0) + padded;
}

static struct arena arena_lay(float *at, const struct ttt_shape *s, bool mlp)
{
    size_t padded = inner_padded(s->mini_batch), tile = padded * s->head_dim;
    size_t wide = mlp ? 4 * tile : 0;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s, mlp));
    a.first = at;
    a.state = a.first + lines(state_floats(s, mlp));
    a.x = a.state + lines(state_floats(s, mlp));
    a.v = a.x + tile;
    a.z = a.v + tile;
    a.e = a.z + tile;
    a.g = a.e + tile;
    a.scaled = a.g + tile;
    a.gt = a.scaled + tile;
    a.z1 = a.gt + tile;
    a.x2 = a.z1 + wide;
    a.g1 = a.x2 + wide;
    a.z1t = a.g1 + wide;
    a.r = a.z1t + wide;
    return a;
}

/* Sum of (LN(model(x)) - (v - x))^2 over the head's columns. */
INLINE double row_error(const int f, const bool mlp, float *state, const float *x, const float *v,
                        const float *scale, const float *bias, float eps)
{
    float z[96], x2[4 * 96];
    if (mlp) {
        const struct mlp m = mlp_lay(state, f);
        layer_row(x2, x, m.w1, m.b1, f, 4 * f);
#pragma omp simd
        for (int c = 0; c < 4 * f; c++)
            x2[c] = vec_gelu(x2[c]);
        layer_row(z, x2, m.w2, m.b2, 4 * f, f);
    } else {
        layer_row(z, x, state, state + f * f, f, f);
    }
    row_normalise(z, eps, f);
    double sum = 0;
    for (int c = 0; c < f; c++) {
        double e = (double)scale[c] * z[c] + bias[c] - ((double)v[c] - x[c]);
        sum += e * e;
    }
    return sum;
}

/* The state learns the mini-batch in x and v. */
INLINE void learn(const int f, const bool mlp, struct arena *a, const float *scale,
                  const float *bias, const float *step, const struct ttt_shape *s)
{
    const int tokens = s->mini_batch, padded = inner_padded(tokens);
    if (mlp) {
        const struct mlp m = mlp_lay(a->state, f);
        const struct mlp_learned l = {
            .z1 = a->z1, .x2 = a->x2, .xh = a->z, .e = a->e, .r = a->r, .g2 = a->g, .h = a->g1};
        layer(a->z1, a->x, m.w1, m.b1, padded, f, 4 * f);
        mlp_learn(&l, a->z1t, a->gt, a->x, a->v, &m, scale, bias, s->eps, tokens, padded, f);
        mlp_slope(a->g1, a->z1, padded, f);
        mlp_update(&m, a->scaled, a->x, a->g1, a->x2, a->g, step, tokens, padded, f);
        return;
    }
    float *w = a->state, *b = w + f * f;
    layer(a->z, a->x, w, b, padded, f, f);
    for (int j = 0; j < tokens; j++)
        row_gradient(a->z + j * f, a->e + j * f, a->g + j * f, a->x + j * f, a->v + j * f, scale,
                     bias, s->eps, f);
    state_update(w, b, a->scaled, a->x, a->g, step, tokens, padded, f);
}

/* sums [3][steps] of one chain */
INLINE void head(const int f, const bool mlp, double *sums, struct arena *a, int batch, int h,
                 const real *k, const real *v, const float *sigma, const struct ttt_params *p,
                 const struct ttt_shape *s)
{
    const int tokens = s->mini_batch, steps = s->seq / tokens;
    const size_t stride = (size_t)s->heads * f, chain = (size_t)batch * s->heads + h;
    const float *scale = p->norm_scale + h * f, *bias = p->norm_bias + h * f;
    const float *lx = a->x + (tokens - 1) * f, *lv = a->v + (tokens - 1) * f;
    float t[INNER_TOKENS_MAX], step[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, tokens);
    if (mlp) {
        mlp_begin(a->first, p, h, f);
    } else {
        memcpy(a->first, p->w1 + (size_t)h * f * f, sizeof(float) * f * f);
        memcpy(a->first + f * f, p->b1 + (size_t)h * f, sizeof(float) * f);
    }
    memcpy(a->state, a->first, sizeof(float) * state_floats(s, mlp));
    for (int c = 0; c < steps; c++) {
        size_t at = head_at(s, batch, c * tokens, h);
        rows_load(a->x, k + at, stride, tokens, f);
        rows_load(a->v, v + at, stride, tokens, f);
        sums[c] = row_error(f, mlp, a->first, lx, lv, scale, bias, s->eps);
        sums[steps + c] = row_error(f, mlp, a->state, lx, lv, scale, bias, s->eps);
        for (int j = 0; j < tokens; j++)
            step[j] = t[tokens - 1] * s->rate * sigma[chain * s->seq + c * tokens + j];
        learn(f, mlp, a, scale, bias, step, s);
        sums[2 * steps + c] = row_error(f, mlp, a->state, lx, lv, scale, bias, s->eps);
    }
}

/* curve[i] = the chains' mean of sums [chains][count], in order */
static void means(float *curve, const double *sums, int count, const struct ttt_shape *s)
{
    int chains = s->batch * s->heads;
    for (int i = 0; i < count; i++) {
        double total = 0;
        for (int chain = 0; chain < chains; chain++)
            total += sums[(size_t)chain * count + i];
        curve[i] = (float)(total / ((double)chains * s->head_dim));
    }
}

INLINE void stats(const bool mlp, float *curve, const real *k, const real *v, const float *sigma,
                  const struct ttt_params *p, const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads, count = 3 * (s->seq / s->mini_batch);
    size_t arena = lines(arena_floats(s, mlp)), arenas = arena * omp_get_max_threads();
    float *work = device_workspace(sizeof *work * arenas + sizeof(double) * chains * count);
    double *sums = (double *)(work + arenas);
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), s, mlp);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < chains; i++)
            WITH_HEAD_DIM(s->head_dim, head, mlp, sums + (size_t)i * count, &a, i / s->heads,
                          i % s->heads, k, v, sigma, p, s);
    }
    means(curve, sums, count, s);
}

void ttt_linear_stats(float *curve, const real *k, const real *v, const float *sigma,
                      const struct ttt_params *p, const struct ttt_shape *s)
{
    stats(false, curve, k, v, sigma, p, s);
}

void ttt_mlp_stats(float *curve, const real *k, const real *v, const float *sigma,
                   const struct ttt_params *p, const struct ttt_shape *s)
{
    stats(true, curve, k, v, sigma, p, s);
}

void ttt_target_variance(float *curve, const real *k, const real *v, const struct ttt_shape *s)
{
    assert(s->batch > 0 && s->heads > 0 && s->head_dim > 0 && s->seq > 0);
    assert(s->mini_batch > 0 && s->seq % s->mini_batch == 0);
    int chains = s->batch * s->heads, steps = s->seq / s->mini_batch;
    double *sums = device_workspace(sizeof *sums * chains * steps);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < chains; i++) {
        double *to = sums + (size_t)i * steps;
        memset(to, 0, sizeof *to * steps);
        for (int x = 0; x < s->head_dim; x++) {
            double mean = 0;
            for (int t = 0; t < s->seq; t++) {
                size_t at = head_at(s, i / s->heads, t, i % s->heads) + x;
                mean += (double)v[at] - k[at];
            }
            mean /= s->seq;
            for (int c = 0; c < steps; c++) {
                size_t at = head_at(s, i / s->heads, c * s->mini_batch, i % s->heads) + x;
                double d = (double)v[at] - k[at] - mean;
                to[c] += d * d;
            }
        }
    }
    means(curve, sums, steps, s);
}
