// cuda_runtime.h -- stands in for CUDA's header of this name when a plain C++ compiler reads
// kernels/cuda. The language is macros over block.h; what is queued on a stream is done as late as
// stream.h says.
//
// Not here, because no kernel uses it: clusters, TMA, mbarrier, wgmma, cooperative groups,
// textures.
#ifndef CUDA_RUNTIME_H
#define CUDA_RUNTIME_H

#include "block.h"
#include "vector_types.h"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

// ---- the language ------------------------------------------------------------------------------

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

#define threadIdx (emulated::running->index)
#define blockIdx  (emulated::block_index)
#define blockDim  (emulated::block_size)
#define gridDim   (emulated::grid_size)

// What launch.cuh defines for nvcc, under the same names.
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                          \
    (emulated::launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__), \
     launch_check(#kernel))
#define DYN_SHARED(type, name) type *name = (type *)emulated::dynamic_shared()
#define SHARED(type, name, dims)                 \
    typedef type name##_type dims;               \
    static emulated::shared_array name##_memory; \
    name##_type &name = *(name##_type *)name##_memory.find(sizeof(name##_type))
#define SHARED_GAP(p) emulated::shared_gap(p)
enum { SHARED_GAP_BYTES = emulated::GAP_BYTES };
#define UNROLL_4
#define UNROLL_2
#define UNROLL_1

// ---- barriers and warps
// --------------------------------------------------------------------------

#define __syncthreads() emulated::block_barrier(__FILE__, __LINE__)

static inline void __syncwarp(uint32_t mask = ~0u)
{
    emulated::warp_barrier(mask);
}

template <class T> static inline T __shfl_xor_sync(uint32_t mask, T v, int lanes)
{
    return emulated::exchange(mask, v, emulated::running->linear % 32 ^ (unsigned)lanes);
}

template <class T> static inline T __shfl_sync(uint32_t mask, T v, int source)
{
    return emulated::exchange(mask, v, (unsigned)source);
}

template <class T> static inline T __shfl_down_sync(uint32_t mask, T v, unsigned lanes)
{
    unsigned lane = emulated::running->linear % 32;
    return emulated::exchange(mask, v, lane + lanes < 32 ? lane + lanes : lane);
}

// ---- arithmetic
// ----------------------------------------------------------------------------------

using std::isfinite;

static inline float __uint_as_float(unsigned bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline unsigned __float_as_uint(float f)
{
    unsigned bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

// Of pi x, which is brought within one turn exactly.
static inline void sincospi(double x, double *sine, double *cosine)
{
    double angle = remainder(x, 2) * 3.14159265358979323846;
    *sine = sin(angle);
    *cosine = cos(angle);
}

// Threads take turns, so that nothing comes between.
static inline unsigned atomicAdd(unsigned *p, unsigned v)
{
    unsigned before = *p;
    *p += v;
    return before;
}

template <class T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}

template <class T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}

// ---- the runtime
// ---------------------------------------------------------------------------------

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorGraphExecUpdateFailure = 910,
};

enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum { cudaStreamNonBlocking = 1 };
enum { cudaEventDefault = 0, cudaEventDisableTiming = 2 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
typedef CUstream_st *cudaStream_t;
typedef CUevent_st *cudaEvent_t;
typedef CUgraph_st *cudaGraph_t;
typedef CUgraphExec_st *cudaGraphExec_t;

struct cudaGraphExecUpdateResultInfo {
    int result;
};

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
};

cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
cudaError_t cudaMalloc(void **p, size_t bytes); // poisoned: every bit set
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo *told);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute attribute, int value);

#endif
