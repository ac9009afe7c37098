/* blas.h -- the matrix library: which one, and its one call. */
#ifndef BLAS_H
#define BLAS_H

#include <stdbool.h>

/* Find and load a library, to compute with one thread. The choice depends on what is installed, on
   the processor and on TTT_BLAS (a file name or path), never on a measurement, so that a run
   resumed on the same machine gets the same bits. Returns NULL, or one sentence saying why not. */
const char *blas_open(void);

/* "OpenBLAS 0.3.21 SkylakeX": library, version where it tells, core type where it tells; says so
   when the core type is one that leaves most of the processor unused. */
const char *blas_describe(void);

/* c = op(a) op(b) + beta c: row-major, packed; op transposes where told. c is [m][n], op(a) is
   [m][k], op(b) is [k][n]. OpenMP's threads share the product by blocks that depend on m, n and
   their number alone. */
void blas_sgemm(float *c, const float *a, bool transpose_a, const float *b, bool transpose_b, int m,
                int n, int k, float beta);

#endif
