/* attention.h -- one tile of causal attention: 64 keys against 64 queries.

   Scores and weights are kept with the keys as rows, [key][query]: the queries lie side by side in
   vectors, so maxima and sums need nothing across lanes, and every product reads its large operand
   along rows. On the diagonal, where query t of the tile reads the keys 0..t, the products leave
   out the squares of 16 that nobody reads. */
#ifndef ATTENTION_H
#define ATTENTION_H

#include "tile.h"
#include "vec.h"

#include <math.h>

enum { TILE = 64, SQUARE = 16 };

/* s[key][query] = k[key] . q[query], the queries transposed: qt [f][TILE]. */
INLINE void tile_scores(float *s, const float *k, const float *qt, bool diagonal, const int f)
{
    if (!diagonal) {
        product(s, k, f, 1, qt, TILE, TILE, f, false);
        return;
    }
    for (int u = 0; u < TILE; u += SQUARE)
        product_area(s + u * TILE + u, TILE, k + u * f, f, 1, qt + u, TILE, SQUARE, TILE - u, f,
                     false);
}

/* y[query] += sum over keys of p[key][query] x[key]; y, x [TILE][f] */
INLINE void tile_to_queries(float *y, const float *p, const float *x, bool diagonal, const int f)
{
    if (!diagonal) {
        product(y, p, 1, TILE, x, TILE, f, TILE, true);
        return;
    }
    for (int t = 0; t < TILE; t += SQUARE)
        product_area(y + t * f, f, p + t, 1, TILE, x, f, SQUARE, f, t + SQUARE, true);
}

/* y[key] = sum over queries of p[key][query] x[query]; y, x [TILE][f] */
INLINE void tile_to_keys(float *y, const float *p, const float *x, bool diagonal, const int f)
{
    if (!diagonal) {
        product(y, p, TILE, 1, x, TILE, f, TILE, false);
        return;
    }
    for (int u = 0; u < TILE; u += SQUARE)
        product_area(y + u * f, f, p + u * TILE + u, TILE, 1, x + u * f, f, SQUARE, f, TILE - u,
                     false);
}

/* Where the products of a tile read row u from: in front of it every query is masked. */
INLINE int tile_begin(int u, bool diagonal)
{
    return diagonal ? u / SQUARE * SQUARE : 0;
}

/* Keys that a query must not read, in the squares that the products do read. */
INLINE void tile_mask(float *s)
{
    for (int u = 0; u < TILE; u++)
        for (int t = tile_begin(u, true); t < u; t++)
            s[u * TILE + t] = -INFINITY;
}

/* e^x for x <= 0. What is too small to change a sum is 0, so that no product of it is denormal. */
INLINE float softmax_weight(float x)
{
    float e = vec_exp(x);
    return x < -60 ? 0 : e;
}

/* Rows of a tile beyond the end of the sequence are 0. */
INLINE void tile_load(float *tile, const real *x, size_t stride, int rows, const int f)
{
    rows_load(tile, x, stride, rows, f);
    memset(tile + rows * f, 0, sizeof *tile * (TILE - rows) * f);
}

INLINE int tile_rows(int first, int seq)
{
    return seq - first < TILE ? seq - first : TILE;
}

static inline void attention_check(int batch, int seq, int heads, int head_dim)
{
    assert(batch > 0 && seq > 0 && heads > 0);
    assert(head_dim == 16 || head_dim == 32 || head_dim == 64 || head_dim == 96);
}

#endif
