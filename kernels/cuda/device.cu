// cuda/device.cu -- one GPU: where arrays live, copies, and the first thing that went wrong.
#include "device.cuh"
#include "kernels.h"

#include <assert.h>
#include <map>
#include <stdio.h>
#include <string.h>
#include <time.h>

cudaStream_t device_stream;
cublasHandle_t device_blas;

// cuBLAS may use this much; given once, so that it allocates nothing later and its results repeat.
enum { BLAS_WORKSPACE_BYTES = 32 << 20 };

// What a driver takes while a run goes on (code of kernels as they are first used, graphs) grows
// with the GPU: this part of its memory is left alone.
enum { DRIVER_PART = 64 };

enum { ALIGN_BYTES = 256 };

static void *blas_workspace;
static void *workspace;
static size_t workspace_bytes;
unsigned workspace_serial;
bool device_tf32;

// device_take's memory: handed out from its start, and again when all of it is free.
static struct {
    char *base;
    size_t bytes, used;
    int parts; // handed out and not yet freed
} taken;

// What the driver has given, by its address, and all of it together.
static std::map<void *, size_t> given;
static size_t given_bytes, peak_bytes;

static char failure[256]; // the first, kept; empty while all is well

// ---- what went wrong --------------------------------------------------------------------------

void device_fail(const char *what, const char *reason)
{
    if (!failure[0])
        snprintf(failure, sizeof failure, "%.100s: %.150s", what, reason);
}

void device_check(const char *what, cudaError_t e)
{
    if (e)
        device_fail(what, cudaGetErrorString(e));
}

void launch_check(const char *what)
{
    device_check(what, cudaGetLastError());
}

// ---- the driver's memory ------------------------------------------------------------------------

static cudaError_t ask(void **p, size_t bytes)
{
    cudaError_t e = cudaMalloc(p, bytes);
    if (e) {
        cudaGetLastError(); // the caller is told here, and no launch is to blame
        return e;
    }
    given[*p] = bytes;
    given_bytes += bytes;
    if (given_bytes > peak_bytes)
        peak_bytes = given_bytes;
    return e;
}

static void give_back(void *p)
{
    auto found = given.find(p);
    if (found == given.end()) {
        if (p)
            device_fail("device_free", "this was not allocated");
        return;
    }
    given_bytes -= found->second;
    given.erase(found);
    device_check("device_free", cudaFree(p));
}

size_t device_peak_bytes(void)
{
    return peak_bytes;
}

// ---- open and close -----------------------------------------------------------------------------

static const char *refuse(const char *what, const char *reason)
{
    static char sentence[512];
    snprintf(sentence, sizeof sentence, "%.250s: %.250s", what, reason);
    return sentence;
}

static int local_number, device_number;

void device_choose(int local, int here)
{
    (void)here;
    local_number = local;
}

const char *device_open(int threads)
{
    (void)threads;
    int count = 0;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e || count == 0)
        return refuse("no CUDA device can be used", e ? cudaGetErrorString(e) : "none is visible");
    cudaDeviceProp gpu;
    // A launcher may let each process see its own device alone.
    int number = count == 1 ? 0 : local_number;
    if (number >= count)
        return refuse("this machine has fewer CUDA devices than processes on it",
                      "start one for each device");
    if ((e = cudaSetDevice(number)) || (e = cudaGetDeviceProperties(&gpu, number)))
        return refuse("the CUDA device cannot be used", cudaGetErrorString(e));
    device_number = number;
    if (gpu.major < 8)
        return refuse(gpu.name, "too old: compute capability 8.0 or later is needed");
    if ((e = queue_open()) || (e = ask(&blas_workspace, BLAS_WORKSPACE_BYTES)))
        return refuse(gpu.name, cudaGetErrorString(e));
    cublasStatus_t s;
    if ((s = cublasCreate(&device_blas)) || (s = cublasSetStream(device_blas, device_stream)) ||
        (s = cublasSetWorkspace(device_blas, blas_workspace, BLAS_WORKSPACE_BYTES)) ||
        (s = cublasSetAtomicsMode(device_blas, CUBLAS_ATOMICS_NOT_ALLOWED)) ||
        (s = cublasSetMathMode(device_blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)))
        return refuse("cuBLAS does not start", cublasGetStatusString(s));
    return NULL;
}

void device_allow_tf32(bool allowed)
{
    device_tf32 = allowed;
}

void device_close(void)
{
    if (device_blas)
        cublasDestroy(device_blas);
    device_free(workspace);
    give_back(blas_workspace);
    give_back(taken.base);
    queue_close();
    taken = {};
    device_blas = NULL;
    device_tf32 = false;
    workspace = blas_workspace = NULL;
    workspace_bytes = 0;
}

const char *device_kind(void)
{
    return "cuda";
}

bool device_is_host(void)
{
    return false;
}

const char *device_describe(void)
{
    static char line[400];
    cudaDeviceProp gpu;
    int blas = 0;
    if (cudaGetDeviceProperties(&gpu, device_number) || cublasGetVersion(device_blas, &blas))
        return "a CUDA device that does not answer";
    snprintf(line, sizeof line, "%s, sm_%d%d, %d multiprocessors, %.1f GiB, cuBLAS %d, %s",
             gpu.name, gpu.major, gpu.minor, gpu.multiProcessorCount,
             gpu.totalGlobalMem / 1073741824.0, blas, REAL_NAME);
    return line;
}

// ---- memory -----------------------------------------------------------------------------------

size_t device_free_bytes(void)
{
    size_t free_bytes = 0, total_bytes;
    device_check("cudaMemGetInfo", cudaMemGetInfo(&free_bytes, &total_bytes));
    size_t left = total_bytes / DRIVER_PART;
    return (free_bytes > left ? free_bytes - left : 0) + taken.bytes - taken.used;
}

bool device_take(size_t bytes)
{
    assert(!taken.base);
    void *base;
    if (ask(&base, bytes))
        return false;
    taken.base = (char *)base;
    taken.bytes = bytes;
    return true;
}

static void *take(size_t bytes)
{
    size_t aligned = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    if (aligned > taken.bytes - taken.used)
        return NULL;
    void *p = taken.base + taken.used;
    taken.used += aligned;
    taken.parts++;
    return p;
}

static bool was_taken(const void *p)
{
    return taken.base && (const char *)p >= taken.base &&
           (const char *)p < taken.base + taken.bytes;
}

void *device_alloc(size_t bytes)
{
    void *p = take(bytes ? bytes : 1);
    if (!p && ask(&p, bytes ? bytes : 1))
        return NULL;
    device_zero(p, bytes);
    return p;
}

void device_free(void *p)
{
    if (!was_taken(p))
        give_back(p);
    else if (--taken.parts == 0)
        taken.used = 0;
}

void *device_host_alloc(size_t bytes)
{
    void *p;
    if (cudaMallocHost(&p, bytes ? bytes : 1)) {
        cudaGetLastError();
        return NULL;
    }
    return memset(p, 0, bytes);
}

void device_host_free(void *p)
{
    if (p)
        device_check("device_host_free", cudaFreeHost(p));
}

static void copy(const char *what, void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (bytes)
        device_check(what, cudaMemcpyAsync(to, from, bytes, kind, device_stream));
}

static void wait(const char *what)
{
    device_check(what, cudaStreamSynchronize(device_stream));
}

void device_put(void *device, const void *host, size_t bytes)
{
    copy("device_put", device, host, bytes, cudaMemcpyHostToDevice);
    wait("device_put");
}

void device_get(void *host, const void *device, size_t bytes)
{
    copy("device_get", host, device, bytes, cudaMemcpyDeviceToHost);
    wait("device_get");
}

void device_send(void *device, const void *host, size_t bytes)
{
    copy("device_send", device, host, bytes, cudaMemcpyHostToDevice);
}

void device_fetch(void *host, const void *device, size_t bytes)
{
    copy("device_fetch", host, device, bytes, cudaMemcpyDeviceToHost);
}

void device_copy(void *to, const void *from, size_t bytes)
{
    copy("device_copy", to, from, bytes, cudaMemcpyDeviceToDevice);
}

void device_zero(void *p, size_t bytes)
{
    if (bytes)
        device_check("device_zero", cudaMemsetAsync(p, 0, bytes, device_stream));
}

void device_reserve(size_t bytes)
{
    if (bytes <= workspace_bytes)
        return;
    wait("device_workspace"); // kernels may still use the old one
    device_free(workspace);
    workspace_bytes = 0;
    workspace_serial++;
    workspace = device_alloc(bytes);
    if (workspace)
        workspace_bytes = bytes;
    else
        device_fail("device_workspace", "out of memory");
}

void *device_workspace(size_t bytes)
{
    device_reserve(bytes);
    return workspace;
}

// ---- waiting ------------------------------------------------------------------------------------

const char *device_sync(void)
{
    wait("the device");
    launch_check("the device");
    return failure[0] ? failure : NULL;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Products are doubled in size until one takes long enough to be timed.
double device_matmul_gflops(void)
{
    for (int n = 256;; n *= 2) {
        size_t count = (size_t)n * n;
        real *a = (real *)device_alloc(sizeof *a * 3 * count);
        if (!a)
            return 0;
        double best_s = 1e9;
        for (int run = 0; run < 3; run++) { // the first also loads the library's kernels
            double begin = now_s();
            matmul(a, a + count, a + 2 * count, NN, n, n, n, 0);
            wait("device_matmul_gflops");
            double s = now_s() - begin;
            best_s = s < best_s ? s : best_s;
        }
        device_free(a);
        if (best_s > 10e-3 || n >= 8192)
            return 2e-9 * n * n * n / best_s;
    }
}

const char *device_matmul_kind(void)
{
    return sizeof(real) == sizeof(float) && device_tf32 ? "tf32" : REAL_NAME;
}
