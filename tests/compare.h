/* compare.h -- arrays put on the device for one case, and how far results are from the truth.

   Inputs and truths are host arrays of float or double; the device stores activations as `real`,
   everything else as float. What a case puts on the device is freed by lot_free(). */
#ifndef COMPARE_H
#define COMPARE_H

#include "check.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory of a case ---------------------------------------------------------------------- */

enum { LOT_MAX = 256 };
static void *lot_device[LOT_MAX], *lot_host[LOT_MAX];
static int lot_devices, lot_hosts;

static inline void *lot_alloc(size_t bytes)
{
    void *p = device_alloc(bytes);
    assert(p && lot_devices < LOT_MAX);
    return lot_device[lot_devices++] = p;
}

static inline void *lot_malloc(size_t bytes)
{
    void *p = calloc(1, bytes ? bytes : 1);
    assert(p && lot_hosts < LOT_MAX);
    return lot_host[lot_hosts++] = p;
}

static inline void lot_free(void)
{
    while (lot_devices)
        device_free(lot_device[--lot_devices]);
    while (lot_hosts)
        free(lot_host[--lot_hosts]);
}

/* ---- to the device and back ---------------------------------------------------------------- */

static inline float *put_floats(const float *x, size_t count)
{
    float *d = lot_alloc(sizeof *d * count);
    device_put(d, x, sizeof *d * count);
    return d;
}

static inline real *put_reals(const float *x, size_t count)
{
    real *d = lot_alloc(sizeof *d * count);
    real_from_float(d, put_floats(x, count), count);
    return d;
}

static inline int32_t *put_ints(const int32_t *x, size_t count)
{
    int32_t *d = lot_alloc(sizeof *d * count);
    device_put(d, x, sizeof *d * count);
    return d;
}

static inline float *get_floats(const float *d, size_t count)
{
    float *x = lot_malloc(sizeof *x * count);
    device_get(x, d, sizeof *x * count);
    return x;
}

static inline float *get_reals(const real *d, size_t count)
{
    float *staged = lot_alloc(sizeof *staged * count);
    float_from_real(staged, d, count);
    return get_floats(staged, count);
}

/* ---- how far ------------------------------------------------------------------------------- */

/* The largest relative L2 distance an operation may have. Inputs are exact in fp32; in bf16 inputs
   and outputs are rounded to 8 bits. */
static inline double tolerance(void)
{
    if (strcmp(REAL_NAME, "fp32") != 0)
        return 2e-2;
    return strcmp(device_kind(), "cuda") == 0 ? 5e-6 : 3e-6;
}

/* The worst of the case so far, and where. */
static double worst_error;
static char worst_name[64];

static inline void worst_begin(void)
{
    worst_error = 0;
    snprintf(worst_name, sizeof worst_name, "-");
}

/* For case_end. */
static inline const char *worst_note(void)
{
    static char note[128];
    snprintf(note, sizeof note, "%.1e %s", worst_error, worst_name);
    return note;
}

static inline void worst_take(const char *name, double error, double limit)
{
    if (!(error <= worst_error)) {
        worst_error = error;
        snprintf(worst_name, sizeof worst_name, "%s", name);
    }
    if (!(error <= limit)) {
        fprintf(stderr, "%s: %s is off by %.3g, allowed %.3g\n", check_case, name, error, limit);
        CHECK(!"within tolerance");
    }
}

/* |got - want| / |want|; the plain distance where want is all zero. NaN when either holds one. */
static inline double relative_l2(const float *got, const double *want, size_t count)
{
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)got[i] - want[i];
        difference += d * d;
        size += want[i] * want[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference + size);
}

static inline void near_host(const char *name, const float *got, const double *want, size_t count)
{
    worst_take(name, relative_l2(got, want, count), tolerance());
}

static inline void near_floats(const char *name, const float *device, const double *want,
                               size_t count)
{
    near_host(name, get_floats(device, count), want, count);
}

static inline void near_reals(const char *name, const real *device, const double *want,
                              size_t count)
{
    near_host(name, get_reals(device, count), want, count);
}

static inline double *doubles(const float *x, size_t count)
{
    double *d = lot_malloc(sizeof *d * count);
    for (size_t i = 0; i < count; i++)
        d[i] = x[i];
    return d;
}

#endif
