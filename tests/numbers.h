/* numbers.h -- the same random numbers on every machine, on the device and beside it. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include "compare.h"

static uint64_t numbers_state = 1;

/* Even in -1..1 (splitmix64). */
static inline float number(void)
{
    uint64_t z = numbers_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (float)((double)((z ^ (z >> 31)) >> 11) * 0x1p-52 - 1);
}

/* Random numbers on the device; *host, unless host is NULL, is what the device really holds. */
static inline float *random_floats(const float **host, size_t count, float centre, float spread)
{
    float *x = lot_malloc(sizeof *x * count);
    for (size_t i = 0; i < count; i++)
        x[i] = centre + spread * number();
    if (host)
        *host = x;
    return put_floats(x, count);
}

static inline real *random_reals(const float **host, size_t count)
{
    float *x = lot_malloc(sizeof *x * count);
    for (size_t i = 0; i < count; i++)
        x[i] = number();
    real *device = put_reals(x, count);
    if (host)
        *host = get_reals(device, count);
    return device;
}

static inline int32_t *random_ids(const int32_t **host, size_t count, int below)
{
    int32_t *x = lot_malloc(sizeof *x * count);
    for (size_t i = 0; i < count; i++)
        x[i] = (int32_t)((number() + 1) / 2 * (float)below) % below;
    if (host)
        *host = x;
    return put_ints(x, count);
}

/* Another array on the device with the same contents. */
static inline void *copy_of(const void *device, size_t bytes)
{
    void *to = lot_alloc(bytes);
    device_copy(to, device, bytes);
    return to;
}

/* Whether two arrays on the device hold the same bits. */
static inline bool same_bits(const void *a, const void *b, size_t bytes)
{
    void *x = lot_malloc(bytes), *y = lot_malloc(bytes);
    device_get(x, a, bytes);
    device_get(y, b, bytes);
    return memcmp(x, y, bytes) == 0;
}

#endif
