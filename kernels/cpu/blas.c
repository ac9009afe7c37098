/* blas.c -- choose and load the matrix library.

   It is loaded by name instead of linked, for two reasons: OpenBLAS reads its settings while it is
   loaded, so they have to be in the environment before; and a program can run with whichever
   library a machine has.

   The library computes with one thread, and OpenMP's threads each call it for a block of the
   product. With a pool of its own besides OpenMP's, either's idle threads stood in the way of the
   other's: a small model on two threads spent more time in sched_yield than in products. */
#include "blas.h"

#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <stdint.h>
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

/* The core type only where the user has not set it. Releases older than the processor do not
   recognise it and fall back to SSE3 kernels, at a fifth of the speed: name the core type by what
   the processor can do.
 */
static void settings(void)
{
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
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

static void use_one_thread(void *library)
{
    static const char *const names[] = {"openblas_set_num_threads", "bli_thread_set_num_threads",
                                        "MKL_Set_Num_Threads"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        any_call *set = look_up(library, names[i]);
        if (set && i == 1)
            ((void (*)(long))set)(1); /* BLIS counts in its own integer, 64 bits wide */
        else if (set)
            ((void (*)(int))set)(1);
    }
}

/* Whether the library is one to use; `forced` takes a slow one too. */
static bool try(const char *name, bool forced)
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
    use_one_thread(library);
    sgemm = (sgemm_call *)call;
    if (config) /* begins with name and version: "OpenBLAS 0.3.21 NO_LAPACKE ..." */
        snprintf(description, sizeof description, "%.*s %s%s", 15, ((char *(*)(void))config)(),
                 core,
                 slow ? " (too old a core type for this processor: set OPENBLAS_CORETYPE)" : "");
    else
        snprintf(description, sizeof description, "%s", name);
    return true;
}

const char *blas_open(void)
{
    static char message[256];
    settings();
    const char *wanted = getenv("TTT_BLAS");
    if (wanted && *wanted) {
        if (try(wanted, true))
            return NULL;
        const char *error = dlerror();
        snprintf(message, sizeof message, "TTT_BLAS=%s: %s", wanted,
                 error ? error : "the library has no cblas_sgemm");
        return message;
    }
    for (int forced = 0; forced < 2; forced++)
        for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
            if (try(candidates[i], forced))
                return NULL;
    return "no BLAS library was found: install OpenBLAS (Debian: libopenblas0), "
           "or give the path of another in TTT_BLAS";
}

const char *blas_describe(void)
{
    return description;
}

/* One block: rows and columns of the product, from and up to. */
struct block {
    int row, row_end, column, column_end;
};

static void block_product(float *c, const float *a, bool transpose_a, const float *b,
                          bool transpose_b, int m, int n, int k, float beta, struct block at)
{
    size_t row = (size_t)at.row, column = (size_t)at.column;
    if (at.row_end > at.row && at.column_end > at.column)
        sgemm(ROW_MAJOR, transpose_a ? TRANSPOSE : NO_TRANSPOSE,
              transpose_b ? TRANSPOSE : NO_TRANSPOSE, at.row_end - at.row,
              at.column_end - at.column, k, 1, a + (transpose_a ? row : row * (size_t)k),
              transpose_a ? m : k, b + (transpose_b ? column * (size_t)k : column),
              transpose_b ? k : n, beta, c + row * (size_t)n + column, n);
}

/* Parts of the rows and of the columns that make `threads` blocks whose sides are short. */
static void choose_grid(int threads, int m, int n, int *row_parts, int *column_parts)
{
    double best = INFINITY;
    for (int rows = 1; rows <= threads; rows++) {
        double sides = (double)m / rows + (double)n / (threads / rows);
        if (threads % rows == 0 && sides < best) {
            best = sides;
            *row_parts = rows;
            *column_parts = threads / rows;
        }
    }
}

/* Begin of part i of `parts`, on a multiple of the library's tiles. */
static int begin_of(int i, int parts, int extent)
{
    enum { TILE = 16 };
    int tiles = (extent + TILE - 1) / TILE;
    int at = (int)((int64_t)tiles * i / parts) * TILE;
    return at < extent ? at : extent;
}

void blas_sgemm(float *c, const float *a, bool transpose_a, const float *b, bool transpose_b, int m,
                int n, int k, float beta)
{
    /* Below this a thread is sooner done alone than another is woken. */
    const double SMALL = 1 << 21;
    int threads = omp_get_max_threads(), row_parts = 1, column_parts = 1;
    if (threads == 1 || (double)m * n * k < SMALL) {
        block_product(c, a, transpose_a, b, transpose_b, m, n, k, beta, (struct block){0, m, 0, n});
        return;
    }
    choose_grid(threads, m, n, &row_parts, &column_parts);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < threads; i++) {
        int row = i / column_parts, column = i % column_parts;
        struct block at = {
            .row = begin_of(row, row_parts, m),
            .row_end = begin_of(row + 1, row_parts, m),
            .column = begin_of(column, column_parts, n),
            .column_end = begin_of(column + 1, column_parts, n),
        };
        block_product(c, a, transpose_a, b, transpose_b, m, n, k, beta, at);
    }
}
