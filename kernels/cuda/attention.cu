// cuda/attention.cu -- causal attention in fp32, forward. Softmax is taken tile by tile of keys:
// what was summed under a smaller maximum is scaled down.
#include "attention.cuh"

#ifndef TTT_BF16

// Every one of the 16 lanes of a row receives their maximum.
static __device__ inline float side_max(float v)
{
    for (int step = SIDE / 2; step; step /= 2)
        v = fmaxf(v, __shfl_xor_sync(~0u, v, step));
    return v;
}

// Scores become weights e^(s - max); y, max and sum are of the keys so far. own, lane: this
// thread's place; diagonal: whether a query is before keys of the tile.
template <int F>
static __device__ inline void tile_softmax(float s[OWN][OWN], float y[OWN][F / SIDE],
                                           float top_so_far[OWN], float sum[OWN], bool diagonal,
                                           const tile_place &at)
{
    const float scale = 1 / sqrtf((float)F);
    for (int i = 0; i < OWN; i++) {
        float top = -INFINITY, weights = 0;
        for (int n = 0; n < OWN; n++) {
            bool read = !diagonal || at.lane + n * SIDE <= at.own + i;
            s[i][n] = read ? s[i][n] * scale : -INFINITY;
            top = fmaxf(top, s[i][n]);
        }
        top = fmaxf(top_so_far[i], side_max(top));
        float shrink = expf(top_so_far[i] - top);
        top_so_far[i] = top;
        for (int n = 0; n < OWN; n++) {
            s[i][n] = expf(s[i][n] - top);
            weights += s[i][n];
        }
        sum[i] = sum[i] * shrink + lanes_sum<SIDE>(weights);
        for (int n = 0; n < F / SIDE; n++)
            y[i][n] *= shrink;
    }
}

// Blocks take the tiles of queries from the last, which is the most work.
template <int F>
static __global__ void __launch_bounds__(TILE_THREADS, 1)
    attention_fwd_tile(real *out, float *lse, const real *q, const real *k, const real *v,
                       int batch, int seq, int heads)
{
    DYN_SHARED(float, memory);
    float *queries = shared_take(memory, tile_floats<F>());
    float *keys = shared_take(memory, tile_floats<F>());
    float *values = shared_take(memory, tile_floats<F>());
    float *p = shared_take(memory, TILE * PAIR_STRIDE);
    tile_place at(batch, seq, heads, F);
    at.tile = tile_count(seq) - 1 - at.tile;
    float y[OWN][F / SIDE] = {}, top[OWN], sum[OWN] = {};
    for (int i = 0; i < OWN; i++)
        top[i] = -INFINITY;

    load_tile<F>(queries, q + at.first, at.row, at.tile, seq);
    for (int tile = 0; tile <= at.tile; tile++) {
        float s[OWN][OWN];
        load_tile<F>(keys, k + at.first, at.row, tile, seq);
        load_tile<F>(values, v + at.first, at.row, tile, seq);
        __syncthreads();
        tile_dots<F>(s, queries, keys, at);
        tile_softmax<F>(s, y, top, sum, tile == at.tile, at);
        store_weights(p, s, at);
        __syncwarp();
        tile_weighted<F>(y, p, values, at);
        __syncthreads(); // before the next tiles
    }
    float inverse[OWN];
    for (int i = 0; i < OWN; i++) {
        int t = at.tile * TILE + at.own + i;
        inverse[i] = 1 / sum[i];
        if (at.lane == 0 && t < seq)
            lse[at.number * seq + t] = top[i] + logf(sum[i]);
    }
    store_tile<F>(out + at.first, y, inverse, at, seq);
}

template <int F>
static void launch_fwd(real *out, float *lse, const real *q, const real *k, const real *v,
                       int batch, int seq, int heads)
{
    size_t bytes =
        sizeof(float) * (3 * shared_floats(tile_floats<F>()) + shared_floats(TILE * PAIR_STRIDE));
    allow_shared(attention_fwd_tile<F>, bytes);
    LAUNCH((attention_fwd_tile<F>), blocks_exact((size_t)batch * heads * tile_count(seq), 1),
           TILE_THREADS, bytes, device_stream, out, lse, q, k, v, batch, seq, heads);
}

void attention_fwd(real *out, float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    inner_check_aligned(q, k, v);
    WITH_HEAD_DIM(head_dim, launch_fwd, out, lse, q, k, v, batch, seq, heads);
}

#endif
