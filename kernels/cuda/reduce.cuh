// reduce.cuh -- sums in a fixed order: over lanes, over a block, over partial results in memory.
#ifndef REDUCE_CUH
#define REDUCE_CUH

#include "launch.cuh"

// Every one of LANES neighbouring lanes (a power of two) receives their sum. All 32 take part.
template <int LANES, class T> static __device__ inline T lanes_sum(T v)
{
    for (int step = LANES / 2; step; step /= 2)
        v += __shfl_xor_sync(~0u, v, step);
    return v;
}

// Every thread receives the block's sum. blockDim.x is a multiple of 32.
template <class T> static __device__ inline T block_sum(T v)
{
    SHARED(T, part, [32]);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    v = lanes_sum<32>(v);
    __syncthreads(); // part may still be read for an earlier sum
    if (lane == 0)
        part[warp] = v;
    __syncthreads();
    return lanes_sum<32>(lane < warps ? part[lane] : T(0));
}

// Sums over rows (gradients of gains, biases, taps) are made in two steps: blocks write PARTS
// partial results, add_parts folds them. The number depends on the shape alone, so that every GPU
// gives the same bits. GATE_PARTS are ttt_gate_bwd's, whose results are [heads][width].
enum { PARTS_LIMIT = 256, PART_ROWS = 16, GATE_PARTS = 64 };

static inline int parts_for(size_t rows)
{
    size_t parts = (rows + PART_ROWS - 1) / PART_ROWS;
    return parts < PARTS_LIMIT ? (int)parts : PARTS_LIMIT;
}

// y[i] += sum over p of partial[p * stride + i], i < count.
void add_parts(float *y, const float *partial, int parts, size_t stride, size_t count);

#endif
