// inner.cuh -- how the threads of a block share a mini-batch of the inner loop.
//
// A tile is [tokens][F] floats in shared memory, rows STRIDE apart, so that neighbouring rows lie
// in different banks. A row belongs to LANES neighbouring lanes, four columns each: sums over a row
// are shuffles. ROWS rows are worked on at once; where tokens is no multiple, rows of lanes that
// are left over go along with zeros (load4_mine), and store nothing.
#ifndef INNER_CUH
#define INNER_CUH

#include "kernels.h"

#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

enum { INNER_TOKENS_MAX = 64, INNER_SHARED_BYTES = 227 << 10 };

template <int F> struct inner {
    static constexpr int LANES = F == 96 ? 32 : F / 4; // with 96, eight of them idle
    static constexpr int THREADS = F == 16 ? 64 : F == 96 ? 256 : 128;
    static constexpr int ROWS = THREADS / LANES;
    static constexpr int STRIDE = F + 4;
    static constexpr size_t STATE = (size_t)F * F + F;
};

// This thread's place: a row of ROWS, its lane, its first column. Idle lanes work on column 0 and
// neither count nor store.
template <int F> struct place {
    int row, lane, column;
    bool active;

    __device__ place()
    {
        row = threadIdx.x / inner<F>::LANES;
        lane = threadIdx.x % inner<F>::LANES;
        active = lane < F / 4;
        lane = active ? lane : 0;
        column = 4 * lane;
    }

    __device__ float row_sum(float v) const
    {
        return lanes_sum<inner<F>::LANES>(active ? v : 0.0f);
    }

    // z becomes its normalised self; returns the inverse deviation.
    __device__ float normalise(float4 &z, float eps) const
    {
        z = z - four(row_sum(sum4(z)) / F);
        float r = 1 / sqrtf(row_sum(dot4(z, z)) / F + eps);
        z = r * z;
        return r;
    }

    // LNV(u; xh, r) = r (u - mean(u) - xh mean(u xh))
    __device__ float4 lnv(float4 u, float4 xh, float r) const
    {
        float mean = row_sum(sum4(u)) / F, dot = row_sum(dot4(u, xh)) / F;
        return r * (u - four(mean) - dot * xh);
    }
};

// ---- a head's arrays
// ------------------------------------------------------------------------------

// The sequence and head of this block, and what they learn from.
struct chain {
    size_t number; // batch * heads + head
    int head;
    size_t first; // of the sequence's first token, in arrays [batch][seq][heads][F]
    size_t row;   // from one token to the next

    __device__ chain(const ttt_shape &s)
    {
        number = blockIdx.x;
        head = (int)(number % s.heads);
        row = (size_t)s.heads * s.head_dim;
        first = number / s.heads * s.seq * row + (size_t)head * s.head_dim;
    }
};

// Kept states of a chain: one before every keep_every-th mini-batch.
static inline __device__ __host__ int inner_groups(const ttt_shape &s)
{
    return (s.seq / s.mini_batch + s.keep_every - 1) / s.keep_every;
}

// Four values of a tile that its own lanes replace meanwhile: others must not read them.
static __device__ inline float4 load4_mine(bool mine, const float *p)
{
    return mine ? load4(p) : four(0);
}

// Parameters may lie anywhere, so they are read one by one.
static __device__ inline float4 param4(const float *p)
{
    return make_float4(p[0], p[1], p[2], p[3]);
}

// t_i = max(0, token_idx[i] + 1 / (i + 1)); a NaN stays one.
static __device__ inline float token_weight(const float *token_idx, int i)
{
    float w = token_idx[i] + 1.0f / (i + 1);
    return w < 0 ? 0 : w;
}

static __device__ inline void load_token_weights(float *t, const float *token_idx, int tokens)
{
    for (int i = threadIdx.x; i < tokens; i += blockDim.x)
        t[i] = token_weight(token_idx, i);
}

template <int F>
static __device__ inline void load_rows(float *tile, const real *from, size_t row, int tokens)
{
    for (int i = threadIdx.x; i < tokens * (F / 4); i += blockDim.x) {
        int r = i / (F / 4), c = i % (F / 4) * 4;
        store4(tile + r * inner<F>::STRIDE + c, load4(from + r * row + c));
    }
}

// W from a dense [F][F] and b.
template <int F>
static __device__ inline void load_state(float *w, float *b, const float *from_w,
                                         const float *from_b)
{
    for (int i = threadIdx.x; i < F * F; i += blockDim.x)
        w[i / F * inner<F>::STRIDE + i % F] = from_w[i];
    for (int c = threadIdx.x; c < F; c += blockDim.x)
        b[c] = from_b[c];
}

template <int F> static __device__ inline void save_state(float *to, const float *w, const float *b)
{
    for (int i = threadIdx.x; i < F * F; i += blockDim.x)
        to[i] = w[i / F * inner<F>::STRIDE + i % F];
    for (int c = threadIdx.x; c < F; c += blockDim.x)
        to[F * F + c] = b[c];
}

// ---- products
// -------------------------------------------------------------------------------------

// z += x W for one row and this lane's columns; W_STRIDE from row to row of W.
template <int F, int W_STRIDE>
static __device__ inline void times(float4 &z, const float *x, const float *w, int column)
{
    UNROLL_4
    for (int k = 0; k < F; k += 4) {
        float4 a = load4(x + k);
        const float *wk = w + k * W_STRIDE + column;
        z = fma4(a.x, load4(wk), z);
        z = fma4(a.y, load4(wk + W_STRIDE), z);
        z = fma4(a.z, load4(wk + 2 * W_STRIDE), z);
        z = fma4(a.w, load4(wk + 3 * W_STRIDE), z);
    }
}

// ---- one inner step
// -------------------------------------------------------------------------------

// The inner gradient of a row: z = x W + b, and what follows from it.
struct gradient {
    float4 xh, e, g;
    float r;
};

template <int F>
static __device__ inline gradient inner_gradient(float4 z, float4 x, float4 v, float4 scale,
                                                 float4 bias, float eps, const place<F> &at)
{
    gradient d;
    d.r = at.normalise(z, eps);
    d.xh = z;
    d.e = scale * z + bias - (v - x);
    d.g = at.lnv(scale * d.e, z, d.r);
    return d;
}

// The second-order step: the gradient dg of a row's G back to z and e, and what it gives to the
// norm's scale; its bias receives de.
struct gradient_gradient {
    float4 dz, de, dscale;
};

template <int F>
static __device__ inline gradient_gradient inner_gradient_bwd(float4 dg, const gradient &d,
                                                              float4 scale, const place<F> &at)
{
    gradient_gradient to;
    float4 u = scale * d.e;
    float c2 = at.row_sum(dot4(u, d.xh)) / F, a2 = at.row_sum(dot4(dg, d.xh)) / F;
    float q2 = at.row_sum(dot4(dg, d.g)) / F;
    float4 du = at.lnv(dg, d.xh, d.r);
    to.de = scale * du;
    float4 dxh = scale * to.de - d.r * (c2 * dg + a2 * u);
    to.dz = at.lnv(dxh, d.xh, d.r) - d.r * q2 * d.xh;
    to.dscale = du * d.e + to.de * d.xh;
    return to;
}

// ---- host
// -----------------------------------------------------------------------------------------

// All but seq, which decoding does not read.
static inline void inner_check_token(const struct ttt_shape *s)
{
    assert(s->batch > 0 && s->heads > 0 && s->eps > 0);
    assert(s->head_dim == 16 || s->head_dim == 32 || s->head_dim == 64 || s->head_dim == 96);
    assert(s->mini_batch > 0 && s->mini_batch <= INNER_TOKENS_MAX);
}

static inline void inner_check(const struct ttt_shape *s)
{
    inner_check_token(s);
    assert(s->seq > 0 && s->seq % s->mini_batch == 0);
}

// The arrays that kernels read or write in fours.
template <class... T> static void inner_check_aligned(const T *...p)
{
    assert((((uintptr_t)p % 16 == 0) && ...));
}

// Call body<head_dim>(...).
#define WITH_HEAD_DIM(head_dim, body, ...) \
    switch (head_dim) {                    \
    case 16:                               \
        body<16>(__VA_ARGS__);             \
        break;                             \
    case 32:                               \
        body<32>(__VA_ARGS__);             \
        break;                             \
    case 64:                               \
        body<64>(__VA_ARGS__);             \
        break;                             \
    case 96:                               \
        body<96>(__VA_ARGS__);             \
        break;                             \
    }

#endif
