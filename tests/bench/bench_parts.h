/* bench_parts.h -- what the parts of bench_device share: shapes, random arrays, the clock. */
#ifndef BENCH_PARTS_H
#define BENCH_PARTS_H

#include "device.h"
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>

struct bench {
    bool tiny;
    int batch, seq;
    double wanted_ms; /* run at least so long altogether, */
    int runs_most;    /* but not more often */
    double peak;      /* FLOP/s of the matrix library at our shapes, its best; 0: not measured */
    double bandwidth; /* bytes/s of a copy, read and written; 0: not measured */
};
extern struct bench bench;

void bench_peak(void);
void bench_memory(void);
void bench_ops(void);
void bench_train(void);
void bench_decode(void);

/* Random numbers in -1..1 times `spread` on the device. Memory that is not there ends the program
   with a sentence. */
real *bench_reals(size_t count, float spread);
float *bench_floats(size_t count, float spread);
int32_t *bench_ids(size_t count, int below);
void *bench_alloc(size_t bytes);
void bench_free(void *p);
void bench_free_all(void);

/* Median milliseconds of run(arg), after two that warm up. */
double bench_ms(void (*run)(void *), void *arg);

/* The same ids everywhere, below `below`, on the host. */
int32_t bench_id(uint64_t i, int below);

#endif
