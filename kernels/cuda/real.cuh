// real.cuh -- from storage to float and back, one value or four at a time.
#ifndef REAL_CUH
#define REAL_CUH

#include "real.h"

#include <cuda_bf16.h>
#include <cuda_runtime.h>

// ---- float4 -------------------------------------------------------------------------------------

static __device__ inline float4 four(float v)
{
    return make_float4(v, v, v, v);
}

static __device__ inline float4 operator+(float4 a, float4 b)
{
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}

static __device__ inline float4 operator-(float4 a, float4 b)
{
    return make_float4(a.x - b.x, a.y - b.y, a.z - b.z, a.w - b.w);
}

static __device__ inline float4 operator*(float4 a, float4 b)
{
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}

static __device__ inline float4 operator*(float a, float4 b)
{
    return make_float4(a * b.x, a * b.y, a * b.z, a * b.w);
}

// a * b + c
static __device__ inline float4 fma4(float a, float4 b, float4 c)
{
    return make_float4(fmaf(a, b.x, c.x), fmaf(a, b.y, c.y), fmaf(a, b.z, c.z), fmaf(a, b.w, c.w));
}

static __device__ inline float sum4(float4 a)
{
    return (a.x + a.y) + (a.z + a.w);
}

static __device__ inline float dot4(float4 a, float4 b)
{
    return sum4(a * b);
}

// ---- one value --------------------------------------------------------------------------------

static __device__ inline float to_float(float v)
{
    return v;
}

// The float that bf16 has nearest to v.
static __device__ inline float bf16_rounded(float v)
{
    return __uint_as_float((unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(v)) << 16);
}

#ifdef TTT_BF16
static __device__ inline float to_float(real v)
{
    return __uint_as_float((unsigned)v.bits << 16);
}

static __device__ inline real to_real(float v)
{
    real r;
    r.bits = __bfloat16_as_ushort(__float2bfloat16_rn(v));
    return r;
}
#else
static __device__ inline real to_real(float v)
{
    return v;
}
#endif

// ---- memory -----------------------------------------------------------------------------------

// p is aligned to the four values.
static __device__ inline float4 load4(const float *p)
{
    return *(const float4 *)p;
}

static __device__ inline void store4(float *p, float4 v)
{
    *(float4 *)p = v;
}

#ifdef TTT_BF16
static __device__ inline float4 load4(const real *p)
{
    uint2 v = *(const uint2 *)p;
    return make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000u),
                       __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xffff0000u));
}

static __device__ inline void store4(real *p, float4 v)
{
    *(uint2 *)p = make_uint2(to_real(v.x).bits | (unsigned)to_real(v.y).bits << 16,
                             to_real(v.z).bits | (unsigned)to_real(v.w).bits << 16);
}
#endif

// ---- four at a time, or one where an array is not aligned or not a multiple
// -----------------------

// N values, 4 or 1. Kernels over arrays are templates of N.
template <int N> struct pack {
    float v[N];
};

template <int N, class T> static __device__ inline pack<N> load(const T *p)
{
    pack<N> a;
    if constexpr (N == 4) {
        float4 f = load4(p);
        a.v[0] = f.x, a.v[1] = f.y, a.v[2] = f.z, a.v[3] = f.w;
    } else {
        a.v[0] = to_float(*p);
    }
    return a;
}

template <int N> static __device__ inline void store(float *p, pack<N> a)
{
    if constexpr (N == 4)
        store4(p, make_float4(a.v[0], a.v[1], a.v[2], a.v[3]));
    else
        *p = a.v[0];
}

#ifdef TTT_BF16
template <int N> static __device__ inline void store(real *p, pack<N> a)
{
    if constexpr (N == 4)
        store4(p, make_float4(a.v[0], a.v[1], a.v[2], a.v[3]));
    else
        *p = to_real(a.v[0]);
}
#endif

// Whether rows of width values can be taken in fours from every one of these arrays (NULL counts as
// aligned).
template <class... T> static bool in_fours(size_t width, const T *...p)
{
    return width % 4 == 0 && (((uintptr_t)p % (4 * sizeof(T)) == 0) && ...);
}

#endif
