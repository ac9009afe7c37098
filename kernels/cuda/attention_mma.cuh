// attention_mma.cuh -- causal attention on tensor cores: what a warp does with tiles of bf16.
//
// Tiles are [rows][F] in shared memory, rows F + 8 values apart, so that the eight rows of a matrix
// of load_tiles lie in different banks. Own tiles are of the side whose sums a block makes, 16 OWN
// rows a warp; the other side's pass by in tiles of OTHER rows, the next copied in while one is
// worked on. Weights never leave the registers: the fragments of a product are packed and multiply
// the next.
#ifndef ATTENTION_MMA_CUH
#define ATTENTION_MMA_CUH

#include "attention.cuh"
#include "mma.cuh"

#ifdef TTT_BF16

enum { MMA_WARPS = 4, MMA_THREADS = 32 * MMA_WARPS, OTHER = 64 };

template <int F> struct mma_tile {
    static constexpr int STRIDE = F + 8, STEPS = F / 16, COLUMNS = F / 8;
    static size_t floats(int rows) { return (size_t)rows * STRIDE / 2; }
};

// This lane's part of a fragment, and its warp's first row of the own tile.
struct lane_place {
    int lane, group, part, row;

    __device__ explicit lane_place(int rows)
    {
        lane = threadIdx.x % 32;
        group = lane / 4;
        part = lane % 4;
        row = threadIdx.x / 32 * rows;
    }
};

// An array that is copied in and its twin that is worked on: a choice, not an indexed array, which
// would lie in local memory.
template <class T> struct stages {
    T *even, *odd;
    __device__ T *operator[](int i) const { return i % 2 ? odd : even; }
};

template <int F> static __device__ inline real *take_tile(float *&memory, int rows)
{
    return (real *)shared_take(memory, (size_t)rows * mma_tile<F>::STRIDE / 2);
}

// Begin to copy the rows from `first` of an array that begins at the head's first token; beyond the
// end they are 0.
template <int F>
static __device__ inline void copy_tile(real *to, const real *from, size_t row, int first, int rows,
                                        int seq)
{
    for (int i = threadIdx.x; i < rows * (F / 8); i += MMA_THREADS) {
        int r = i / (F / 8), c = i % (F / 8) * 8, t = first + r;
        copy16(to + r * mma_tile<F>::STRIDE + c, from + min(t, seq - 1) * row + c, t < seq);
    }
}

// ---- fragments ---------------------------------------------------------------------------------

// A of the tile's 16 rows from `row`, 16 columns from `column`.
template <int F>
static __device__ inline void fragment_a(unsigned a[4], const real *tile, int row, int column,
                                         int lane)
{
    load_tiles<false>(a, tile + (row + lane % 16) * mma_tile<F>::STRIDE + column + lane / 16 * 8);
}

// Two B, side by side, of the transposed tile: its 16 rows from `row` are columns.
template <int F>
static __device__ inline void fragment_b_rows(unsigned b[4], const real *tile, int row, int column,
                                              int lane)
{
    load_tiles<false>(b, tile + (row + lane % 8 + lane / 16 * 8) * mma_tile<F>::STRIDE + column +
                             lane / 8 % 2 * 8);
}

// Two B, side by side, of the tile's 16 rows from `row`, 16 columns from `column`.
template <int F>
static __device__ inline void fragment_b(unsigned b[4], const real *tile, int row, int column,
                                         int lane)
{
    load_tiles<true>(b, tile + (row + lane % 16) * mma_tile<F>::STRIDE + column + lane / 16 * 8);
}

// A row tile whose fragments are read when they are asked for, or once.
template <int F, int OWN_TILES, bool ONCE> struct row_tile {
    const real *tile;
    int row, lane;
    unsigned kept[ONCE ? OWN_TILES : 1][ONCE ? mma_tile<F>::STEPS : 1][4];

    __device__ row_tile(const real *from, const lane_place &at)
        : tile(from), row(at.row), lane(at.lane)
    {
    }
    __device__ void ready()
    {
        if constexpr (ONCE) {
            for (int m = 0; m < OWN_TILES; m++)
                for (int k = 0; k < mma_tile<F>::STEPS; k++)
                    fragment_a<F>(kept[m][k], tile, row + 16 * m, 16 * k, lane);
        }
    }
    __device__ void get(unsigned a[4], int m, int k) const
    {
        if constexpr (ONCE) {
            for (int i = 0; i < 4; i++)
                a[i] = kept[m][k][i];
        } else {
            fragment_a<F>(a, tile, row + 16 * m, 16 * k, lane);
        }
    }
};

// s = A B^T, A the warp's rows, B the 8 N rows of `tile` from `first`.
template <int F, int M, int N, class Rows>
static __device__ inline void mma_dots(float s[M][N][4], const Rows &rows, const real *tile,
                                       int first, int lane)
{
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++)
            s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0;
    for (int k = 0; k < mma_tile<F>::STEPS; k++) {
        unsigned a[M][4];
        for (int m = 0; m < M; m++)
            rows.get(a[m], m, k);
        for (int n = 0; n < N; n += 2) {
            unsigned b[4];
            fragment_b_rows<F>(b, tile, first + 8 * n, 16 * k, lane);
            for (int m = 0; m < M; m++) {
                mma_bf16(s[m][n], a[m], b);
                mma_bf16(s[m][n + 1], a[m], b + 2);
            }
        }
    }
}

// y += P B, P the weights in s rounded to bf16, B the 8 N rows of `tile` from `first`.
template <int F, int M, int N>
static __device__ inline void mma_weighted(float y[M][mma_tile<F>::COLUMNS][4],
                                           const float s[M][N][4], const real *tile, int first,
                                           int lane)
{
    for (int k = 0; k < N / 2; k++) {
        unsigned a[M][4];
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++) {
                const float *pair = s[m][2 * k + i / 2] + i % 2 * 2;
                a[m][i] = bf16_pair(pair[0], pair[1]);
            }
        for (int n = 0; n < mma_tile<F>::COLUMNS; n += 2) {
            unsigned b[4];
            fragment_b<F>(b, tile, first + 16 * k, 8 * n, lane);
            for (int m = 0; m < M; m++) {
                mma_bf16(y[m][n], a[m], b);
                mma_bf16(y[m][n + 1], a[m], b + 2);
            }
        }
    }
}

// Every one of the four lanes of a row receives their greatest, or their sum.
static __device__ inline float parts_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
    return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}

// The warp's rows of y, each times its factor, into the array: through the own tile `staging`,
// whose rows the warp is done with, so that 16 bytes go at a time.
template <int F, int M>
static __device__ inline void store_rows(real *to, const float y[M][mma_tile<F>::COLUMNS][4],
                                         const float factor[M][2], real *staging, size_t row,
                                         int first, int seq, const lane_place &at)
{
    constexpr int STRIDE = mma_tile<F>::STRIDE;
    __syncwarp();
    for (int m = 0; m < M; m++)
        for (int n = 0; n < mma_tile<F>::COLUMNS; n++)
            for (int half = 0; half < 2; half++) {
                int r = at.row + 16 * m + 8 * half + at.group;
                *(unsigned *)(staging + r * STRIDE + 8 * n + 2 * at.part) =
                    bf16_pair(factor[m][half] * y[m][n][2 * half],
                              factor[m][half] * y[m][n][2 * half + 1]);
            }
    __syncwarp();
    for (int i = at.lane; i < 16 * M * (F / 8); i += 32) {
        int r = at.row + i / (F / 8), c = i % (F / 8) * 8, t = first + r;
        if (t < seq)
            *(uint4 *)(to + t * row + c) = *(const uint4 *)(staging + r * STRIDE + c);
    }
}

// ---- blocks ------------------------------------------------------------------------------------

static const float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

// Which sequence and head a block has.
struct mma_place {
    size_t number, first, row; // batch * heads + head; its first token; from one to the next
    int tile;

    __device__ mma_place(int batch, int seq, int heads, int head_dim)
    {
        size_t chains = (size_t)batch * heads;
        number = blockIdx.x % chains;
        tile = (int)(blockIdx.x / chains);
        row = (size_t)heads * head_dim;
        first = number / heads * seq * row + number % heads * head_dim;
    }
};

static inline __device__ __host__ int parts_of(int seq, int rows)
{
    return (seq + rows - 1) / rows;
}

#endif
#endif
