/* ttt_stats.c -- how well the inner model fits, for people. */
#include "device.h"
#include "inner.h"
#include "kernels.h"

#include <omp.h>

struct arena {
    float *w, *b;              /* the state */
    float *x, *v, *z, *g, *sx; /* [padded][f] */
};

static size_t arena_floats(const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch);
    return lines(f * f + f) + 5 * padded * f;
}

static struct arena arena_lay(float *at, const struct ttt_shape *s)
{
    size_t f = s->head_dim, tile = inner_padded(s->mini_batch) * f;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s));
    a.w = at;
    a.b = a.w + f * f;
    a.x = at + lines(f * f + f);
    a.v = a.x + tile;
    a.z = a.v + tile;
    a.g = a.z + tile;
    a.sx = a.g + tile;
    return a;
}

/* Sum of (LN(x W + b) - (v - x))^2 over the head's columns. */
INLINE double row_error(const int f, const float *x, const float *v, const float *w, const float *b,
                        const float *scale, const float *bias, float eps)
{
    float z[96];
    memcpy(z, b, sizeof *z * f);
    for (int i = 0; i < f; i++)
#pragma omp simd
        for (int c = 0; c < f; c++)
            z[c] += x[i] * w[i * f + c];
    row_normalise(z, eps, f);
    double sum = 0;
    for (int c = 0; c < f; c++) {
        double e = (double)scale[c] * z[c] + bias[c] - ((double)v[c] - x[c]);
        sum += e * e;
    }
    return sum;
}

/* sums [3][steps] of one chain */
INLINE void head(const int f, double *sums, struct arena *a, int batch, int h, const real *k,
                 const real *v, const float *sigma, const struct ttt_params *p,
                 const struct ttt_shape *s)
{
    const int tokens = s->mini_batch, padded = inner_padded(tokens), steps = s->seq / tokens;
    const size_t stride = (size_t)s->heads * f, chain = (size_t)batch * s->heads + h;
    const float *scale = p->norm_scale + h * f, *bias = p->norm_bias + h * f;
    const float *w0 = p->w1 + (size_t)h * f * f, *b0 = p->b1 + (size_t)h * f;
    const float *lx = a->x + (tokens - 1) * f, *lv = a->v + (tokens - 1) * f;
    float t[INNER_TOKENS_MAX], step[INNER_TOKENS_MAX], e[96];
    token_weights(t, p->token_idx, tokens);
    memcpy(a->w, w0, sizeof(float) * f * f);
    memcpy(a->b, b0, sizeof(float) * f);
    for (int c = 0; c < steps; c++) {
        size_t at = head_at(s, batch, c * tokens, h);
        rows_load(a->x, k + at, stride, tokens, f);
        rows_load(a->v, v + at, stride, tokens, f);
        sums[c] = row_error(f, lx, lv, w0, b0, scale, bias, s->eps);
        sums[steps + c] = row_error(f, lx, lv, a->w, a->b, scale, bias, s->eps);
        rows_fill(a->z, a->b, padded, f);
        product(a->z, a->x, f, 1, a->w, padded, f, f, true);
        for (int j = 0; j < tokens; j++) {
            row_gradient(a->z + j * f, e, a->g + j * f, a->x + j * f, a->v + j * f, scale, bias,
                         s->eps, f);
            step[j] = t[tokens - 1] * s->rate * sigma[chain * s->seq + c * tokens + j];
        }
        state_update(a->w, a->b, a->sx, a->x, a->g, step, tokens, padded, f);
        sums[2 * steps + c] = row_error(f, lx, lv, a->w, a->b, scale, bias, s->eps);
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

void ttt_linear_stats(float *curve, const real *k, const real *v, const float *sigma,
                      const struct ttt_params *p, const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads, count = 3 * (s->seq / s->mini_batch);
    size_t arena = arena_floats(s), arenas = arena * omp_get_max_threads();
    float *work = device_workspace(sizeof *work * arenas + sizeof(double) * chains * count);
    double *sums = (double *)(work + arenas);
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), s);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < chains; i++)
            WITH_HEAD_DIM(s->head_dim, head, sums + (size_t)i * count, &a, i / s->heads,
                          i % s->heads, k, v, sigma, p, s);
    }
    means(curve, sums, count, s);
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
