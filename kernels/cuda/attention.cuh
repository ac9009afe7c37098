// attention.cuh -- one tile of causal attention: 64 rows against 64, the work of a block.
//
// Tiles are [TILE][F] floats in shared memory, rows inner<F>::STRIDE apart. A thread has four rows
// of one side and every 16th row of the other, so that the 16 lanes of a row sum by shuffles.
#ifndef ATTENTION_CUH
#define ATTENTION_CUH

#include "inner.cuh"

enum { TILE = 64, SIDE = 16, TILE_THREADS = SIDE * SIDE, OWN = TILE / SIDE };
enum { PAIR_STRIDE = TILE + 4 }; // of a tile of weights, [TILE][TILE]

// Which sequence, head and tile this block has, of arrays [batch][seq][heads][F].
struct tile_place {
    size_t number;     // batch * heads + head
    size_t first, row; // the sequence's first token; from one token to the next
    int tile;
    int own, lane; // this thread's first row; its row of the other side, of every 16

    __device__ tile_place(int batch, int seq, int heads, int head_dim)
    {
        size_t chains = (size_t)batch * heads;
        number = blockIdx.x % chains;
        tile = (int)(blockIdx.x / chains);
        row = (size_t)heads * head_dim;
        first = number / heads * seq * row + number % heads * head_dim;
        own = threadIdx.x / SIDE * OWN;
        lane = threadIdx.x % SIDE;
    }
};

static inline __device__ __host__ int tile_count(int seq)
{
    return (seq + TILE - 1) / TILE;
}

template <int F> static __device__ __host__ inline size_t tile_floats()
{
    return (size_t)TILE * inner<F>::STRIDE;
}

// The tile's rows of an array that begins at the head's first token; beyond the end they are 0.
template <int F>
static __device__ inline void load_tile(float *to, const real *from, size_t row, int tile, int seq)
{
    for (int i = threadIdx.x; i < TILE * (F / 4); i += blockDim.x) {
        int r = i / (F / 4), c = i % (F / 4) * 4, t = tile * TILE + r;
        store4(to + r * inner<F>::STRIDE + c, t < seq ? load4(from + t * row + c) : four(0));
    }
}

// s[i][n] = a[own + i] . b[lane + 16 n]
template <int F>
static __device__ inline void tile_dots(float s[OWN][OWN], const float *a, const float *b,
                                        const tile_place &at)
{
    constexpr int STRIDE = inner<F>::STRIDE;
    for (int i = 0; i < OWN; i++)
        for (int n = 0; n < OWN; n++)
            s[i][n] = 0;
    UNROLL_4
    for (int c = 0; c < F; c += 4) {
        float4 x[OWN];
        for (int n = 0; n < OWN; n++)
            x[n] = load4(b + (at.lane + n * SIDE) * STRIDE + c);
        for (int i = 0; i < OWN; i++) {
            float4 y = load4(a + (at.own + i) * STRIDE + c);
            for (int n = 0; n < OWN; n++)
                s[i][n] += dot4(y, x[n]);
        }
    }
}

// A thread's share of weights [TILE][PAIR_STRIDE], read by the 16 lanes of the same rows: a
// __syncwarp lies between.
static __device__ inline void store_weights(float *p, const float s[OWN][OWN], const tile_place &at)
{
    for (int i = 0; i < OWN; i++)
        for (int n = 0; n < OWN; n++)
            p[(at.own + i) * PAIR_STRIDE + at.lane + n * SIDE] = s[i][n];
}

// y[i][n] += sum over u of p[own + i][u] x[u][lane + 16 n]
template <int F>
static __device__ inline void tile_weighted(float y[OWN][F / SIDE], const float *p, const float *x,
                                            const tile_place &at)
{
    for (int u = 0; u < TILE; u += 4) {
        float4 w[OWN];
        for (int i = 0; i < OWN; i++)
            w[i] = load4(p + (at.own + i) * PAIR_STRIDE + u);
        for (int n = 0; n < F / SIDE; n++) {
            const float *xu = x + u * inner<F>::STRIDE + at.lane + n * SIDE;
            float a = xu[0], b = xu[inner<F>::STRIDE], c = xu[2 * inner<F>::STRIDE],
                  d = xu[3 * inner<F>::STRIDE];
            for (int i = 0; i < OWN; i++)
                y[i][n] =
                    fmaf(w[i].w, d, fmaf(w[i].z, c, fmaf(w[i].y, b, fmaf(w[i].x, a, y[i][n]))));
        }
    }
}

// The thread's rows of the block's tile, each times its factor.
template <int F>
static __device__ inline void store_tile(real *to, const float y[OWN][F / SIDE],
                                         const float factor[OWN], const tile_place &at, int seq)
{
    for (int i = 0; i < OWN; i++) {
        int t = at.tile * TILE + at.own + i;
        for (int n = 0; n < F / SIDE && t < seq; n++)
            to[t * at.row + at.lane + n * SIDE] = to_real(factor[i] * y[i][n]);
    }
}

static inline void attention_check(int batch, int seq, int heads, int head_dim)
{
    assert(batch > 0 && seq > 0 && heads > 0);
    assert(head_dim == 16 || head_dim == 32 || head_dim == 64 || head_dim == 96);
}

#endif
