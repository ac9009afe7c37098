// tensor_core.h -- what kernels/cuda/mma.cuh names, for a plain C++ compiler.
//
// A warp's operation is done by the last lane to come, for all of them. A copy is done when its
// group is waited for and not before: until then its place is poisoned, so that a missing wait, or
// a barrier missing before the copy, shows as NaN. A row for load_tiles or a place for copy16 that
// is misaligned or not in the block's shared memory is a fault, and so is a thread that ends with
// copies under way.
#ifndef TENSOR_CORE_H
#define TENSOR_CORE_H

#include "block.h"

#include <cmath>

static inline unsigned bf16_pair(float low, float high)
{
    return (unsigned)__bfloat16_as_ushort(__float2bfloat16_rn(high)) << 16 |
           __bfloat16_as_ushort(__float2bfloat16_rn(low));
}

static inline void mma_bf16(float c[4], const unsigned a[4], const unsigned b[2])
{
    emulated::warp_mma(c, a, b);
}

template <bool TRANSPOSED> static inline void load_tiles(unsigned x[4], const void *row)
{
    emulated::warp_load_tiles(x, row, TRANSPOSED);
}

static inline void copy16(void *to, const void *from, bool there)
{
    emulated::copy_begin(to, there ? from : nullptr);
}

static inline void copies_commit()
{
    emulated::copy_commit();
}

template <int LEFT> static inline void copies_wait()
{
    emulated::copy_wait(LEFT);
}

static inline float exp2_fast(float x)
{
    return exp2f(x);
}

#endif
