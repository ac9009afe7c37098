/* inner.h -- what the inner loop is made of besides products: pairs of tokens and the rows of a
   layer norm.

   A mini-batch is padded to rows of 16; padding rows are zero where they could reach a result. */
#ifndef INNER_H
#define INNER_H

#include "tile.h"

#include <math.h>

enum { INNER_PAD = 16, INNER_TOKENS_MAX = 2048 };

INLINE int inner_padded(int tokens)
{
    return (tokens + INNER_PAD - 1) / INNER_PAD * INNER_PAD;
}

/* p[i][j] = -t_i rate_j (a[i][j] + 1) for j <= i, else 0; all [padded][padded], p may be a. In the
   padding t and rate are 0. */
INLINE void pair_weights(float *p, const float *a, const float *t, const float *rate, int padded)
{
    for (int i = 0; i < padded; i++)
#pragma omp simd
        for (int j = 0; j < padded; j++) {
            float w = -t[i] * rate[j] * (a[i * padded + j] + 1);
            p[i * padded + j] = j <= i ? w : 0;
        }
}

/* y [rows][n] = x [rows][m] W + b */
INLINE void layer(float *y, const float *x, const float *w, const float *b, int rows, const int m,
                  const int n)
{
    rows_fill(y, b, rows, n);
    product(y, x, m, 1, w, rows, n, m, true);
}

/* y [n] = x [m] W + b for one row, the sums in registers; n a multiple of 16. */
INLINE void layer_row_part(float *y, const float *x, const float *w, const float *b, const int m,
                           const int n, const int vectors)
{
    vector sum[4];
    for (int j = 0; j < vectors; j++)
        sum[j] = *(const vector *)(b + j * LANES);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < vectors; j++)
            sum[j] += x[i] * *(const vector *)(w + i * n + j * LANES);
    for (int j = 0; j < vectors; j++)
        *(vector *)(y + j * LANES) = sum[j];
}

INLINE void layer_row(float *y, const float *x, const float *w, const float *b, const int m,
                      const int n)
{
    int j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        layer_row_part(y + j, x, w + j, b + j, m, n, 4);
    for (; j < n; j += LANES)
        layer_row_part(y + j, x, w + j, b + j, m, n, 1);
}

/* z becomes its normalised self; returns the inverse deviation. */
INLINE float row_normalise(float *z, float eps, const int f)
{
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int c = 0; c < f; c++)
        sum += z[c];
    float mean = sum / f;
#pragma omp simd reduction(+ : squares)
    for (int c = 0; c < f; c++)
        squares += (z[c] - mean) * (z[c] - mean);
    float r = 1 / sqrtf(squares / f + eps);
#pragma omp simd
    for (int c = 0; c < f; c++)
        z[c] = (z[c] - mean) * r;
    return r;
}

/* y = LNV(u; xh, r) = r (u - mean(u) - xh mean(u xh)); y may be u */
INLINE void row_lnv(float *y, const float *u, const float *xh, float r, const int f)
{
    float sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
    for (int c = 0; c < f; c++) {
        sum += u[c];
        dot += u[c] * xh[c];
    }
    float mean = sum / f, mean_dot = dot / f;
#pragma omp simd
    for (int c = 0; c < f; c++)
        y[c] = r * (u[c] - mean - xh[c] * mean_dot);
}

/* The inner gradient of one token. z [f] becomes xh; e and g are set; returns r. */
INLINE float row_gradient(float *z, float *e, float *g, const float *x, const float *v,
                          const float *scale, const float *bias, float eps, const int f)
{
    float r = row_normalise(z, eps, f);
    float u[96];
#pragma omp simd
    for (int c = 0; c < f; c++) {
        e[c] = scale[c] * z[c] + bias[c] - (v[c] - x[c]);
        u[c] = scale[c] * e[c];
    }
    row_lnv(g, u, z, r, f);
    return r;
}

/* The step size of each token: t_i = max(0, token_idx[i] + 1 / (i + 1)); 0 after the last. */
INLINE void token_weights(float t[INNER_TOKENS_MAX], const float *token_idx, int tokens)
{
    memset(t, 0, sizeof *t * (size_t)inner_padded(tokens));
    for (int i = 0; i < tokens; i++) {
        float w = token_idx[i] + 1.0f / (float)(i + 1);
        t[i] = w < 0 ? 0 : w;
    }
}

/* W -= (s X)^T G; b -= sum_j s_j G_j, for W [m][n], X [padded][m], G [padded][n]. The narrower of X
   and G is multiplied by s, in `scaled`. */
INLINE void layer_update(float *w, float *b, float *scaled, const float *x, const float *g,
                         const float *s, int tokens, int padded, const int m, const int n)
{
    const int narrow = m < n ? m : n;
    const float *from = m < n ? x : g;
    for (int j = 0; j < tokens; j++) {
#pragma omp simd
        for (int c = 0; c < narrow; c++)
            scaled[j * narrow + c] = -s[j] * from[j * narrow + c];
#pragma omp simd
        for (int c = 0; c < n; c++)
            b[c] -= s[j] * g[j * n + c];
    }
    memset(scaled + tokens * narrow, 0, sizeof *scaled * (padded - tokens) * narrow);
    product(w, m < n ? scaled : x, 1, m, m < n ? g : scaled, m, n, padded, true);
}

/* The linear model's only layer. */
INLINE void state_update(float *w, float *b, float *sx, const float *x, const float *g,
                         const float *s, int tokens, int padded, const int f)
{
    layer_update(w, b, sx, x, g, s, tokens, padded, f, f);
}

/* Where a sequence's head begins, in arrays [batch][seq][heads][f]. */
INLINE size_t head_at(const struct ttt_shape *s, int b, int t, int h)
{
    return (((size_t)b * s->seq + t) * s->heads + h) * s->head_dim;
}

static inline void shape_check(const struct ttt_shape *s)
{
    assert(s->batch > 0 && s->seq > 0 && s->heads > 0);
    assert(s->head_dim == 16 || s->head_dim == 32 || s->head_dim == 64 || s->head_dim == 96);
    assert(s->mini_batch > 0 && s->mini_batch <= INNER_TOKENS_MAX && s->seq % s->mini_batch == 0);
    assert(s->keep_every > 0 && s->eps > 0);
}

#endif
