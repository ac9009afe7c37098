// products.cuh -- products of a mini-batch's rows with matrices of the inner model, shared out over
// the threads of a block. No barrier is inside.
//
// Operands and results are fp32. In the bf16 build tensor cores multiply: each operand is the sum
// of two bf16, and three of the four products are taken, which leaves a relative error near 2^-17.
// Elsewhere every product is an fp32 multiply-add.
#ifndef PRODUCTS_CUH
#define PRODUCTS_CUH

#include "inner.cuh"
#include "mma.cuh"

// A term of an update: sum_j factor_j x[j][row] g[j][column]; factor NULL: 1.
struct outer {
    const float *x;
    int x_stride;
    const float *g;
    int g_stride;
    const float *factor;
};

#ifndef TTT_BF16

// take(i, column, y): y is row i of A W from that column, four of them. A [tokens] rows, `stride`
// apart; W [K] rows of N, WS apart. A thread has R rows.
template <int N, int K, int WS, int R, class Take>
static __device__ inline void rows_times(const float *a, int stride, const float *w, int tokens,
                                         Take take)
{
    for (int n = threadIdx.x; n < (tokens + R - 1) / R * (N / 4); n += blockDim.x) {
        const int first = n / (N / 4) * R, column = n % (N / 4) * 4;
        float4 sum[R];
        for (int i = 0; i < R; i++)
            sum[i] = four(0);
        UNROLL_2
        for (int k = 0; k < K; k += 4) {
            const float *wk = w + k * WS + column;
            float4 w0 = load4(wk), w1 = load4(wk + WS), w2 = load4(wk + 2 * WS),
                   w3 = load4(wk + 3 * WS);
            for (int i = 0; i < R; i++) {
                float4 x = load4(a + min(first + i, tokens - 1) * stride + k);
                sum[i] = fma4(x.w, w3, fma4(x.z, w2, fma4(x.y, w1, fma4(x.x, w0, sum[i]))));
            }
        }
        // An index that is not known would put the sums into local memory.
        UNROLL_4
        for (int i = 0; i < R; i++)
            if (first + i < tokens)
                take(first + i, column, sum[i]);
    }
}

// take(i, n, y): y is value n of row i of A W^T. W [N] rows of K, WS apart.
template <int N, int K, int WS, class Take>
static __device__ inline void rows_back(const float *a, int stride, const float *w, int tokens,
                                        Take take)
{
    constexpr int R = 4;
    for (int at = threadIdx.x; at < (tokens + R - 1) / R * N; at += blockDim.x) {
        const int first = at / N * R, n = at % N;
        float sum[R] = {};
        UNROLL_4
        for (int k = 0; k < K; k += 4) {
            float4 wk = load4(w + n * WS + k);
            for (int i = 0; i < R; i++)
                sum[i] += dot4(load4(a + min(first + i, tokens - 1) * stride + k), wk);
        }
        UNROLL_4
        for (int i = 0; i < R; i++)
            if (first + i < tokens)
                take(first + i, n, sum[i]);
    }
}

// take(i, j, y): y is a_i . b_j for j <= i; rows of K, `stride` apart.
template <int K, class Take>
static __device__ inline void pairs(const float *a, const float *b, int stride, int tokens,
                                    Take take)
{
    for (int n = threadIdx.x; n < tokens * tokens; n += blockDim.x) {
        int i = n / tokens, j = n % tokens;
        float sum = 0;
        for (int c = 0; c < K && j <= i; c += 4)
            sum += dot4(load4(a + i * stride + c), load4(b + j * stride + c));
        if (j <= i)
            take(i, j, sum);
    }
}

// The part of a term in four rows and four columns.
static __device__ inline void outer_add(float4 sum[4], const outer &t, int row, int column,
                                        int tokens)
{
    for (int j = 0; j < tokens; j++) {
        float4 gj = load4(t.g + j * t.g_stride + column);
        float4 xj = load4(t.x + j * t.x_stride + row);
        if (t.factor)
            gj = t.factor[j] * gj;
        sum[0] = fma4(xj.x, gj, sum[0]);
        sum[1] = fma4(xj.y, gj, sum[1]);
        sum[2] = fma4(xj.z, gj, sum[2]);
        sum[3] = fma4(xj.w, gj, sum[3]);
    }
}

// to = from + the terms, matrices of M rows of N: rows of `to` WT apart, of `from` WF. to may be
// from.
template <int M, int N, int WT, int WF, class... Outer>
static __device__ inline void matrix_add(float *to, const float *from, int tokens,
                                         const Outer &...terms)
{
    for (int n = threadIdx.x; n < M / 4 * (N / 4); n += blockDim.x) {
        const int row = n / (N / 4) * 4, column = n % (N / 4) * 4;
        float4 sum[4];
        for (int m = 0; m < 4; m++)
            sum[m] = load4(from + (row + m) * WF + column);
        (outer_add(sum, terms, row, column, tokens), ...);
        for (int m = 0; m < 4; m++)
            store4(to + (row + m) * WT + column, sum[m]);
    }
}

#else

// ---- fp32 as sums of bf16 ----------------------------------------------------------------------

// Fragments of the rounded values and of what rounding left.
struct split_a {
    unsigned high[4], low[4];

    __device__ void set(int i, float x, float y)
    {
        high[i] = bf16_pair(x, y);
        low[i] = bf16_pair(x - bf16_low(high[i]), y - bf16_high(high[i]));
    }
};

struct split_b {
    unsigned high[2], low[2];

    __device__ void set(int i, float x, float y)
    {
        high[i] = bf16_pair(x, y);
        low[i] = bf16_pair(x - bf16_low(high[i]), y - bf16_high(high[i]));
    }
};

// A sum whose small terms are kept apart, so that they neither wait for the large ones nor are lost
// between them.
struct split_sum {
    float large[4], small[4];

    __device__ split_sum() : large{0, 0, 0, 0}, small{0, 0, 0, 0} {}
    __device__ void add(const split_a &a, const split_b &b)
    {
        mma_bf16(large, a.high, b.high);
        mma_bf16(small, a.high, b.low);
        mma_bf16(small, a.low, b.high);
    }
    __device__ float operator[](int i) const { return large[i] + small[i]; }
};

// This lane's place in fragments, and its warp's.
struct mma_lane {
    int group, part, warp, warps;

    __device__ mma_lane()
    {
        group = threadIdx.x % 32 / 4;
        part = threadIdx.x % 4;
        warp = threadIdx.x / 32;
        warps = blockDim.x / 32;
    }
};

// Depth 16 of a product may come in any order that both operands share. Here lane part t has the
// depths 4t .. 4t+3, which lie together where depth runs along a row.
static __device__ inline split_a split_rows(const float *a, int stride, int first, int tokens,
                                            const mma_lane &at)
{
    float4 x = load4(a + min(first + at.group, tokens - 1) * stride + 4 * at.part);
    float4 y = load4(a + min(first + at.group + 8, tokens - 1) * stride + 4 * at.part);
    split_a s;
    s.set(0, x.x, x.y);
    s.set(1, y.x, y.y);
    s.set(2, x.z, x.w);
    s.set(3, y.z, y.w);
    return s;
}

// N neighbouring floats, aligned to all of them.
template <int N> static __device__ inline void load_few(float v[N], const float *p)
{
    if constexpr (N == 4) {
        float4 x = load4(p);
        v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
    } else if constexpr (N == 2) {
        float2 x = *(const float2 *)p;
        v[0] = x.x, v[1] = x.y;
    } else {
        v[0] = p[0];
    }
}

template <int N> static __device__ inline void store_few(float *p, const float v[N])
{
    if constexpr (N == 4)
        store4(p, make_float4(v[0], v[1], v[2], v[3]));
    else
        *(float2 *)p = make_float2(v[0], v[1]);
}

// ---- products ----------------------------------------------------------------------------------

// take(i, column, y): y is row i of A W from that column, four of them. A [tokens] rows, `stride`
// apart; W [K] rows of N, WS apart. Columns of a warp's TILES fragments are interleaved, so that a
// lane reads and has neighbours. (The R rows are the fp32 build's.)
template <int N, int K, int WS, int R, class Take>
static __device__ inline void rows_times(const float *a, int stride, const float *w, int tokens,
                                         Take take)
{
    constexpr int TILES = N >= 256 ? 4 : 1, GROUPS = N / 8 / TILES;
    const mma_lane at;
    for (int first = 0; first < tokens; first += 16)
        for (int group = at.warp; group < GROUPS; group += at.warps) {
            split_sum sum[TILES];
            const int column = group * 8 * TILES;
            const float *from = w + 4 * at.part * WS + column + TILES * at.group;
            UNROLL_2
            for (int k = 0; k < K; k += 16) {
                float wk[4][TILES];
                for (int i = 0; i < 4; i++)
                    load_few<TILES>(wk[i], from + (k + i) * WS);
                split_a x = split_rows(a + k, stride, first, tokens, at);
                for (int n = 0; n < TILES; n++) {
                    split_b b;
                    b.set(0, wk[0][n], wk[1][n]);
                    b.set(1, wk[2][n], wk[3][n]);
                    sum[n].add(x, b);
                }
            }
            const int row = first + at.group;
            if constexpr (TILES == 4) {
                // An index that is not known would put the sums into local memory.
                UNROLL_4
                for (int i = 0; i < 4; i++)
                    if (row + i / 2 * 8 < tokens)
                        take(row + i / 2 * 8, column + 8 * at.part + i % 2 * 4,
                             make_float4(sum[0][i], sum[1][i], sum[2][i], sum[3][i]));
            } else {
                // even lanes give their lower row for their neighbour's upper one
                const bool odd = at.part % 2;
                float x = __shfl_xor_sync(~0u, odd ? sum[0][0] : sum[0][2], 1);
                float y = __shfl_xor_sync(~0u, odd ? sum[0][1] : sum[0][3], 1);
                if (row + 8 * odd < tokens)
                    take(row + 8 * odd, column + at.part / 2 * 4,
                         odd ? make_float4(x, y, sum[0][2], sum[0][3])
                             : make_float4(sum[0][0], sum[0][1], x, y));
            }
        }
}

// One fragment of A B^T: rows `first` .. of A, columns `column` .. of B^T, of which there are n.
template <int K>
static __device__ inline void back_tile(split_sum &sum, const float *a, int stride, int first,
                                        int tokens, const float *b, int b_stride, int column, int n,
                                        const mma_lane &at)
{
    const float *from = b + min(column + at.group, n - 1) * b_stride + 4 * at.part;
    UNROLL_4
    for (int k = 0; k < K; k += 16) {
        float4 bk = load4(from + k);
        split_b s;
        s.set(0, bk.x, bk.y);
        s.set(1, bk.z, bk.w);
        sum.add(split_rows(a + k, stride, first, tokens, at), s);
    }
}

// take(i, n, y): y is value n of row i of A W^T. W [N] rows of K, WS apart.
template <int N, int K, int WS, class Take>
static __device__ inline void rows_back(const float *a, int stride, const float *w, int tokens,
                                        Take take)
{
    const mma_lane at;
    for (int first = 0; first < tokens; first += 16)
        for (int column = 8 * at.warp; column < N; column += 8 * at.warps) {
            split_sum sum;
            back_tile<K>(sum, a, stride, first, tokens, w, WS, column, N, at);
            for (int i = 0; i < 4; i++) {
                int row = first + at.group + i / 2 * 8;
                if (row < tokens)
                    take(row, column + 2 * at.part + i % 2, sum[i]);
            }
        }
}

// take(i, j, y): y is a_i . b_j for j <= i; rows of K, `stride` apart.
template <int K, class Take>
static __device__ inline void pairs(const float *a, const float *b, int stride, int tokens,
                                    Take take)
{
    const mma_lane at;
    const int columns = (tokens + 7) / 8;
    for (int n = at.warp; n < (tokens + 15) / 16 * columns; n += at.warps) {
        const int first = n / columns * 16, column = n % columns * 8;
        if (column > first + 15)
            continue;
        split_sum sum;
        back_tile<K>(sum, a, stride, first, tokens, b, stride, column, tokens, at);
        for (int i = 0; i < 4; i++) {
            int row = first + at.group + i / 2 * 8, j = column + 2 * at.part + i % 2;
            if (row < tokens && j <= row)
                take(row, j, sum[i]);
        }
    }
}

// The part of a term in 16 rows, of which a lane has `row` and row + 8, and the fragments that
// begin at column.
template <int TILES>
static __device__ inline void outer_add(split_sum sum[TILES], const outer &t, int row, int column,
                                        int tokens, const mma_lane &at)
{
    for (int first = 0; first < tokens; first += 16) {
        float x[2][4], g[4][TILES]; // of the tokens 2t 2t+1 2t+8 2t+9
        for (int i = 0; i < 4; i++) {
            const int j = first + 2 * at.part + i % 2 + i / 2 * 8, here = min(j, tokens - 1);
            const float factor = j >= tokens ? 0 : t.factor ? t.factor[j] : 1;
            for (int half = 0; half < 2; half++)
                x[half][i] = factor * t.x[here * t.x_stride + row + 8 * half];
            load_few<TILES>(g[i], t.g + here * t.g_stride + column + TILES * at.group);
        }
        split_a a;
        for (int i = 0; i < 4; i++)
            a.set(i, x[i % 2][i / 2 * 2], x[i % 2][i / 2 * 2 + 1]);
        for (int i = 0; i < TILES; i++) {
            split_b b;
            b.set(0, g[0][i], g[1][i]);
            b.set(1, g[2][i], g[3][i]);
            sum[i].add(a, b);
        }
    }
}

// to = from + the terms, matrices of M rows of N: rows of `to` WT apart, of `from` WF. to may be
// from. Tokens are the depth; columns are interleaved as in rows_times.
template <int M, int N, int WT, int WF, class... Outer>
static __device__ inline void matrix_add(float *to, const float *from, int tokens,
                                         const Outer &...terms)
{
    constexpr int TILES = N % 32 ? 2 : 4, GROUPS = N / 8 / TILES;
    const mma_lane at;
    for (int n = at.warp; n < M / 16 * GROUPS; n += at.warps) {
        const int row = n / GROUPS * 16 + at.group, column = n % GROUPS * 8 * TILES;
        split_sum sum[TILES];
        (outer_add<TILES>(sum, terms, row, column, tokens, at), ...);
        for (int i = 0; i < 4; i++) {
            const int line = row + i / 2 * 8, here = column + TILES * (2 * at.part + i % 2);
            float v[TILES];
            load_few<TILES>(v, from + line * WF + here);
            for (int k = 0; k < TILES; k++)
                v[k] += sum[k][i];
            store_few<TILES>(to + line * WT + here, v);
        }
    }
}

#endif

// score[i][j] = q_i . x_j + 1 for j <= i
template <int F>
static __device__ inline void scores(float *score, const float *q, const float *x, int tokens)
{
    pairs<F>(q, x, inner<F>::STRIDE, tokens,
             [&](int i, int j, float sum) { score[i * tokens + j] = sum + 1; });
}

#endif
