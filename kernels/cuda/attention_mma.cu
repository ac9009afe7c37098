// attention_mma.cu -- causal attention on tensor cores, forward.
#include "attention_mma.cuh"

#ifdef TTT_BF16

enum { QUERY_TILES = 2, WARP_QUERIES = 16 * QUERY_TILES, QUERIES = MMA_WARPS * WARP_QUERIES };

// Scores become weights 2^(s - top); y, top and sum (this lane's part) are of the keys so far.
// first_key: of the tile, counted from the warp's first query. Scores are scaled to powers of 2.
template <int F>
static __device__ inline void mma_softmax(float s[QUERY_TILES][OTHER / 8][4],
                                          float y[QUERY_TILES][mma_tile<F>::COLUMNS][4],
                                          float top[QUERY_TILES][2], float sum[QUERY_TILES][2],
                                          int first_key, const lane_place &at)
{
    const float scale = LOG2_E / sqrtf((float)F);
    const bool diagonal = first_key + OTHER > 1; // the first query does not read all
    for (int m = 0; m < QUERY_TILES; m++)
        for (int half = 0; half < 2; half++) {
            const int query = 16 * m + 8 * half + at.group;
            float most = -INFINITY;
            for (int n = 0; n < OTHER / 8; n++)
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    int key = first_key + 8 * n + 2 * at.part + i % 2;
                    s[m][n][i] = diagonal && key > query ? -INFINITY : s[m][n][i] * scale;
                    most = fmaxf(most, s[m][n][i]);
                }
            most = fmaxf(top[m][half], parts_max(most));
            const float shrink = exp2_fast(top[m][half] - most);
            float weights = 0;
            for (int n = 0; n < OTHER / 8; n++)
                for (int i = 2 * half; i < 2 * half + 2; i++) {
                    s[m][n][i] = exp2_fast(s[m][n][i] - most);
                    weights += s[m][n][i];
                }
            top[m][half] = most;
            sum[m][half] = sum[m][half] * shrink + weights;
            for (int n = 0; n < mma_tile<F>::COLUMNS; n++)
                for (int i = 2 * half; i < 2 * half + 2; i++)
                    y[m][n][i] *= shrink;
        }
}

// Blocks take the tiles of queries from the last, which is the most work.
template <int F>
static __global__ void __launch_bounds__(MMA_THREADS, 2)
    attention_fwd_mma(real *out, float *lse, const real *q, const real *k, const real *v, int batch,
                      int seq, int heads)
{
    DYN_SHARED(float, memory);
    real *queries = take_tile<F>(memory, QUERIES);
    const stages<real> keys = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    const stages<real> values = {take_tile<F>(memory, OTHER), take_tile<F>(memory, OTHER)};
    mma_place place(batch, seq, heads, F);
    place.tile = parts_of(seq, QUERIES) - 1 - place.tile;
    const lane_place at(WARP_QUERIES);
    const int first = place.tile * QUERIES, tiles = parts_of(min(seq, first + QUERIES), OTHER);
    float y[QUERY_TILES][mma_tile<F>::COLUMNS][4] = {}, top[QUERY_TILES][2],
          sum[QUERY_TILES][2] = {};
    for (int m = 0; m < QUERY_TILES; m++)
        top[m][0] = top[m][1] = -INFINITY;
    row_tile<F, QUERY_TILES, (F <= 64)> rows(queries, at);

    copy_tile<F>(queries, q + place.first, place.row, first, QUERIES, seq);
    copy_tile<F>(keys[0], k + place.first, place.row, 0, OTHER, seq);
    copy_tile<F>(values[0], v + place.first, place.row, 0, OTHER, seq);
    copies_commit();
    for (int tile = 0; tile < tiles; tile++) {
        copies_wait<0>();
        __syncthreads(); // the tile is there, and the one before is done with
        if (tile == 0)
            rows.ready();
        if (tile + 1 < tiles) {
            const int next = tile + 1, key = (tile + 1) * OTHER;
            copy_tile<F>(keys[next], k + place.first, place.row, key, OTHER, seq);
            copy_tile<F>(values[next], v + place.first, place.row, key, OTHER, seq);
            copies_commit();
        }
        const int first_key = tile * OTHER - first - at.row;
        if (first_key >= WARP_QUERIES)
            continue; // the warp's queries read none of them
        float s[QUERY_TILES][OTHER / 8][4];
        mma_dots<F, QUERY_TILES, OTHER / 8>(s, rows, keys[tile], 0, at.lane);
        mma_softmax<F>(s, y, top, sum, first_key, at);
        mma_weighted<F, QUERY_TILES, OTHER / 8>(y, s, values[tile], 0, at.lane);
    }
    float inverse[QUERY_TILES][2];
    for (int m = 0; m < QUERY_TILES; m++)
        for (int half = 0; half < 2; half++) {
            int t = first + at.row + 16 * m + 8 * half + at.group;
            float total = lanes_sum<4>(sum[m][half]);
            inverse[m][half] = 1 / total;
            if (at.part == 0 && t < seq)
                lse[place.number * seq + t] = LN_2 * top[m][half] + logf(total);
        }
    store_rows<F, QUERY_TILES>(out + place.first, y, inverse, queries, place.row, first, seq, at);
}

template <int F>
static void launch_fwd(real *out, float *lse, const real *q, const real *k, const real *v,
                       int batch, int seq, int heads)
{
    size_t bytes = sizeof(float) * (shared_floats(mma_tile<F>::floats(QUERIES)) +
                                    4 * shared_floats(mma_tile<F>::floats(OTHER)));
    allow_shared(attention_fwd_mma<F>, bytes);
    LAUNCH((attention_fwd_mma<F>), blocks_exact((size_t)batch * heads * parts_of(seq, QUERIES), 1),
           MMA_THREADS, bytes, device_stream, out, lse, q, k, v, batch, seq, heads);
}

void attention_fwd(real *out, float *lse, const real *q, const real *k, const real *v, int batch,
                   int seq, int heads, int head_dim)
{
    attention_check(batch, seq, heads, head_dim);
    inner_check_aligned(out, q, k, v);
    WITH_HEAD_DIM(head_dim, launch_fwd, out, lse, q, k, v, batch, seq, heads);
}

#endif
