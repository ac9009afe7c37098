/* thin.h -- products of a few rows, where reading the matrix is all the work. */
#ifndef THIN_H
#define THIN_H

#include <stdbool.h>

/* From more rows on the matrix library is faster, although it copies the matrix first. */
enum { THIN_ROWS = 4 };

/* c [m][n] = a [m][k] b + beta c, for m up to THIN_ROWS; b is [k][n], or [n][k] when transposed.
   Reads b once. beta 0 (c is not read) or 1. The same bits for every number of threads. */
void thin_product(float *c, const float *a, const float *b, bool transpose_b, int m, int n, int k,
                  float beta);

#endif
