/* conv.c -- the short causal convolution. */
#include "chunk.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <string.h>

/* Rows are numbered over the whole batch; the token within its sequence says how many rows before
   it (or, backwards, after it) belong to the same sequence. */

void conv_fwd(real *y, const real *x, const float *kernel, const float *bias, const real *residual,
              int batch, int seq, int width)
{
    assert(batch > 0 && seq > 0 && width > 0);
    int rows = batch * seq;
    const float *k0 = kernel, *k1 = k0 + width, *k2 = k1 + width, *k3 = k2 + width;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        int t = r % seq;
        size_t at = (size_t)r * width;
        const real *xr = x + at;
        real *yr = y + at;
        if (t >= CONV_WIDTH - 1) {
            const real *x0 = xr - 3 * (size_t)width, *x1 = x0 + width, *x2 = x1 + width;
#pragma omp simd
            for (int c = 0; c < width; c++) {
                float taps = k0[c] * x0[c] + k1[c] * x1[c] + k2[c] * x2[c] + k3[c] * xr[c];
                yr[c] = bias[c] + taps + (residual ? residual[at + c] : 0);
            }
        } else {
            for (int c = 0; c < width; c++) {
                float sum = bias[c] + (residual ? residual[at + c] : 0);
                for (int back = 0; back <= t; back++)
                    sum += kernel[(3 - back) * (size_t)width + c] * xr[c - back * (ptrdiff_t)width];
                yr[c] = sum;
            }
        }
    }
}

static void input_gradient(real *dx, const real *dy, const float *kernel, int left, int width,
                           bool to_add)
{
    const float *k0 = kernel, *k1 = k0 + width, *k2 = k1 + width, *k3 = k2 + width;
    const real *d1 = dy + width, *d2 = d1 + width, *d3 = d2 + width;
    if (left >= CONV_WIDTH - 1) {
#pragma omp simd
        for (int c = 0; c < width; c++) {
            float taps = k3[c] * dy[c] + k2[c] * d1[c] + k1[c] * d2[c] + k0[c] * d3[c];
            dx[c] = taps + (to_add ? dx[c] : 0);
        }
    } else {
        for (int c = 0; c < width; c++) {
            float sum = to_add ? dx[c] : 0;
            for (int ahead = 0; ahead <= left; ahead++)
                sum += kernel[(3 - ahead) * (size_t)width + c] * dy[ahead * (size_t)width + c];
            dx[c] = sum;
        }
    }
}

/* dkernel [4][width] and dbias [width], adjacent, of one row that has `before` rows before it. */
static void parameter_gradient(float *sums, const real *dy, const real *x, int before, int width)
{
    float *s0 = sums, *s1 = s0 + width, *s2 = s1 + width, *s3 = s2 + width, *sb = s3 + width;
    if (before >= CONV_WIDTH - 1) {
        const real *x0 = x - 3 * (size_t)width, *x1 = x0 + width, *x2 = x1 + width;
#pragma omp simd
        for (int c = 0; c < width; c++) {
            s0[c] += dy[c] * x0[c];
            s1[c] += dy[c] * x1[c];
            s2[c] += dy[c] * x2[c];
            s3[c] += dy[c] * x[c];
            sb[c] += dy[c];
        }
    } else {
        for (int c = 0; c < width; c++) {
            for (int back = 0; back <= before; back++)
                sums[(3 - back) * (size_t)width + c] += dy[c] * x[c - back * (ptrdiff_t)width];
            sb[c] += dy[c];
        }
    }
}

void conv_bwd(real *dx, float *dkernel, float *dbias, const real *dy, const real *x,
              const float *kernel, bool add, int batch, int seq, int width)
{
    assert(batch > 0 && seq > 0 && width > 0);
    int rows = batch * seq, chunks = chunk_count(rows), size = chunk_rows(rows);
    size_t stride = (CONV_WIDTH + 1) * (size_t)width;
    float *partial = device_workspace(sizeof *partial * chunks * stride);
#pragma omp parallel for schedule(static)
    for (int chunk = 0; chunk < chunks; chunk++) {
        float *sums = partial + chunk * stride;
        memset(sums, 0, sizeof *sums * stride);
        int end = (chunk + 1) * size < rows ? (chunk + 1) * size : rows;
        for (int r = chunk * size; r < end; r++) {
            int t = r % seq;
            size_t at = (size_t)r * width;
            input_gradient(dx + at, dy + at, kernel, seq - 1 - t, width, add);
            parameter_gradient(sums, dy + at, x + at, t, width);
        }
    }
    chunk_sum(dkernel, partial, chunks, stride, CONV_WIDTH * width);
    chunk_sum(dbias, partial + CONV_WIDTH * (size_t)width, chunks, stride, width);
}

void conv_step(real *y, real *history, const real *x, const float *kernel, const float *bias,
               const real *residual, const int32_t *position, int batch, int width)
{
    assert(batch > 0 && width > 0);
    const float *k0 = kernel, *k1 = k0 + width, *k2 = k1 + width, *k3 = k2 + width;
#pragma omp parallel for schedule(static)
    for (int b = 0; b < batch; b++) {
        if (position[b] < 0)
            continue;
        size_t at = (size_t)b * width;
        real *h0 = history + 3 * at, *h1 = h0 + width, *h2 = h1 + width;
        for (int c = 0; c < width; c++) {
            float now = x[at + c];
            float taps = k0[c] * h0[c] + k1[c] * h1[c] + k2[c] * h2[c] + k3[c] * now;
            y[at + c] = bias[c] + taps + (residual ? residual[at + c] : 0);
            h0[c] = h1[c];
            h1[c] = h2[c];
            h2[c] = now;
        }
    }
}
