// inner_mlp.cuh -- the inner model of TTT-MLP: gelu(x W1 + b1) W2 + b2, and what a block does with
// a mini-batch of it.
//
// The state is in shared memory (NEAR) where it fits beside the tiles, else in device memory, where
// a block finds it in the caches. Tiles are in shared memory where the GPU has room, else in the
// workspace: `far` is a chain's part of it, or NULL. Narrow tiles are [tokens][F], rows
// inner<F>::STRIDE apart, wide ones [tokens][4F], mlp<F>::WIDE apart.
#ifndef INNER_MLP_CUH
#define INNER_MLP_CUH

#include "gelu.cuh"
#include "inner.cuh"
#include "products.cuh"

enum { MLP_THREADS = 256 };

// Where the parts of a state are: dense in device memory; in shared memory with rows as far apart
// as a tile's, which spreads the lanes that read one below the other over the banks.
template <int F, bool NEAR = false> struct mlp {
    static constexpr int HIDDEN = 4 * F;
    static constexpr int STRIDE = inner<F>::STRIDE, WIDE = inner<HIDDEN>::STRIDE;
    static constexpr int ROW1 = NEAR ? WIDE : HIDDEN, ROW2 = NEAR ? STRIDE : F; // of W1, of W2
    static constexpr int W1 = 0, B1 = F * ROW1, W2 = B1 + HIDDEN, B2 = W2 + HIDDEN * ROW2;
    static constexpr size_t STATE = B2 + F;
    static constexpr int ROWS = MLP_THREADS / inner<F>::LANES; // worked on at once
};

// ---- memory
// ---------------------------------------------------------------------------------------

static inline __device__ float *arena_take(float *&at, size_t count, bool shared)
{
    float *taken = at;
    at += shared_floats(count);
    if (shared)
        SHARED_GAP(at - SHARED_GAP_BYTES / sizeof(float));
    return taken;
}

// Room for narrow and wide tiles, pairs of tokens and values per token.
static inline __device__ __host__ size_t arena_floats(int head_dim, int tokens, int narrow,
                                                      int wide, int pairs, int singles)
{
    return narrow * shared_floats((size_t)tokens * (head_dim + 4)) +
           wide * shared_floats((size_t)tokens * (4 * head_dim + 4)) +
           pairs * shared_floats((size_t)tokens * tokens) + singles * shared_floats(tokens);
}

// Whether the GPU gives a block so much shared memory; the kernel is then allowed it.
template <class Kernel> static bool shared_fits(Kernel *kernel, size_t bytes)
{
    if (cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)bytes) == cudaSuccess)
        return true;
    cudaGetLastError(); // an answer, not a failure
    return false;
}

// M rows of N, TO and FROM apart.
template <int M, int N, int TO, int FROM>
static __device__ inline void rows_copy(float *to, const float *from)
{
    for (int i = threadIdx.x; i < M * N; i += blockDim.x)
        to[i / N * TO + i % N] = from[i / N * FROM + i % N];
}

// The state, which may be near, from one that may be.
template <int F, bool TO, bool FROM>
static __device__ inline void mlp_copy(float *to, const float *from)
{
    using a = mlp<F, TO>;
    using b = mlp<F, FROM>;
    rows_copy<F, 4 * F, a::ROW1, b::ROW1>(to + a::W1, from + b::W1);
    rows_copy<1, 4 * F, 0, 0>(to + a::B1, from + b::B1);
    rows_copy<4 * F, F, a::ROW2, b::ROW2>(to + a::W2, from + b::W2);
    rows_copy<1, F, 0, 0>(to + a::B2, from + b::B2);
}

// The state that a head begins with.
template <int F, bool NEAR = false>
static __device__ inline void mlp_begin(float *state, const ttt_params &p, size_t head)
{
    using at = mlp<F, NEAR>;
    constexpr int HIDDEN = at::HIDDEN;
    rows_copy<F, HIDDEN, at::ROW1, HIDDEN>(state + at::W1, p.w1 + head * F * HIDDEN);
    rows_copy<1, HIDDEN, 0, 0>(state + at::B1, p.b1 + head * HIDDEN);
    rows_copy<HIDDEN, F, at::ROW2, F>(state + at::W2, p.w2 + head * F * HIDDEN);
    rows_copy<1, F, 0, 0>(state + at::B2, p.b2 + head * F);
}

// The step sizes of a mini-batch, of which sigma is the first.
static __device__ inline void load_rates(float *rate, float *minus_s, const float *t,
                                         const float *sigma, const ttt_shape &s)
{
    for (int j = threadIdx.x; j < s.mini_batch; j += blockDim.x) {
        rate[j] = s.rate * sigma[j];
        minus_s[j] = -t[s.mini_batch - 1] * rate[j];
    }
}

// ---- the state learns
// ---------------------------------------------------------------------------------

// W -= (s X)^T G; b -= sum_j s_j G_j, for W [M][N] and b after it; rows of `to` are TO apart.
template <int M, int N, int TO, int FROM>
static __device__ inline void layer_update(float *to, const float *from, const float *x,
                                           const float *g, const float *minus_s, int tokens)
{
    matrix_add<M, N, TO, FROM>(to, from, tokens,
                               outer{x, inner<M>::STRIDE, g, inner<N>::STRIDE, minus_s});
    for (int c = threadIdx.x; c < N; c += blockDim.x) {
        float sum = from[M * FROM + c];
        for (int j = 0; j < tokens; j++)
            sum = fmaf(minus_s[j], g[j * inner<N>::STRIDE + c], sum);
        to[M * TO + c] = sum;
    }
}

// ---- one inner step
// -------------------------------------------------------------------------------

// What a mini-batch learns from. g1 may be z1; h, xh and r may be NULL.
struct mlp_learned {
    float *x, *z1, *x2, *g1, *h; // h = G2 W2^T
    float *g2, *xh, *r;
};

// Z1, X2, G1 and G2 of the rows in l.x. A barrier lies before and after.
template <int F, bool NEAR = false>
static __device__ inline void mlp_learn(const mlp_learned &l, const float *state, const real *v,
                                        size_t row, float4 scale, float4 bias, float eps,
                                        int tokens, const place<F> &at)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    using parts = mlp<F, NEAR>;
    rows_times<HIDDEN, F, parts::ROW1, 4>(l.x, STRIDE, state + parts::W1, tokens,
                                          [&](int i, int column, float4 z) {
                                              z = z + load4(state + parts::B1 + column);
                                              store4(l.z1 + i * WIDE + column, z);
                                              store4(l.x2 + i * WIDE + column, gelu4(z));
                                          });
    __syncthreads();
    rows_times<F, HIDDEN, parts::ROW2, 1>(l.x2, WIDE, state + parts::W2, tokens,
                                          [&](int i, int column, float4 z) {
                                              store4(l.g2 + i * STRIDE + column,
                                                     z + load4(state + parts::B2 + column));
                                          });
    __syncthreads();
    for (int first = 0; first < tokens; first += mlp<F>::ROWS) {
        int i = min(first + at.row, tokens - 1);
        bool mine = at.active && first + at.row < tokens;
        float4 z = load4_mine(mine, l.g2 + i * STRIDE + at.column);
        gradient d = inner_gradient<F>(z, load4(l.x + i * STRIDE + at.column),
                                       load4(v + i * row + at.column), scale, bias, eps, at);
        if (mine) {
            store4(l.g2 + i * STRIDE + at.column, d.g);
            if (l.xh) {
                store4(l.xh + i * STRIDE + at.column, d.xh);
                l.r[i] = d.r;
            }
        }
    }
    __syncthreads();
    rows_back<HIDDEN, F, parts::ROW2>(l.g2, STRIDE, state + parts::W2, tokens,
                                      [&](int i, int n, float h) {
                                          size_t here = i * WIDE + n;
                                          if (l.h)
                                              l.h[here] = h;
                                          l.g1[here] = h * gelu::first(l.z1[here]);
                                      });
}

// The state learns; to may be from.
template <int F, bool TO, bool FROM>
static __device__ inline void mlp_update(float *to, const float *from, const mlp_learned &l,
                                         const float *minus_s, int tokens)
{
    using a = mlp<F, TO>;
    using b = mlp<F, FROM>;
    layer_update<F, 4 * F, a::ROW1, b::ROW1>(to, from, l.x, l.g1, minus_s, tokens);
    layer_update<4 * F, F, a::ROW2, b::ROW2>(to + a::W2, from + b::W2, l.x2, l.g2, minus_s, tokens);
}

// z -= sum over j <= i of t_i rate_j score[i][j] g[j][column..]
static __device__ inline float4 minus_learned(float4 z, const float *score, const float *t,
                                              const float *rate, const float *g, int stride, int i,
                                              int column, int tokens)
{
    for (int j = 0; j <= i; j++)
        z = fma4(-t[i] * rate[j] * score[i * tokens + j], load4(g + j * stride + column), z);
    return z;
}

#endif
