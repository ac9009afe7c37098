// cublas.cc -- the matrix product: operands widened to float, accumulated in float.
#include "cublas_v2.h"
#include "cuda_bf16.h"

#include <vector>

static float value(const void *p, cudaDataType type, size_t i)
{
    if (type == CUDA_R_32F)
        return ((const float *)p)[i];
    return __uint_as_float((unsigned)((const unsigned short *)p)[i] << 16);
}

// To 10 bits behind the point, ties to even.
static float tf32_rounded(float x)
{
    unsigned u = __float_as_uint(x);
    return __uint_as_float((u + 0xfff + (u >> 13 & 1)) & ~0x1fffu);
}

// op(a), rows x cols, as floats by columns.
static std::vector<float> columns(const void *a, cudaDataType type, cublasOperation_t op, int rows,
                                  int cols, int lda, bool tf32)
{
    std::vector<float> to((size_t)rows * cols);
    for (int c = 0; c < cols; c++)
        for (int r = 0; r < rows; r++)
            to[(size_t)c * rows + r] =
                value(a, type, op == CUBLAS_OP_N ? (size_t)c * lda + r : (size_t)r * lda + c);
    for (float &x : to)
        x = tf32 ? tf32_rounded(x) : x;
    return to;
}

struct cublasContext {
    cudaStream_t stream;
};

cublasStatus_t cublasCreate(cublasHandle_t *handle)
{
    *handle = new cublasContext();
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetAtomicsMode(cublasHandle_t, cublasAtomicsMode_t)
{
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGetVersion(cublasHandle_t, int *version)
{
    *version = 0;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "no error" : "invalid value";
}

// c = scale op(a) op(b) + keep c, of columns.
static void product(cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                    float scale, const void *a, cudaDataType a_type, int lda, const void *b,
                    int ldb, float keep, void *c, cudaDataType c_type, int ldc, bool tf32)
{
    const std::vector<float> at = columns(a, a_type, op_a, m, k, lda, tf32);
    const std::vector<float> bt = columns(b, a_type, op_b, k, n, ldb, tf32);
    std::vector<float> sum((size_t)m);
    for (int col = 0; col < n; col++) {
        sum.assign((size_t)m, 0.0f);
        for (int i = 0; i < k; i++) {
            const float factor = bt[(size_t)col * k + i], *from = &at[(size_t)i * m];
            for (int r = 0; r < m; r++)
                sum[(size_t)r] += factor * from[r];
        }
        for (int r = 0; r < m; r++) {
            size_t at_c = (size_t)col * ldc + r;
            float result = scale * sum[(size_t)r];
            if (keep != 0)
                result += keep * value(c, c_type, at_c);
            if (c_type == CUDA_R_32F)
                ((float *)c)[at_c] = result;
            else
                ((unsigned short *)c)[at_c] = __bfloat16_as_ushort(__float2bfloat16_rn(result));
        }
    }
}

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
                            int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t)
{
    if (m < 0 || n < 0 || k < 0 || a_type != b_type || lda < (op_a == CUBLAS_OP_N ? m : k) ||
        ldb < (op_b == CUBLAS_OP_N ? k : n) || ldc < m)
        return CUBLAS_STATUS_INVALID_VALUE;
    const float scale = *(const float *)alpha, keep = *(const float *)beta;
    const bool tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    emulated::queue(handle->stream, (const void *)cublasGemmEx, [=] {
        product(op_a, op_b, m, n, k, scale, a, a_type, lda, b, ldb, keep, c, c_type, ldc, tf32);
    });
    return CUBLAS_STATUS_SUCCESS;
}
