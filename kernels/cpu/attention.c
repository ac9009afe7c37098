/* attention.c -- causal attention, forward and decoding. */
#include "attention.h"

#include "device.h"
#include "kernels.h"

#include <omp.h>

/* One thread's scratch. */
struct arena {
    float *qt;       /* [f][TILE]: queries over sqrt(f) */
    float *k, *v;    /* [TILE][f] */
    float *p;        /* [TILE][TILE], scores, then weights, [key][query] */
    float *y;        /* [TILE][f]: the queries, then sums of weighted values */
    float max[TILE]; /* of the scores so far */
    float sum[TILE]; /* of the weights so far */
};

static size_t arena_floats(int head_dim)
{
    return 4 * (size_t)TILE * head_dim + TILE * TILE;
}

static struct arena arena_lay(float *at, int head_dim)
{
    size_t tile = (size_t)TILE * head_dim;
    return (struct arena){
        .qt = at, .k = at + tile, .v = at + 2 * tile, .y = at + 3 * tile, .p = at + 4 * tile};
}

/* Scores become weights e^(s - max); what was summed before under smaller maxima is scaled down. */
INLINE void tile_softmax(struct arena *a, bool diagonal, const int f)
{
    float max[TILE], shrink[TILE], changed = 0;
    if (diagonal)
        tile_mask(a->p);
    memcpy(max, a->max, sizeof max);
    for (int u = 0; u < TILE; u++) {
        const float *s = a->p + u * TILE;
        for (int begin = tile_begin(u, diagonal); begin < TILE; begin += SQUARE)
#pragma omp simd
            for (int t = begin; t < begin + SQUARE; t++)
                max[t] = s[t] > max[t] ? s[t] : max[t];
    }
#pragma omp simd reduction(+ : changed)
    for (int t = 0; t < TILE; t++) {
        changed += max[t] > a->max[t] ? 1 : 0;
        shrink[t] = softmax_weight(a->max[t] - max[t]);
        a->sum[t] *= shrink[t];
        a->max[t] = max[t];
    }
    for (int u = 0; u < TILE; u++) {
        float *s = a->p + u * TILE;
        for (int begin = tile_begin(u, diagonal); begin < TILE; begin += SQUARE)
#pragma omp simd
            for (int t = begin; t < begin + SQUARE; t++) {
                s[t] = softmax_weight(s[t] - max[t]);
                a->sum[t] += s[t];
            }
    }
    if (changed > 0)
        for (int t = 0; t < TILE; t++)
#pragma omp simd
            for (int c = 0; c < f; c++)
                a->y[t * f + c] *= shrink[t];
}

/* The tile of queries that begins at token `first`; the arrays begin at the head's first token. */
INLINE void queries_fwd(const int f, struct arena *a, real *out, float *lse, const real *q,
                        const real *k, const real *v, int first, int seq, size_t stride)
{
    const int rows = tile_rows(first, seq);
    const float scale = 1 / sqrtf((float)f);
    tile_load(a->y, q + first * stride, stride, rows, f);
    for (int i = 0; i < rows * f; i++)
        a->y[i] *= scale;
    transpose(a->qt, a->y, TILE, f);
    memset(a->y, 0, sizeof *a->y * TILE * f);
    for (int t = 0; t < TILE; t++) {
        a->max[t] = -INFINITY;
        a->sum[t] = 0;
    }
    for (int at = 0; at <= first; at += TILE) {
        const bool diagonal = at == first;
        const int keys = tile_rows(at, seq);
        tile_load(a->k, k + at * stride, stride, keys, f);
        tile_load(a->v, v + at * stride, stride, keys, f);
        tile_scores(a->p, a->k, a->qt, diagonal, f);
        tile_softmax(a, diagonal, f);
        tile_to_queries(a->y, a->p, a->v, diagonal, f);
    }
    for (int t = 0; t < rows; t++) {
        const float inverse = 1 / a->sum[t];
        real *to = out + (first + t) * stride;
        for (int c = 0; c < f; c++)
            to[c] = a->y[t * f + c] * inverse;
        lse[first + t] = a->max[t] + logf(a->sum[t]);
    }
}

void attention_fwd(real *out, float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    const size_t arena = arena_floats(head_dim), stride = (size_t)heads * head_dim;
    const size_t chains = (size_t)batch * heads, tiles = ((size_t)seq + TILE - 1) / TILE;
    float *work = device_workspace(sizeof *work * arena * omp_get_max_threads());
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), head_dim);
        /* The last tiles of the sequences are the most work: first. */
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < chains * tiles; i++) {
            size_t chain = i % chains, first = (tiles - 1 - i / chains) * TILE;
            size_t at = chain / heads * seq * stride + chain % heads * head_dim;
            WITH_HEAD_DIM(head_dim, queries_fwd, &a, out + at, lse + chain * seq, q + at, k + at,
                          v + at, (int)first, seq, stride);
        }
    }
}

/* One head of one sequence; the caches begin at its first position. */
INLINE void decode_head(const int f, real *out, const float *q, const real *k, const real *v,
                        int positions, size_t stride)
{
    const float scale = 1 / sqrtf((float)f);
    float max = -INFINITY, sum = 0, y[96] = {0}, p[TILE];
    for (int first = 0; first < positions; first += TILE) {
        const int rows = tile_rows(first, positions);
        float before = max;
        rows_prefetch(v + first * stride, stride, rows, f);
        for (int u = 0; u < rows; u++) {
            const real *row = k + (first + u) * stride;
            float dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int c = 0; c < f; c++)
                dot += q[c] * row[c];
            p[u] = dot * scale;
            max = p[u] > max ? p[u] : max;
        }
        float shrink = softmax_weight(before - max);
        sum *= shrink;
#pragma omp simd
        for (int c = 0; c < f; c++)
            y[c] *= shrink;
        if (first + TILE < positions)
            rows_prefetch(k + (first + TILE) * stride, stride, tile_rows(first + TILE, positions),
                          f);
        for (int u = 0; u < rows; u++) {
            const real *row = v + (first + u) * stride;
            float weight = softmax_weight(p[u] - max);
            sum += weight;
#pragma omp simd
            for (int c = 0; c < f; c++)
                y[c] += weight * row[c];
        }
    }
    for (int c = 0; c < f; c++)
        out[c] = y[c] / sum;
}

void attention_decode(real *out, real *k_cache, real *v_cache, const real *q, const real *k,
                      const real *v, const int32_t *position, int capacity, int batch, int heads,
                      int head_dim)
{
    attention_check(batch, capacity, heads, head_dim);
    const size_t stride = (size_t)heads * head_dim;
#pragma omp parallel for schedule(static)
    for (int chain = 0; chain < batch * heads; chain++) {
        int now = position[chain / heads];
        if (now < 0)
            continue;
        assert(now < capacity);
        size_t row = (size_t)chain * head_dim;
        size_t cache = (size_t)(chain / heads) * capacity * stride + chain % heads * head_dim;
        memcpy(k_cache + cache + now * stride, k + row, sizeof *k * head_dim);
        memcpy(v_cache + cache + now * stride, v + row, sizeof *v * head_dim);
        WITH_HEAD_DIM(head_dim, decode_head, out + row, q + row, k_cache + cache, v_cache + cache,
                      now + 1, stride);
    }
}
