// mma.cuh -- the primitives of tensor cores, by name: products of fragments, tiles from shared
// memory, copies that run beside the work, and bf16 pairs. All 32 lanes of a warp take part in
// mma_bf16, load_tiles and transposed.
//
// A fragment is what a warp holds of a matrix; lane l has group g = l / 4 and part t = l % 4:
//
//   A [16][16]   a[0] row g, columns 2t 2t+1; a[1] row g+8; a[2], a[3] the same, columns 2t+8 2t+9
//   B [16][8]    b[0] rows 2t 2t+1, column g; b[1] rows 2t+8 2t+9
//   C [16][8]    c[0] c[1] row g, columns 2t 2t+1; c[2] c[3] row g+8
//
// So a C packed in pairs is an A, and the C of a transposed matrix is a B. tests/emulated defines
// the same names for a plain C++ compiler.
#ifndef MMA_CUH
#define MMA_CUH

#include <cuda_bf16.h>
#include <cuda_runtime.h>

static __device__ inline float bf16_low(unsigned pair)
{
    return __uint_as_float(pair << 16);
}

static __device__ inline float bf16_high(unsigned pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

#ifdef __CUDACC__

// Two values as bf16, rounded to nearest even, the first in the low half.
static __device__ inline unsigned bf16_pair(float low, float high)
{
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// c += A B
static __device__ inline void mma_bf16(float c[4], const unsigned a[4], const unsigned b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ inline unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

// Four matrices [8][8] of bf16: lane 8i + r names the row r of matrix i, 16 bytes of shared memory
// aligned to 16. x[i] receives row g, columns 2t 2t+1 of matrix i; TRANSPOSED: rows 2t 2t+1 of
// column g.
template <bool TRANSPOSED> static __device__ inline void load_tiles(unsigned x[4], const void *row)
{
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                     : "r"(shared_address(row))
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                     : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
                     : "r"(shared_address(row))
                     : "memory");
}

// 16 bytes from device memory to shared memory, zeros where `there` is false (from is not read, but
// is a device address). They are there for this thread after copies_wait, for others after a
// barrier more.
static __device__ inline void copy16(void *to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}

// The copies since the last call are one group.
static __device__ inline void copies_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Until all but the last LEFT groups of this thread are there.
template <int LEFT> static __device__ inline void copies_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(LEFT) : "memory");
}

// 2^x, relative error 2^-22; 0 below 2^-126.
static __device__ inline float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else
#    include "tensor_core.h"
#endif

#endif
