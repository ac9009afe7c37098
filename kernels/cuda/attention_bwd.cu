// cuda/attention_bwd.cu -- causal attention in fp32, backward: a block per tile of queries makes
// dq, then one per tile of keys dk and dv. Each recomputes the weights, so that no sum leaves its
// block.
#include "attention.cuh"

#include "device.h"

#ifndef TTT_BF16

// p = e^(scale s - lse) where the query reads the key, else 0
static __device__ inline float weight(float s, float scale, float lse, bool read)
{
    return read ? expf(fmaf(s, scale, -lse)) : 0;
}

// dot [batch][heads][seq] receives D[t] = dout[t] . out[t].
template <int F>
static __global__ void __launch_bounds__(TILE_THREADS, 1)
    attention_bwd_queries(real *dq, float *dot, const real *dout, const real *out, const float *lse,
                          const real *q, const real *k, const real *v, int batch, int seq,
                          int heads)
{
    DYN_SHARED(float, memory);
    float *queries = shared_take(memory, tile_floats<F>());
    float *douts = shared_take(memory, tile_floats<F>());
    float *keys = shared_take(memory, tile_floats<F>());
    float *values = shared_take(memory, tile_floats<F>());
    float *ds = shared_take(memory, TILE * PAIR_STRIDE);
    tile_place at(batch, seq, heads, F);
    at.tile = tile_count(seq) - 1 - at.tile;
    const float scale = 1 / sqrtf((float)F);
    float y[OWN][F / SIDE] = {}, row_lse[OWN], row_dot[OWN], factor[OWN];

    load_tile<F>(queries, q + at.first, at.row, at.tile, seq);
    load_tile<F>(douts, dout + at.first, at.row, at.tile, seq);
    for (int i = 0; i < OWN; i++) {
        int t = at.tile * TILE + at.own + i;
        size_t here = at.first + min(t, seq - 1) * at.row + at.lane;
        float sum = 0;
        for (int n = 0; n < F / SIDE; n++)
            sum = fmaf(to_float(dout[here + n * SIDE]), to_float(out[here + n * SIDE]), sum);
        row_dot[i] = lanes_sum<SIDE>(sum);
        row_lse[i] = t < seq ? lse[at.number * seq + t] : 0;
        factor[i] = scale;
        if (at.lane == 0 && t < seq)
            dot[at.number * seq + t] = row_dot[i];
    }
    for (int tile = 0; tile <= at.tile; tile++) {
        float s[OWN][OWN], d[OWN][OWN];
        load_tile<F>(keys, k + at.first, at.row, tile, seq);
        load_tile<F>(values, v + at.first, at.row, tile, seq);
        __syncthreads();
        tile_dots<F>(s, queries, keys, at);
        tile_dots<F>(d, douts, values, at);
        for (int i = 0; i < OWN; i++)
            for (int n = 0; n < OWN; n++) {
                bool read = tile < at.tile || at.lane + n * SIDE <= at.own + i;
                d[i][n] = weight(s[i][n], scale, row_lse[i], read) * (d[i][n] - row_dot[i]);
            }
        store_weights(ds, d, at);
        __syncwarp();
        tile_weighted<F>(y, ds, keys, at);
        __syncthreads(); // before the next tiles
    }
    store_tile<F>(dq + at.first, y, factor, at, seq);
}

template <int F>
static __global__ void __launch_bounds__(TILE_THREADS, 1)
    attention_bwd_keys(real *dk, real *dv, const float *dot, const real *dout, const float *lse,
                       const real *q, const real *k, const real *v, int batch, int seq, int heads)
{
    DYN_SHARED(float, memory);
    float *queries = shared_take(memory, tile_floats<F>());
    float *douts = shared_take(memory, tile_floats<F>());
    float *keys = shared_take(memory, tile_floats<F>());
    float *values = shared_take(memory, tile_floats<F>());
    float *weights = shared_take(memory, TILE * PAIR_STRIDE);
    float *ds = shared_take(memory, TILE * PAIR_STRIDE);
    float *row_lse = shared_take(memory, TILE);
    float *row_dot = shared_take(memory, TILE);
    const tile_place at(batch, seq, heads, F);
    const float scale = 1 / sqrtf((float)F), one[OWN] = {1, 1, 1, 1};
    const float scales[OWN] = {scale, scale, scale, scale};
    float dkeys[OWN][F / SIDE] = {}, dvalues[OWN][F / SIDE] = {};

    load_tile<F>(keys, k + at.first, at.row, at.tile, seq);
    load_tile<F>(values, v + at.first, at.row, at.tile, seq);
    for (int tile = at.tile; tile < tile_count(seq); tile++) {
        float s[OWN][OWN], d[OWN][OWN];
        load_tile<F>(queries, q + at.first, at.row, tile, seq);
        load_tile<F>(douts, dout + at.first, at.row, tile, seq);
        for (int i = threadIdx.x; i < TILE; i += blockDim.x) {
            int t = tile * TILE + i;
            row_lse[i] = t < seq ? lse[at.number * seq + t] : 0;
            row_dot[i] = t < seq ? dot[at.number * seq + t] : 0;
        }
        __syncthreads();
        tile_dots<F>(s, keys, queries, at);
        tile_dots<F>(d, values, douts, at);
        for (int i = 0; i < OWN; i++)
            for (int n = 0; n < OWN; n++) {
                int t = at.lane + n * SIDE;
                bool read = tile > at.tile || at.own + i <= t;
                s[i][n] = weight(s[i][n], scale, row_lse[t], read);
                d[i][n] = s[i][n] * (d[i][n] - row_dot[t]);
            }
        store_weights(weights, s, at);
        store_weights(ds, d, at);
        __syncwarp();
        tile_weighted<F>(dvalues, weights, douts, at);
        tile_weighted<F>(dkeys, ds, queries, at);
        __syncthreads(); // before the next tiles
    }
    store_tile<F>(dv + at.first, dvalues, one, at, seq);
    store_tile<F>(dk + at.first, dkeys, scales, at, seq);
}

template <int F>
static void launch_bwd(real *dq, real *dk, real *dv, float *dot, const real *dout, const real *out,
                       const float *lse, const real *q, const real *k, const real *v, int batch,
                       int seq, int heads)
{
    const size_t tiles = 4 * shared_floats(tile_floats<F>());
    const size_t pairs = shared_floats(TILE * PAIR_STRIDE), row = shared_floats(TILE);
    const unsigned blocks = blocks_exact((size_t)batch * heads * tile_count(seq), 1);
    size_t bytes = sizeof(float) * (tiles + pairs);
    allow_shared(attention_bwd_queries<F>, bytes);
    LAUNCH((attention_bwd_queries<F>), blocks, TILE_THREADS, bytes, device_stream, dq, dot, dout,
           out, lse, q, k, v, batch, seq, heads);
    bytes = sizeof(float) * (tiles + 2 * pairs + 2 * row);
    allow_shared(attention_bwd_keys<F>, bytes);
    LAUNCH((attention_bwd_keys<F>), blocks, TILE_THREADS, bytes, device_stream, dk, dv, dot, dout,
           lse, q, k, v, batch, seq, heads);
}

void attention_bwd(real *dq, real *dk, real *dv, const real *dout, const real *out,
                   const float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    inner_check_aligned(dout, q, k, v);
    float *dot = (float *)device_workspace(sizeof *dot * batch * heads * seq);
    WITH_HEAD_DIM(head_dim, launch_bwd, dq, dk, dv, dot, dout, out, lse, q, k, v, batch, seq,
                  heads);
}

#endif
