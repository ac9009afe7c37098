/* parts.c -- norms and cross entropy of rows whose other columns are on other ranks. */
#include "chunk.h"
#include "device.h"
#include "kernels.h"
#include "vec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- LayerNorm ---------------------------------------------------------------------------- */

void layernorm_part_moments(float *moments, const real *x, int rows, int width)
{
    assert(rows > 0 && width > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *xr = x + (size_t)r * width;
        float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < width; c++)
            sum += xr[c];
        float mu = sum / width;
#pragma omp simd reduction(+ : squares)
        for (int c = 0; c < width; c++)
            squares += (xr[c] - mu) * (xr[c] - mu);
        moments[2 * (size_t)r] = mu;
        moments[2 * (size_t)r + 1] = squares;
    }
}

void layernorm_part_fwd(real *y, float *mean, float *inv_std, const real *x, const float *moments,
                        const float *scale, const float *bias, int rows, int width, int ranks,
                        float eps)
{
    assert(rows > 0 && width > 0 && ranks > 0 && eps > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *xr = x + (size_t)r * width;
        real *yr = y + (size_t)r * width;
        const float *of_rank = moments + 2 * (size_t)r;
        float mu = 0, squares = 0;
        for (int k = 0; k < ranks; k++)
            mu += of_rank[2 * (size_t)k * rows] / ranks;
        for (int k = 0; k < ranks; k++) {
            float off = of_rank[2 * (size_t)k * rows] - mu;
            squares += of_rank[2 * (size_t)k * rows + 1] + width * off * off;
        }
        float inv = 1 / sqrtf(squares / ((float)width * ranks) + eps);
#pragma omp simd
        for (int c = 0; c < width; c++)
            yr[c] = (xr[c] - mu) * inv * scale[c] + bias[c];
        mean[r] = mu;
        inv_std[r] = inv;
    }
}

void layernorm_part_sums(float *sums, const real *dy, const real *x, const float *mean,
                         const float *inv_std, const float *scale, int rows, int width)
{
    assert(rows > 0 && width > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
        float mu = mean[r], inv = inv_std[r], sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
        for (int c = 0; c < width; c++) {
            float u = dyr[c] * scale[c];
            sum += u;
            dot += u * ((xr[c] - mu) * inv);
        }
        sums[2 * (size_t)r] = sum;
        sums[2 * (size_t)r + 1] = dot;
    }
}

void layernorm_part_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                        const float *mean, const float *inv_std, const float *scale,
                        const float *sums, int rows, int width, int ranks)
{
    assert(rows > 0 && width > 0 && ranks > 0);
    int chunks = chunk_count(rows), size = chunk_rows(rows);
    size_t stride = 2 * (size_t)width;
    float *partial = device_workspace(sizeof *partial * chunks * stride);
    float all = (float)width * ranks;
#pragma omp parallel for schedule(static)
    for (int chunk = 0; chunk < chunks; chunk++) {
        float *ds = partial + chunk * stride, *db = ds + width;
        memset(ds, 0, sizeof *ds * stride);
        int end = (chunk + 1) * size < rows ? (chunk + 1) * size : rows;
        for (int r = chunk * size; r < end; r++) {
            const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
            real *dxr = dx + (size_t)r * width;
            float mu = mean[r], inv = inv_std[r];
            float mean_u = sums[2 * (size_t)r] / all, mean_dot = sums[2 * (size_t)r + 1] / all;
#pragma omp simd
            for (int c = 0; c < width; c++) {
                float xh = (xr[c] - mu) * inv, d = dyr[c];
                ds[c] += d * xh;
                db[c] += d;
                dxr[c] = inv * (d * scale[c] - mean_u - xh * mean_dot);
            }
        }
    }
    chunk_sum(dscale, partial, chunks, stride, width);
    chunk_sum(dbias, partial + width, chunks, stride, width);
}

/* ---- cross entropy ------------------------------------------------------------------------ */

void cross_entropy_sums(float *sums, const float *logits, const int32_t *target, int rows,
                        int vocab)
{
    assert(rows > 0 && vocab > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const float *x = logits + (size_t)r * vocab;
        float most = x[0], *to = sums + 4 * (size_t)r;
        int t = target[r], first = 0;
        for (int i = 1; i < vocab; i++)
            if (x[i] > most) {
                most = x[i];
                first = i;
            }
        double others = 0;
        for (int begin = 0; begin < vocab; begin += 512) {
            int end = begin + 512 < vocab ? begin + 512 : vocab;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int i = begin; i < end; i++)
                sum += i == t ? 0 : vec_exp(x[i] - most);
            others += sum;
        }
        to[0] = most;
        to[1] = (float)others;
        to[2] = t < 0 ? -INFINITY : x[t];
        to[3] = t == first;
    }
}

void cross_entropy_part(float *loss, float *correct, real *dlogits, const float *logits,
                        const float *sums, const int32_t *target, const float *weight, int rows,
                        int vocab, int ranks)
{
    assert(rows > 0 && vocab > 0 && ranks > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const float *x = logits + (size_t)r * vocab;
        real *dx = dlogits ? dlogits + (size_t)r * vocab : NULL;
        float w = weight[r], most = -INFINITY, at_target = -INFINITY;
        if (w == 0) {
            loss[r] = correct[r] = 0;
            if (dx)
                memset(dx, 0, sizeof *dx * vocab);
            continue;
        }
        bool first = false;
        for (int k = 0; k < ranks; k++) {
            const float *of = sums + 4 * ((size_t)k * rows + r);
            first = of[3] > 0 ? of[0] > most : first && !(of[0] > most);
            most = of[0] > most ? of[0] : most;
            at_target = of[2] > at_target ? of[2] : at_target;
        }
        float others = 0;
        for (int k = 0; k < ranks; k++) {
            const float *of = sums + 4 * ((size_t)k * rows + r);
            others += of[1] * expf(of[0] - most);
        }
        float all = others + expf(at_target - most);
        loss[r] = logf(all) + (most - at_target);
        correct[r] = first;
        if (!dx)
            continue;
        int t = target[r];
        float factor = w / all;
#pragma omp simd
        for (int i = 0; i < vocab; i++)
            dx[i] = factor * vec_exp(x[i] - most);
        if (t >= 0)
            dx[t] = -factor * others;
    }
}
