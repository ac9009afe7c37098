/* matmul.c -- matrix products: by the matrix library, and of a few rows by our own. */
#include "blas.h"
#include "kernels.h"
#include "thin.h"

#include <assert.h>

void matmul_f32(float *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
                float beta)
{
    assert(m > 0 && n > 0 && k > 0 && (beta == 0 || beta == 1));
    if (m <= THIN_ROWS && t != TN)
        thin_product(c, a, b, t == NT, m, n, k, beta);
    else
        blas_sgemm(c, a, t == TN, b, t == NT, m, n, k, beta);
}

void matmul(real *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
            float beta)
{
    matmul_f32(c, a, b, t, m, n, k, beta);
}
