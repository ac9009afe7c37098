// runtime.cc -- the runtime's calls, over the program's own memory.
//
// Every allocation lies between guards and starts poisoned; copies and fills must stay inside one.
#include "cuda_runtime.h"
#include "device_memory.h"
#include "queue.h"

#include <cstdio>
#include <map>

namespace emulated
{

enum { GUARD_BYTES = 256, GUARD = 0xA5, POISON = 0xFF };

// As much as a small GPU has, so that a plan that is too large fails as it would there.
// EMULATED_MIB says otherwise, for devices of which one has less than the others.
static size_t device_bytes()
{
    static const char *mib = getenv("EMULATED_MIB");
    return mib ? (size_t)strtoull(mib, nullptr, 10) << 20 : (size_t)4 << 30;
}

static std::map<const char *, size_t> allocations; // first byte: bytes
static std::map<const char *, size_t> pinned;      // the same of the host's
static std::map<const void *, size_t> shared_limits;
static size_t used_bytes;
static int pending_error;

void note_error(int error)
{
    if (!pending_error)
        pending_error = error;
}

size_t function_shared_limit(const void *function)
{
    auto found = shared_limits.find(function);
    return found == shared_limits.end() ? 0 : found->second;
}

static void check_guard(const char *guard, const char *where, size_t bytes)
{
    for (int i = 0; i < GUARD_BYTES; i++)
        if ((unsigned char)guard[i] != GUARD)
            fault("device memory was written %s an allocation of %zu bytes", where, bytes);
}

void check_allocations()
{
    for (const auto &[p, bytes] : allocations) {
        check_guard(p - GUARD_BYTES, "before", bytes);
        check_guard(p + bytes, "after", bytes);
    }
}

// Whether bytes from p lie in one allocation.
static bool lies_in(const std::map<const char *, size_t> &all, const void *p, size_t bytes)
{
    auto after = all.upper_bound((const char *)p);
    if (after == all.begin())
        return false;
    auto at = std::prev(after);
    size_t offset = (size_t)((const char *)p - at->first);
    return offset <= at->second && bytes <= at->second - offset;
}

static bool on_device(const void *p, size_t bytes)
{
    return lies_in(allocations, p, bytes);
}

static cudaError_t failed(cudaError_t e)
{
    note_error(e);
    return e;
}

} // namespace emulated

using namespace emulated;

cudaError_t cudaGetLastError()
{
    cudaError_t e = (cudaError_t)pending_error;
    pending_error = 0;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorGraphExecUpdateFailure:
        return "the graph update was not performed";
    }
    return "unknown error";
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device != 0)
        return failed(cudaErrorInvalidValue);
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated GPU");
    p->totalGlobalMem = device_bytes();
    p->major = 9;
    p->multiProcessorCount = 1;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = device_bytes() - used_bytes;
    *total_bytes = device_bytes();
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t bytes)
{
    *p = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (bytes > device_bytes() - used_bytes)
        return failed(cudaErrorMemoryAllocation);
    size_t padded = (bytes + 3 * GUARD_BYTES - 1) / GUARD_BYTES * GUARD_BYTES;
    char *memory = (char *)aligned_alloc(GUARD_BYTES, padded);
    if (!memory)
        return failed(cudaErrorMemoryAllocation);
    memset(memory, GUARD, padded);
    memset(memory + GUARD_BYTES, POISON, bytes);
    allocations[memory + GUARD_BYTES] = bytes;
    used_bytes += bytes;
    *p = memory + GUARD_BYTES;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    auto found = allocations.find((const char *)p);
    if (found == allocations.end())
        return failed(cudaErrorInvalidValue);
    drain_all();
    check_allocations();
    used_bytes -= found->second;
    allocations.erase(found);
    free((char *)p - GUARD_BYTES);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    if ((kind != cudaMemcpyDeviceToHost && !on_device(to, bytes)) ||
        (kind != cudaMemcpyHostToDevice && !on_device(from, bytes)))
        return failed(cudaErrorInvalidValue);
    const void *host = kind == cudaMemcpyHostToDevice   ? from
                       : kind == cudaMemcpyDeviceToHost ? to
                                                        : nullptr;
    bool at_once = host && !lies_in(pinned, host, bytes);
    if (at_once && is_captured(stream))
        fault("a copy with memory of the host that is not pinned is captured");
    queue(stream, (const void *)cudaMemcpyAsync, [=] { memcpy(to, from, bytes); });
    if (at_once)
        drain(stream);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t bytes)
{
    *p = malloc(bytes);
    if (!*p)
        return failed(cudaErrorMemoryAllocation);
    memset(*p, POISON, bytes);
    pinned[(const char *)*p] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    drain_all();
    if (!pinned.erase((const char *)p))
        return failed(cudaErrorInvalidValue);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t stream)
{
    if (!on_device(p, bytes))
        return failed(cudaErrorInvalidValue);
    queue(stream, (const void *)cudaMemsetAsync, [=] { memset(p, value, bytes); });
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute, int value)
{
    if (value < 0 || value > 227 << 10)
        return failed(cudaErrorInvalidValue);
    shared_limits[function] = (size_t)value;
    return cudaSuccess;
}
