/* tile.h -- dense tiles of floats: products whose sums stay in registers, transposes, rows.

   Rows and columns of tiles come in sixteens. What works on rows is inlined into callers that know
   head_dim at compile time. */
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

/* c [m][n] (+)= a b with b [depth][n]; m and n multiples of 16. Rows of c and b begin c_row and
   b_row apart; a is [m][depth] for a_step 1, or transposed, [depth][m], for a_row 1. */
void product_area(float *c, int c_row, const float *a, int a_row, int a_step, const float *b,
                  int b_row, int m, int n, int depth, bool to_add);

/* The same for dense c and b. */
INLINE void product(float *c, const float *a, int a_row, int a_step, const float *b, int m, int n,
                    int depth, bool to_add)
{
    product_area(c, n, a, a_row, a_step, b, n, m, n, depth, to_add);
}

/* to [columns][rows] = from [rows][columns], transposed; both multiples of 16. */
void transpose(float *to, const float *from, int rows, int columns);

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
