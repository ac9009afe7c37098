/* tile.h -- dense tiles of floats: products whose sums stay in registers, transposes, rows.

   Rows and columns of tiles come in sixteens. Everything is inlined into callers that know most
   sizes at compile time, so loops unroll. */
#ifndef TILE_H
#define TILE_H

#include "kernels.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

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
    vector sum[BLOCK_VECTORS * BLOCK_ROWS][BLOCK_VECTORS];
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

/* c [m][n] (+)= a b with b [depth][n]; m and n multiples of 16. Rows of c and b begin c_row and
   b_row apart; a is [m][depth] for a_step 1, or transposed, [depth][m], for a_row 1. */
INLINE void product_area(float *c, int c_row, const float *a, int a_row, int a_step, const float *b,
                         int b_row, int m, int n, int depth, bool to_add)
{
    enum { COLUMNS = BLOCK_VECTORS * LANES, TALL = BLOCK_VECTORS * BLOCK_ROWS };
    int j = 0;
    for (; j + COLUMNS <= n; j += COLUMNS)
        for (int i = 0; i < m; i += BLOCK_ROWS)
            product_block(c + i * c_row + j, c_row, a + i * a_row, a_row, a_step, b + j, b_row,
                          depth, to_add, BLOCK_ROWS, BLOCK_VECTORS);
    for (; j < n; j += LANES)
        for (int i = 0; i < m; i += TALL)
            product_block(c + i * c_row + j, c_row, a + i * a_row, a_row, a_step, b + j, b_row,
                          depth, to_add, TALL, 1);
}

/* The same for dense c and b. */
INLINE void product(float *c, const float *a, int a_row, int a_step, const float *b, int m, int n,
                    int depth, bool to_add)
{
    product_area(c, n, a, a_row, a_step, b, n, m, n, depth, to_add);
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
