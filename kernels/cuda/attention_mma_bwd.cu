// attention_mma_bwd.cu -- causal attention on tensor cores, backward: a block per tile of queries
// makes dq, then one per tile of keys dk and dv. Each recomputes the weights, so that no sum leaves
// its warp and every bit is the same in every run.
#include "attention_mma.cuh"

#include "device.h"

#ifdef TTT_BF16

// Rows of a warp, 16 each, and the part of the other tile that it weighs at once: what the
// registers have room for.
template <int F> struct bwd_sizes {
    static constexpr int QUERY_TILES = 2, KEY_TILES = F > 64 ? 1 : 2;
    static constexpr int QUERIES = MMA_WARPS * 16 * QUERY_TILES, KEYS = MMA_WARPS * 16 * KEY_TILES;
    static constexpr int QUERY_PART = F > 64 ? 16 : 32, KEY_PART = F > 32 ? 16 : 32;
};

enum { DOT_LANES = 4 };

// dot [batch][heads][seq] receives D[t] = dout[t] . out[t]: four lanes a row.
static __global__ void __launch_bounds__(ROW_THREADS)
    attention_bwd_dots(float *dot, const real *dout, const real *out, size_t rows, int seq,
                       int heads, int head_dim)
{
    size_t i = grid_thread() / DOT_LANES;
    float sum = 0;
    for (int c = threadIdx.x % DOT_LANES * 4; i < rows && c < head_dim; c += 4 * DOT_LANES)
        sum += dot4(load4(dout + i * head_dim + c), load4(out + i * head_dim + c));
    sum = lanes_sum<DOT_LANES>(sum);
    size_t token = i / heads, head = i % heads;
    if (i < rows && threadIdx.x % DOT_LANES == 0)
        dot[(token / seq * heads + head) * seq + token % seq] = sum;
}

template <int F>
static __global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_bwd_queries_mma(real *dq, const float *dot, const real *dout, const float *lse,
                              const real *q, const real *k, const real *v, int batch, int seq,
                              int heads)
{
    constexpr int M = bwd_sizes<F>::QUERY_TILES, QUERIES = bwd_sizes<F>::QUERIES;
    constexpr int PART = bwd_sizes<F>::QUERY_PART;
    DYN_SHARED(float, memory);
    real *queries = take_tile<F>(memory, QUERIES), *douts = take_tile<F>(memory, QUERIES);
    const stages<real> keys = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    const stages<real> values = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    mma_place place(batch, seq, heads, F);
    place.tile = parts_of(seq, QUERIES) - 1 - place.tile;
    const lane_place at(16 * M);
    const int first = place.tile * QUERIES, tiles = parts_of(min(seq, first + QUERIES), OTHER);
    const float scale = 1 / sqrtf((float)F);
    float y[M][mma_tile<F>::COLUMNS][4] = {}, row_lse[M][2], row_dot[M][2], factor[M][2];
    row_tile<F, M, false> query_rows(queries, at), dout_rows(douts, at);

    copy_tile<F>(queries, q + place.first, place.row, first, QUERIES, seq);
    copy_tile<F>(douts, dout + place.first, place.row, first, QUERIES, seq);
    copy_tile<F>(keys[0], k + place.first, place.row, 0, OTHER, seq);
    copy_tile<F>(values[0], v + place.first, place.row, 0, OTHER, seq);
    copies_commit();
    for (int m = 0; m < M; m++)
        for (int half = 0; half < 2; half++) {
            int t = first + at.row + 16 * m + 8 * half + at.group;
            row_lse[m][half] = t < seq ? LOG2_E * lse[place.number * seq + t] : 0;
            row_dot[m][half] = t < seq ? dot[place.number * seq + t] : 0;
            factor[m][half] = scale;
        }
    for (int tile = 0; tile < tiles; tile++) {
        copies_wait<0>();
        __syncthreads(); // the tile is there, and the one before is done with
        if (tile + 1 < tiles) {
            const int next = tile + 1, key = (tile + 1) * OTHER;
            copy_tile<F>(keys[next], k + place.first, place.row, key, OTHER, seq);
            copy_tile<F>(values[next], v + place.first, place.row, key, OTHER, seq);
            copies_commit();
        }
        UNROLL_1
        for (int part = 0; part < OTHER; part += PART) {
            const int first_key = tile * OTHER + part - first - at.row;
            if (first_key >= 16 * M)
                continue; // the warp's queries read none of them
            const bool diagonal = first_key + PART > 1;
            float s[M][PART / 8][4], d[M][PART / 8][4];
            mma_dots<F, M, PART / 8>(s, query_rows, keys[tile], part, at.lane);
            mma_dots<F, M, PART / 8>(d, dout_rows, values[tile], part, at.lane);
            for (int m = 0; m < M; m++)
                for (int n = 0; n < PART / 8; n++)
                    for (int i = 0; i < 4; i++) {
                        int key = first_key + 8 * n + 2 * at.part + i % 2;
                        int query = 16 * m + i / 2 * 8 + at.group;
                        float p = exp2_fast(fmaf(s[m][n][i], scale * LOG2_E, -row_lse[m][i / 2]));
                        d[m][n][i] =
                            diagonal && key > query ? 0 : p * (d[m][n][i] - row_dot[m][i / 2]);
                    }
            mma_weighted<F, M, PART / 8>(y, d, keys[tile], part, at.lane);
        }
    }
    store_rows<F, M>(dq + place.first, y, factor, queries, place.row, first, seq, at);
}

template <int F>
static __global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_bwd_keys_mma(real *dk, real *dv, const float *dot, const real *dout, const float *lse,
                           const real *q, const real *k, const real *v, int batch, int seq,
                           int heads)
{
    constexpr int M = bwd_sizes<F>::KEY_TILES, KEYS = bwd_sizes<F>::KEYS;
    constexpr int PART = bwd_sizes<F>::KEY_PART;
    DYN_SHARED(float, memory);
    real *keys = take_tile<F>(memory, KEYS), *values = take_tile<F>(memory, KEYS);
    const stages<real> queries = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    const stages<real> douts = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    const stages<float> lses = {shared_take(memory, OTHER), shared_take(memory, OTHER)};
    const stages<float> dots = {shared_take(memory, OTHER), shared_take(memory, OTHER)};
    const mma_place place(batch, seq, heads, F);
    const lane_place at(16 * M);
    const int first = place.tile * KEYS, tiles = parts_of(seq, OTHER);
    const float scale = 1 / sqrtf((float)F);
    float dkeys[M][mma_tile<F>::COLUMNS][4] = {}, dvalues[M][mma_tile<F>::COLUMNS][4] = {};
    row_tile<F, M, false> key_rows(keys, at), value_rows(values, at);

    // The first half of the threads carry lse, the others D, of a row each.
    const bool for_lse = threadIdx.x < OTHER;
    const int carried = threadIdx.x % OTHER;
    const float *carry = (for_lse ? lse : dot) + place.number * seq;
    float value = 0;

    copy_tile<F>(keys, k + place.first, place.row, first, KEYS, seq);
    copy_tile<F>(values, v + place.first, place.row, first, KEYS, seq);
    for (int tile = first / OTHER - 1; tile < tiles; tile++) {
        const int next = tile + 1, next_query = (tile + 1) * OTHER;
        const bool begin = tile < first / OTHER;
        if (!begin) {
            copies_wait<0>();
            __syncthreads(); // the tile is there, and the one before is done with
        }
        if (tile + 1 < tiles) {
            copy_tile<F>(queries[next], q + place.first, place.row, next_query, OTHER, seq);
            copy_tile<F>(douts[next], dout + place.first, place.row, next_query, OTHER, seq);
            copies_commit();
            value = next_query + carried < seq ? carry[next_query + carried] : 0;
        }
        UNROLL_1
        for (int part = 0; part < OTHER && !begin; part += PART) {
            const int first_query = tile * OTHER + part - first - at.row;
            if (first_query + PART <= 0)
                continue; // they are before the warp's keys
            const bool diagonal = first_query < 16 * M - 1;
            float s[M][PART / 8][4], d[M][PART / 8][4];
            mma_dots<F, M, PART / 8>(s, key_rows, queries[tile], part, at.lane);
            mma_dots<F, M, PART / 8>(d, value_rows, douts[tile], part, at.lane);
            for (int n = 0; n < PART / 8; n++)
                for (int odd = 0; odd < 2; odd++) {
                    const int column = 8 * n + 2 * at.part + odd;
                    const float row_lse = lses[tile][part + column],
                                row_dot = dots[tile][part + column];
                    for (int m = 0; m < M; m++)
                        for (int i = odd; i < 4; i += 2) {
                            int key = 16 * m + i / 2 * 8 + at.group;
                            float p = exp2_fast(fmaf(s[m][n][i], scale * LOG2_E, -row_lse));
                            p = diagonal && key > first_query + column ? 0 : p;
                            s[m][n][i] = p;
                            d[m][n][i] = p * (d[m][n][i] - row_dot);
                        }
                }
            mma_weighted<F, M, PART / 8>(dvalues, s, douts[tile], part, at.lane);
            mma_weighted<F, M, PART / 8>(dkeys, d, queries[tile], part, at.lane);
        }
        if (tile + 1 < tiles) {
            float *to = for_lse ? lses[next] : dots[next];
            to[carried] = for_lse ? LOG2_E * value : value;
        }
    }
    float ones[M][2], scales[M][2];
    for (int m = 0; m < M; m++) {
        ones[m][0] = ones[m][1] = 1;
        scales[m][0] = scales[m][1] = scale;
    }
    store_rows<F, M>(dv + place.first, dvalues, ones, values, place.row, first, seq, at);
    store_rows<F, M>(dk + place.first, dkeys, scales, keys, place.row, first, seq, at);
}

template <int F>
static void launch_bwd(real *dq, real *dk, real *dv, const float *dot, const real *dout,
                       const float *lse, const real *q, const real *k, const real *v, int batch,
                       int seq, int heads)
{
    constexpr int QUERIES = bwd_sizes<F>::QUERIES, KEYS = bwd_sizes<F>::KEYS;
    const size_t chains = (size_t)batch * heads;
    size_t bytes = sizeof(float) * (2 * shared_floats(mma_tile<F>::floats(QUERIES)) +
                                    4 * shared_floats(mma_tile<F>::floats(OTHER)));
    allow_shared(attention_bwd_queries_mma<F>, bytes);
    LAUNCH((attention_bwd_queries_mma<F>), blocks_exact(chains * parts_of(seq, QUERIES), 1),
           MMA_THREADS, bytes, device_stream, dq, dot, dout, lse, q, k, v, batch, seq, heads);
    bytes =
        sizeof(float) * (2 * shared_floats(mma_tile<F>::floats(KEYS)) +
                         4 * shared_floats(mma_tile<F>::floats(OTHER)) + 4 * shared_floats(OTHER));
    allow_shared(attention_bwd_keys_mma<F>, bytes);
    LAUNCH((attention_bwd_keys_mma<F>), blocks_exact(chains * parts_of(seq, KEYS), 1), MMA_THREADS,
           bytes, device_stream, dk, dv, dot, dout, lse, q, k, v, batch, seq, heads);
}

void attention_bwd(real *dq, real *dk, real *dv, const real *dout, const real *out,
                   const float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    inner_check_aligned(dq, dk, dv, dout, out, q, k, v);
    const size_t rows = (size_t)batch * seq * heads;
    float *dot = (float *)device_workspace(sizeof *dot * rows);
    LAUNCH(attention_bwd_dots, blocks_exact(DOT_LANES * rows, ROW_THREADS), ROW_THREADS, 0,
           device_stream, dot, dout, out, rows, seq, heads, head_dim);
    WITH_HEAD_DIM(head_dim, launch_bwd, dq, dk, dv, dot, dout, lse, q, k, v, batch, seq, heads);
}

#endif
