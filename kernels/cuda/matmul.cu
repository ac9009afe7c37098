// cuda/matmul.cu -- matrix products by cuBLAS. It is column-major: a row-major product is the
// product of the transposes, so the operands change places.
#include "kernels.h"

#include "device.cuh"

#include <assert.h>

#ifdef TTT_BF16
static const cudaDataType REAL_TYPE = CUDA_R_16BF;

static cublasComputeType_t compute()
{
    return CUBLAS_COMPUTE_32F;
}
#else
static const cudaDataType REAL_TYPE = CUDA_R_32F;

static cublasComputeType_t compute()
{
    return device_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F_PEDANTIC;
}
#endif

static void product(void *c, cudaDataType c_type, const real *a, const real *b, enum transpose t,
                    int m, int n, int k, float beta)
{
    assert(m > 0 && n > 0 && k > 0 && (beta == 0 || beta == 1));
    const float one = 1;
    cublasOperation_t op_a = t == TN ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t op_b = t == NT ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t s = cublasGemmEx(device_blas, op_b, op_a, n, m, k, &one, b, REAL_TYPE,
                                    t == NT ? k : n, a, REAL_TYPE, t == TN ? m : k, &beta, c,
                                    c_type, n, compute(), CUBLAS_GEMM_DEFAULT);
    if (s)
        device_fail("matmul", cublasGetStatusString(s));
}

void matmul(real *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
            float beta)
{
    product(c, REAL_TYPE, a, b, t, m, n, k, beta);
}

void matmul_f32(float *c, const real *a, const real *b, enum transpose t, int m, int n, int k,
                float beta)
{
    product(c, CUDA_R_32F, a, b, t, m, n, k, beta);
}
