/* blas.c -- choose and load the matrix library.

   It is loaded by name instead of linked, for two reasons: OpenBLAS reads its settings while it is
   loaded, so they have to be in the environment before; and a program can run with whichever
   library a machine has. */
#include "blas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of the CBLAS interface that is used; its enums are fixed by the standard interface. */
enum { ROW_MAJOR = 101, NO_TRANSPOSE = 111, TRANSPOSE = 112 };
typedef void sgemm_call(int order, int transpose_a, int transpose_b, int m, int n, int k,
                        float alpha, const float *a, int lda, const float *b, int ldb, float beta,
                        float *c, int ldc);

static sgemm_call *sgemm;
static char description[256];

/* In order of speed here: at the products of a 125m model OpenBLAS reached 145 GFLOP/s a thread,
   BLIS 80. The last is the plain reference library: slow, but correct. */
static const char *const candidates[] = {
    "libopenblas.so.0", "libopenblas.so", "libblis.so.4", "libblis.so", "libblas.so.3",
};

/* Core types of OpenBLAS that know no AVX2. */
static const char *const old_cores[] = {
    "Prescott",    "Core2",  "Penryn", "Dunnington", "Nehalem",
    "Sandybridge", "Atom",   "Athlon", "Opteron",    "Opteron_SSE3",
    "Barcelona",   "Bobcat", "Nano",   "Katmai",     "Generic",
};

static bool has_avx2(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

static bool has_avx512(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
    return false;
#endif
}

/* Only what the user has not set. Releases older than the processor do not recognise it and fall
   back to SSE3 kernels, at a fifth of the speed: name the core type by what the processor can do.
 */
static void settings(int threads)
{
    char count[16];
    snprintf(count, sizeof count, "%d", threads);
    setenv("OPENBLAS_NUM_THREADS", count, 0);
    /* Idle threads spin for 2^n cycles: sleep soon, the processor may be shared. */
    setenv("OPENBLAS_THREAD_TIMEOUT", "10", 0);
    if (has_avx512())
        setenv("OPENBLAS_CORETYPE", "SKYLAKEX", 0);
    else if (has_avx2())
        setenv("OPENBLAS_CORETYPE", "HASWELL", 0);
}

static bool is_old(const char *core)
{
    for (size_t i = 0; i < sizeof old_cores / sizeof *old_cores; i++)
        if (strcasecmp(core, old_cores[i]) == 0)
            return true;
    return false;
}

/* A function of the library, or NULL. ISO C has no conversion from object to function pointers;
   POSIX promises that the bits are the same. */
typedef void any_call(void);
static any_call *look_up(void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    any_call *call;
    memcpy(&call, &symbol, sizeof call);
    return call;
}

static void set_threads(void *library, int threads)
{
    static const char *const names[] = {"openblas_set_num_threads", "bli_thread_set_num_threads",
                                        "MKL_Set_Num_Threads"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        any_call *set = look_up(library, names[i]);
        if (set && i == 1)
            ((void (*)(long))set)(threads); /* BLIS counts in its own integer, 64 bits wide */
        else if (set)
            ((void (*)(int))set)(threads);
    }
}

/* Whether the library is one to use; `forced` takes a slow one too. */
static bool try(const char *name, int threads, bool forced)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    any_call *call = look_up(library, "cblas_sgemm");
    any_call *corename = look_up(library, "openblas_get_corename");
    any_call *config = look_up(library, "openblas_get_config");
    const char *core = corename ? ((char *(*)(void))corename)() : "";
    bool slow = has_avx2() && is_old(core);
    if (!call || (slow && !forced)) {
        dlclose(library);
        return false;
    }
    set_threads(library, threads);
    sgemm = (sgemm_call *)call;
    if (config) /* begins with name and version: "OpenBLAS 0.3.21 NO_LAPACKE ..." */
        snprintf(description, sizeof description, "%.*s %s%s", 15, ((char *(*)(void))config)(),
                 core,
                 slow ? " (too old a core type for this processor: set OPENBLAS_CORETYPE)" : "");
    else
        snprintf(description, sizeof description, "%s", name);
    return true;
}

const char *blas_open(int threads)
{
    static char message[256];
    settings(threads);
    const char *wanted = getenv("TTT_BLAS");
    if (wanted && *wanted) {
        if (try(wanted, threads, true))
            return NULL;
        const char *error = dlerror();
        snprintf(message, sizeof message, "TTT_BLAS=%s: %s", wanted,
                 error ? error : "the library has no cblas_sgemm");
        return message;
    }
    for (int forced = 0; forced < 2; forced++)
        for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
            if (try(candidates[i], threads, forced))
                return NULL;
    return "no BLAS library was found: install OpenBLAS (Debian: libopenblas0), "
           "or give the path of another in TTT_BLAS";
}

const char *blas_describe(void)
{
    return description;
}

void blas_sgemm(float *c, const float *a, bool transpose_a, const float *b, bool transpose_b, int m,
                int n, int k, float beta)
{
    sgemm(ROW_MAJOR, transpose_a ? TRANSPOSE : NO_TRANSPOSE, transpose_b ? TRANSPOSE : NO_TRANSPOSE,
          m, n, k, 1, a, transpose_a ? m : k, b, transpose_b ? k : n, beta, c, n);
}
