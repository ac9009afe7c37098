/* device.c -- the processor as the device: memory, threads, start. */
#include "device.h"

#include "blas.h"

#include <limits.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN = 256, HUGE_PAGE = 2 << 20 };

static char description[512];
static void *workspace;
static size_t workspace_bytes;

/* OpenMP's threads spin while they wait unless told otherwise, which makes two programs on the same
   processors several times slower. The OpenMP library reads this before main: hence a constructor
   of the highest priority, and hence libgomp linked statically (see Makefile), for a shared one
   would have started already. */
__attribute__((constructor(101))) static void wait_passively(void)
{
    setenv("OMP_WAIT_POLICY", "passive", 0);
}

static void processor_name(char *name, size_t size)
{
    snprintf(name, size, "CPU");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        char *value = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && value) {
            value += 1 + strspn(value + 1, " \t");
            value[strcspn(value, "\n")] = 0;
            snprintf(name, size, "%s", value);
            break;
        }
    }
    fclose(f);
}

/* Processors' worth of time that a container may use, or a large number. */
static int processor_quota(void)
{
    long long quota, period;
    int processors = INT_MAX;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0 &&
            quota / period < 1 << 16)
            processors = (int)((quota + period - 1) / period);
        fclose(f);
    }
    return processors;
}

/* That share the memory, and the processors too, unless the launcher gives each its own. */
static int processes = 1;

void device_choose(int local, int here)
{
    (void)local;
    processes = here > 0 ? here : 1;
}

const char *device_open(int threads)
{
    if (threads == 0 && !getenv("OMP_NUM_THREADS")) {
        int quota = processor_quota(), bound = omp_get_num_procs();
        threads = omp_get_max_threads() < quota ? omp_get_max_threads() : quota;
        if (processes > 1 && bound == (int)sysconf(_SC_NPROCESSORS_ONLN))
            threads = threads / processes > 1 ? threads / processes : 1;
    }
    if (threads > 0)
        omp_set_num_threads(threads);
    threads = omp_get_max_threads();
    omp_set_dynamic(0);
    const char *why = blas_open();
    if (why)
        return why;
    char name[128];
    processor_name(name, sizeof name);
    snprintf(description, sizeof description, "%s, %d thread%s, %s", name, threads,
             threads == 1 ? "" : "s", blas_describe());
    return NULL;
}

void device_close(void)
{
    device_free(workspace);
    workspace = NULL;
    workspace_bytes = 0;
}

const char *device_kind(void)
{
    return "cpu";
}

bool device_is_host(void)
{
    return true;
}

const char *device_describe(void)
{
    return description;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double device_matmul_gflops(void)
{
    enum { M = 512, N = 2048, K = 768, RUNS = 4 };
    float *a = device_alloc(sizeof *a * M * K);
    float *b = device_alloc(sizeof *b * K * N);
    float *c = device_alloc(sizeof *c * M * N);
    double best = 0;
    for (int run = 0; a && b && c && run < RUNS; run++) {
        double begin = seconds();
        blas_sgemm(c, a, false, b, false, M, N, K, 0);
        double rate = 2e-9 * M * N * K / (seconds() - begin);
        if (rate > best)
            best = rate;
    }
    device_free(c);
    device_free(b);
    device_free(a);
    return best;
}

const char *device_matmul_kind(void)
{
    return "fp32";
}

/* The number in a file that holds one, or SIZE_MAX: "max", or no such file. */
static size_t number_in(const char *path)
{
    size_t value = SIZE_MAX;
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%zu", &value) != 1)
            value = SIZE_MAX;
        fclose(f);
    }
    return value;
}

size_t device_free_bytes(void)
{
    size_t free_bytes = SIZE_MAX, kib;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %zu kB", &kib) == 1)
            free_bytes = kib * 1024;
    if (f)
        fclose(f);
    /* A container may be given less than the machine has. */
    size_t limit = number_in("/sys/fs/cgroup/memory.max");
    size_t used = number_in("/sys/fs/cgroup/memory.current");
    if (limit != SIZE_MAX && used != SIZE_MAX) {
        size_t left = limit > used ? limit - used : 0;
        free_bytes = left < free_bytes ? left : free_bytes;
    }
    return free_bytes / (size_t)processes;
}

void *device_alloc(size_t bytes)
{
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
    void *p;
    if (posix_memalign(&p, align, bytes ? bytes : 1))
        return NULL;
    if (align == HUGE_PAGE) /* fewer address look-ups; a refusal changes nothing */
        (void)madvise(p, bytes, MADV_HUGEPAGE);
    return memset(p, 0, bytes);
}

void device_free(void *p)
{
    free(p);
}

void device_put(void *device, const void *host, size_t bytes)
{
    memcpy(device, host, bytes);
}

void device_get(void *host, const void *device, size_t bytes)
{
    memcpy(host, device, bytes);
}

void device_copy(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

/* The gradients of a step are half a gigabyte and more: the threads share them out. */
void device_zero(void *p, size_t bytes)
{
    const size_t piece = 1 << 20;
    char *at = p;
#pragma omp parallel for schedule(static) if (bytes > 4 * piece)
    for (size_t first = 0; first < bytes; first += piece)
        memset(at + first, 0, bytes - first < piece ? bytes - first : piece);
}

void *device_workspace(size_t bytes)
{
    device_reserve(bytes);
    return workspace;
}

void device_reserve(size_t bytes)
{
    if (bytes <= workspace_bytes)
        return;
    device_free(workspace);
    workspace = device_alloc(bytes);
    workspace_bytes = bytes;
    if (!workspace) {
        fprintf(stderr, "out of memory: %zu bytes of workspace\n", bytes);
        abort();
    }
}

const char *device_sync(void)
{
    return NULL;
}

/* ---- ops are done when they return, so nothing is ahead, and nothing is worth recording ---------
 */

void device_allow_tf32(bool allowed)
{
    (void)allowed;
}

bool device_take(size_t bytes)
{
    (void)bytes;
    return true;
}

size_t device_peak_bytes(void)
{
    return 0;
}

void *device_host_alloc(size_t bytes)
{
    return device_alloc(bytes);
}

void device_host_free(void *p)
{
    device_free(p);
}

void device_send(void *device, const void *host, size_t bytes)
{
    memcpy(device, host, bytes);
}

void device_fetch(void *host, const void *device, size_t bytes)
{
    memcpy(host, device, bytes);
}

void device_upload(void *device, const void *host, size_t bytes)
{
    memcpy(device, host, bytes);
}

void device_await_uploads(void) {}

void device_uploads_follow(void) {}

bool device_replay(struct device_recording *r, uint64_t key)
{
    (void)r;
    (void)key;
    return false;
}

void device_replay_end(struct device_recording *r)
{
    (void)r;
}

void device_forget(struct device_recording *r)
{
    (void)r;
}

struct device_replay_counts device_replays(void)
{
    return (struct device_replay_counts){0};
}

static double clock_s;

void device_clock_start(void)
{
    clock_s = seconds();
}

double device_clock_ms(void)
{
    return 1e3 * (seconds() - clock_s);
}

static double marks_s[DEVICE_MARKS];

void device_mark(int i)
{
    marks_s[i] = seconds();
}

double device_marked_ms(int from, int to)
{
    return 1e3 * (marks_s[to] - marks_s[from]);
}
