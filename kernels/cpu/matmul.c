/* matmul.c -- matrix products, by the matrix library. */
#include "blas.h"
#include "kernels.h"

#include <assert.h>

void matmul_f32(float *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
                float beta)
{
    assert(m > 0 && n > 0 && k > 0 && (beta == 0 || beta == 1));
    blas_sgemm(c, a, t == TN, b, t == NT, m, n, k, beta);
}

void matmul(real *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
            float beta)
{
    matmul_f32(c, a, b, t, m, n, k, beta);
}
