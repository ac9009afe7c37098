// launch.cuh -- how kernels are started: the stream, the one launch macro, grids, shared memory.
//
// Rules of this folder: every launch goes through LAUNCH (a template in parentheses), shared memory
// through SHARED and DYN_SHARED, lanes meet only in *_sync calls, offsets are 64-bit, and no float
// is added atomically. tests/emulated defines the same macros for a plain C++ compiler.
#ifndef LAUNCH_CUH
#define LAUNCH_CUH

#include <assert.h>
#include <cuda_runtime.h>
#include <stddef.h>
#include <stdint.h>

extern cudaStream_t device_stream;

// Keep the first error that any launch met, for device_sync. `what` names the kernel.
void launch_check(const char *what);

// The same for a failure with its own sentence.
void device_fail(const char *what, const char *reason);

#ifndef LAUNCH
#    define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
        (kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__), launch_check(#kernel))
// The block's dynamic shared memory, as an array of type.
#    define DYN_SHARED(type, name)                                             \
        extern __shared__ __align__(16) unsigned char dynamic_shared_memory[]; \
        type *name = (type *)dynamic_shared_memory
// A shared array: SHARED(float, part, [32]);
#    define SHARED(type, name, dims) __shared__ type name dims
// Note that SHARED_GAP_BYTES at p are nobody's: a write there is a mistake, and the emulation says
// so.
#    define SHARED_GAP(p) ((void)(p))
enum { SHARED_GAP_BYTES = 0 };
// Before a loop: so many turns at a time.
#    define UNROLL_4 _Pragma("unroll 4")
#    define UNROLL_2 _Pragma("unroll 2")
#    define UNROLL_1 _Pragma("unroll 1")
#endif

enum { ROW_THREADS = 256 };

// Threads for a row that is taken in fours: whole warps, no more than have work.
static inline unsigned row_threads(size_t width)
{
    size_t threads = (width + 127) / 128 * 32;
    return (unsigned)(threads < ROW_THREADS ? threads : (size_t)ROW_THREADS);
}

static const size_t GRID_LIMIT = 1 << 20, GRID_YZ_LIMIT = 65535;

// Blocks for count items, per_block each; the kernel's loop strides over what is left.
static inline unsigned blocks_for(size_t count, size_t per_block)
{
    size_t blocks = (count + per_block - 1) / per_block;
    return (unsigned)(blocks < GRID_LIMIT ? blocks : GRID_LIMIT);
}

// The same for kernels without a loop: every item has its block.
static inline unsigned blocks_exact(size_t count, size_t per_block)
{
    size_t blocks = (count + per_block - 1) / per_block;
    assert(blocks <= INT32_MAX);
    return (unsigned)blocks;
}

// This thread's number in the grid, and the grid's threads, for loops over a whole array.
static __device__ inline size_t grid_thread()
{
    return (size_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ inline size_t grid_threads()
{
    return (size_t)gridDim.x * blockDim.x;
}

// Allow a kernel more dynamic shared memory than the 48 KiB that need no asking.
template <class Kernel> static void allow_shared(Kernel *kernel, size_t bytes)
{
    if (bytes > 48 << 10)
        cudaFuncSetAttribute((const void *)kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)bytes);
}

// Dynamic shared memory handed out array by array; the host sizes it with shared_floats.
static inline __device__ __host__ size_t shared_floats(size_t count)
{
    return (count + 3) / 4 * 4 + SHARED_GAP_BYTES / sizeof(float);
}

static inline __device__ float *shared_take(float *&at, size_t count)
{
    float *taken = at;
    at += shared_floats(count);
    SHARED_GAP(at - SHARED_GAP_BYTES / sizeof(float));
    return taken;
}

#endif
