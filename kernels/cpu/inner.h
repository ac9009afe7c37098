/* inner.h -- what the inner loop is made of: small dense products and the rows of a layer norm.

   Tiles are dense float arrays in an arena. A mini-batch of up to 64 tokens is padded to rows of
   16; padding rows are zero where they could reach a result. Everything is inlined into callers
   that know head_dim at compile time, so loops unroll and sums stay in registers. */
#ifndef INNER_H
#define INNER_H

#include "kernels.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { INNER_PAD = 16, INNER_TOKENS_MAX = 64 };

INLINE int inner_padded(int tokens)
{
    return (tokens + INNER_PAD - 1) / INNER_PAD * INNER_PAD;
}

/* The widest vector of the processor compiled for, and the block of a product its registers hold.
 */
#if defined __AVX512F__
enum { LANES = 16, BLOCK_ROWS = 8 };
#elif defined __AVX__
enum { LANES = 8, BLOCK_ROWS = 4 };
#else
enum { LANES = 4, BLOCK_ROWS = 4 };
#endif
enum { BLOCK_VECTORS = 2 };
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* c[rows][vectors] (+)= a b: element (i, k) of a is at a[i * a_row + k * a_step]. */
INLINE void product_block(float *c, int c_row, const float *a, int a_row, int a_step,
                          const float *b, int b_row, int depth, bool to_add, const int rows,
                          const int vectors)
{
    vector sum[BLOCK_ROWS][BLOCK_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sum[i][j] = to_add ? *(const vector *)(c + i * c_row + j * LANES) : (vector){0};
    for (int k = 0; k < depth; k++) {
        vector bk[BLOCK_VECTORS];
        for (int j = 0; j < vectors; j++)
            bk[j] = *(const vector *)(b + k * b_row + j * LANES);
        for (int i = 0; i < rows; i++) {
            float x = a[i * a_row + k * a_step];
            for (int j = 0; j < vectors; j++)
                sum[i][j] += x * bk[j];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            *(vector *)(c + i * c_row + j * LANES) = sum[i][j];
}

/* c [m][n] (+)= a b with b [depth][n]; m a multiple of 8, n of 16. a is [m][depth] for a_step 1, or
   transposed, [depth][m], for a_row 1. */
INLINE void product(float *c, const float *a, int a_row, int a_step, const float *b, int m, int n,
                    int depth, bool to_add)
{
    enum { COLUMNS = BLOCK_VECTORS * LANES };
    int j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS)
        for (int i = 0; i < m; i += BLOCK_ROWS)
            product_block(c + i * n + j, n, a + i * a_row, a_row, a_step, b + j, n, depth, to_add,
                          BLOCK_ROWS, BLOCK_VECTORS);
    for (; j < n; j += LANES)
        for (int i = 0; i < m; i += BLOCK_ROWS)
            product_block(c + i * n + j, n, a + i * a_row, a_row, a_step, b + j, n, depth, to_add,
                          BLOCK_ROWS, 1);
}

/* Two vectors dealt together: the first halves, and the second halves. */
#if defined __clang__
#    define DEAL(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int lane_numbers __attribute__((vector_size(4 * LANES)));
#    define DEAL(a, b, ...) __builtin_shuffle(a, b, (lane_numbers){__VA_ARGS__})
#endif
#if defined __AVX512F__
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#    define DEAL_HIGH(a, b) DEAL(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#elif defined __AVX__
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#    define DEAL_HIGH(a, b) DEAL(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#    define DEAL_LOW(a, b)  DEAL(a, b, 0, 4, 1, 5)
#    define DEAL_HIGH(a, b) DEAL(a, b, 2, 6, 3, 7)
#endif

/* to [columns][rows] = from [rows][columns], transposed; both multiples of 16. Dealing row i with
   row i + LANES/2, log2(LANES) times, transposes a square of vectors. */
INLINE void transpose(float *to, const float *from, int rows, int columns)
{
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES) {
            vector x[LANES], y[LANES];
            for (int l = 0; l < LANES; l++)
                x[l] = *(const vector *)(from + (i + l) * columns + j);
            for (int size = 1; size < LANES; size *= 2) {
                for (int l = 0; l < LANES / 2; l++) {
                    y[2 * l] = DEAL_LOW(x[l], x[l + LANES / 2]);
                    y[2 * l + 1] = DEAL_HIGH(x[l], x[l + LANES / 2]);
                }
                for (int l = 0; l < LANES; l++)
                    x[l] = y[l];
            }
            for (int l = 0; l < LANES; l++)
                *(vector *)(to + (j + l) * rows + i) = x[l];
        }
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

/* Rows of one head lie `stride` apart in the arrays of a layer, too far for the processor to guess.
 */
INLINE void rows_prefetch(const real *x, size_t stride, int tokens, const int f)
{
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < f; c += 16)
            __builtin_prefetch(x + i * stride + c);
}

INLINE void rows_load(float *tile, const real *x, size_t stride, int tokens, const int f)
{
    for (int i = 0; i < tokens; i++)
        for (int c = 0; c < f; c++)
            tile[i * f + c] = x[i * stride + c];
}

INLINE void rows_fill(float *tile, const float *row, int rows, const int f)
{
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < f; c++)
            tile[i * f + c] = row[c];
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
    memset(t, 0, sizeof *t * INNER_TOKENS_MAX);
    for (int i = 0; i < tokens; i++) {
        float w = token_idx[i] + 1.0f / (float)(i + 1);
        t[i] = w < 0 ? 0 : w;
    }
}

/* W -= (s X)^T G; b -= sum_j s_j G_j. sx [padded][f] is room for s X. */
INLINE void state_update(float *w, float *b, float *sx, const float *x, const float *g,
                         const float *s, int tokens, int padded, const int f)
{
    for (int j = 0; j < tokens; j++)
        for (int c = 0; c < f; c++) {
            sx[j * f + c] = -s[j] * x[j * f + c];
            b[c] -= s[j] * g[j * f + c];
        }
    memset(sx + tokens * f, 0, sizeof *sx * (padded - tokens) * f);
    product(w, sx, 1, f, g, f, f, padded, true);
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

/* Arena sizes are rounded to whole cache lines, so that threads share none. */
INLINE size_t lines(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

/* Call body(head_dim as a constant, ...). */
#define WITH_HEAD_DIM(head_dim, body, ...) \
    do {                                   \
        switch (head_dim) {                \
        case 16:                           \
            body(16, __VA_ARGS__);         \
            break;                         \
        case 32:                           \
            body(32, __VA_ARGS__);         \
            break;                         \
        case 64:                           \
            body(64, __VA_ARGS__);         \
            break;                         \
        case 96:                           \
            body(96, __VA_ARGS__);         \
            break;                         \
        default:                           \
            assert(!"head_dim");           \
        }                                  \
    } while (0)

#endif
