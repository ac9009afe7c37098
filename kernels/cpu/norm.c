/* norm.c -- RMSNorm and LayerNorm, both directions. */
#include "chunk.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void rmsnorm_fwd(real *y, float *inv_rms, const real *x, const float *gain, int rows, int width,
                 float eps)
{
    assert(rows > 0 && width > 0 && eps > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *xr = x + (size_t)r * width;
        real *yr = y + (size_t)r * width;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < width; c++)
            sum += xr[c] * xr[c];
        float inv = 1 / sqrtf(sum / width + eps);
#pragma omp simd
        for (int c = 0; c < width; c++)
            yr[c] = xr[c] * inv * gain[c];
        inv_rms[r] = inv;
    }
}

void rmsnorm_bwd(real *dx, float *dgain, const real *dy, const real *x, const float *inv_rms,
                 const float *gain, int rows, int width)
{
    assert(rows > 0 && width > 0);
    int chunks = chunk_count(rows), size = chunk_rows(rows);
    float *partial = device_workspace(sizeof *partial * chunks * width);
#pragma omp parallel for schedule(static)
    for (int chunk = 0; chunk < chunks; chunk++) {
        float *dg = partial + (size_t)chunk * width;
        memset(dg, 0, sizeof *dg * width);
        int end = (chunk + 1) * size < rows ? (chunk + 1) * size : rows;
        for (int r = chunk * size; r < end; r++) {
            const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
            real *dxr = dx + (size_t)r * width;
            float inv = inv_rms[r], dot = 0;
#pragma omp simd reduction(+ : dot)
            for (int c = 0; c < width; c++) {
                float t = dyr[c] * xr[c] * inv;
                dg[c] += t;
                dot += t * gain[c];
            }
            float mean = dot / width;
#pragma omp simd
            for (int c = 0; c < width; c++)
                dxr[c] += inv * (dyr[c] * gain[c] - xr[c] * inv * mean);
        }
    }
    chunk_sum(dgain, partial, chunks, width, width);
}

void layernorm_fwd(real *y, float *mean, float *inv_std, const real *x, const float *scale,
                   const float *bias, int rows, int width, float eps)
{
    assert(rows > 0 && width > 0 && eps > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *xr = x + (size_t)r * width;
        real *yr = y + (size_t)r * width;
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < width; c++)
            sum += xr[c];
        float mu = sum / width;
#pragma omp simd reduction(+ : squares)
        for (int c = 0; c < width; c++)
            squares += (xr[c] - mu) * (xr[c] - mu);
        float inv = 1 / sqrtf(squares / width + eps);
#pragma omp simd
        for (int c = 0; c < width; c++)
            yr[c] = (xr[c] - mu) * inv * scale[c] + bias[c];
        mean[r] = mu;
        inv_std[r] = inv;
    }
}

void layernorm_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                   const float *mean, const float *inv_std, const float *scale, int rows, int width)
{
    assert(rows > 0 && width > 0);
    int chunks = chunk_count(rows), size = chunk_rows(rows);
    size_t stride = 2 * (size_t)width;
    float *partial = device_workspace(sizeof *partial * chunks * stride);
#pragma omp parallel for schedule(static)
    for (int chunk = 0; chunk < chunks; chunk++) {
        float *ds = partial + chunk * stride, *db = ds + width;
        memset(ds, 0, sizeof *ds * stride);
        int end = (chunk + 1) * size < rows ? (chunk + 1) * size : rows;
        for (int r = chunk * size; r < end; r++) {
            const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
            real *dxr = dx + (size_t)r * width;
            float mu = mean[r], inv = inv_std[r], sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
            for (int c = 0; c < width; c++) {
                float xh = (xr[c] - mu) * inv, u = dyr[c] * scale[c];
                ds[c] += dyr[c] * xh;
                db[c] += dyr[c];
                sum += u;
                dot += u * xh;
            }
            float mean_u = sum / width, mean_dot = dot / width;
#pragma omp simd
            for (int c = 0; c < width; c++) {
                float xh = (xr[c] - mu) * inv;
                dxr[c] = inv * (dyr[c] * scale[c] - mean_u - xh * mean_dot);
            }
        }
    }
    chunk_sum(dscale, partial, chunks, stride, width);
    chunk_sum(dbias, partial + width, chunks, stride, width);
}
