/* attention_bwd.c -- causal attention, backward.

   A chain is one head of one sequence. It takes its tiles of queries in order, and for each the
   tiles of keys up to the diagonal: the gradient of the queries stays in the arena, those of keys
   and values are added to their rows, which the diagonal tile, the first to meet them, sets. */
#include "attention.h"
#include "device.h"
#include "kernels.h"

#include <omp.h>

/* One thread's scratch. */
struct arena {
    float *q, *qt;       /* [TILE][f], [f][TILE]: queries over sqrt(f) */
    float *dout, *doutt; /* [TILE][f], [f][TILE] */
    float *k, *v;        /* [TILE][f] */
    float *dq, *sum;     /* [TILE][f] */
    float *p, *ds;       /* [TILE][TILE], [key][query] */
    float lse[TILE], dot[TILE];
};

static size_t arena_floats(int head_dim)
{
    return 8 * (size_t)TILE * head_dim + 2 * TILE * TILE;
}

static struct arena arena_lay(float *at, int head_dim)
{
    size_t tile = (size_t)TILE * head_dim;
    return (struct arena){.q = at,
                          .qt = at + tile,
                          .dout = at + 2 * tile,
                          .doutt = at + 3 * tile,
                          .k = at + 4 * tile,
                          .v = at + 5 * tile,
                          .dq = at + 6 * tile,
                          .sum = at + 7 * tile,
                          .p = at + 8 * tile,
                          .ds = at + 8 * tile + TILE * TILE};
}

INLINE void queries_load(const int f, struct arena *a, const real *q, const real *dout,
                         const real *out, const float *lse, int first, int rows, size_t stride)
{
    const float scale = 1 / sqrtf((float)f);
    tile_load(a->q, q + first * stride, stride, rows, f);
    for (int i = 0; i < rows * f; i++)
        a->q[i] *= scale;
    tile_load(a->dout, dout + first * stride, stride, rows, f);
    transpose(a->qt, a->q, TILE, f);
    transpose(a->doutt, a->dout, TILE, f);
    memset(a->dq, 0, sizeof *a->dq * TILE * f);
    memset(a->dot, 0, sizeof a->dot);
    memset(a->lse, 0, sizeof a->lse);
    memcpy(a->lse, lse + first, sizeof *lse * rows);
    for (int t = 0; t < rows; t++) {
        const real *y = out + (first + t) * stride;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int c = 0; c < f; c++)
            dot += a->dout[t * f + c] * y[c];
        a->dot[t] = dot;
    }
}

/* Scores in p become weights, and gradients of weights in ds those of scores. */
INLINE void tile_softmax_bwd(struct arena *a, bool diagonal)
{
    if (diagonal)
        tile_mask(a->p);
    for (int u = 0; u < TILE; u++) {
        float *p = a->p + u * TILE, *ds = a->ds + u * TILE;
        for (int begin = tile_begin(u, diagonal); begin < TILE; begin += SQUARE)
#pragma omp simd
            for (int t = begin; t < begin + SQUARE; t++) {
                p[t] = softmax_weight(p[t] - a->lse[t]);
                ds[t] = p[t] * (ds[t] - a->dot[t]);
            }
    }
}

INLINE void rows_take(real *to, const float *tile, size_t stride, int rows, bool set, const int f)
{
    for (int i = 0; i < rows; i++)
#pragma omp simd
        for (int c = 0; c < f; c++)
            to[i * stride + c] = set ? tile[i * f + c] : to[i * stride + c] + tile[i * f + c];
}

/* The arrays begin at the chain's first token. */
INLINE void chain_bwd(const int f, struct arena *a, real *dq, real *dk, real *dv, const real *dout,
                      const real *out, const float *lse, const real *q, const real *k,
                      const real *v, int seq, size_t stride)
{
    const float scale = 1 / sqrtf((float)f);
    for (int first = 0; first < seq; first += TILE) {
        const int rows = tile_rows(first, seq);
        queries_load(f, a, q, dout, out, lse, first, rows, stride);
        for (int at = 0; at <= first; at += TILE) {
            const bool diagonal = at == first;
            const int keys = tile_rows(at, seq);
            tile_load(a->k, k + at * stride, stride, keys, f);
            tile_load(a->v, v + at * stride, stride, keys, f);
            tile_scores(a->p, a->k, a->qt, diagonal, f);
            tile_scores(a->ds, a->v, a->doutt, diagonal, f);
            tile_softmax_bwd(a, diagonal);
            tile_to_keys(a->sum, a->p, a->dout, diagonal, f);
            rows_take(dv + at * stride, a->sum, stride, keys, diagonal, f);
            tile_to_keys(a->sum, a->ds, a->q, diagonal, f);
            rows_take(dk + at * stride, a->sum, stride, keys, diagonal, f);
            tile_to_queries(a->dq, a->ds, a->k, diagonal, f);
        }
        for (int t = 0; t < rows; t++)
            for (int c = 0; c < f; c++)
                dq[(first + t) * stride + c] = scale * a->dq[t * f + c];
    }
}

void attention_bwd(real *dq, real *dk, real *dv, const real *dout, const real *out,
                   const float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    const size_t arena = arena_floats(head_dim), stride = (size_t)heads * head_dim;
    float *work = device_workspace(sizeof *work * arena * omp_get_max_threads());
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), head_dim);
#pragma omp for schedule(dynamic)
        for (int chain = 0; chain < batch * heads; chain++) {
            size_t at = (size_t)(chain / heads) * seq * stride + chain % heads * head_dim;
            WITH_HEAD_DIM(head_dim, chain_bwd, &a, dq + at, dk + at, dv + at, dout + at, out + at,
                          lse + (size_t)chain * seq, q + at, k + at, v + at, seq, stride);
        }
    }
}
