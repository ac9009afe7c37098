// cuda/parts.cu -- norms and cross entropy of rows whose other columns are on other ranks: a block
// per row.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

// ---- LayerNorm ----------------------------------------------------------------------------------

static __global__ void __launch_bounds__(ROW_THREADS)
    part_moments_row(float *moments, const real *x, int width)
{
    const real *xr = x + (size_t)blockIdx.x * width;
    float sum = 0, squares = 0;
    for (int c = threadIdx.x; c < width; c += blockDim.x)
        sum += to_float(xr[c]);
    float mu = block_sum(sum) / width;
    for (int c = threadIdx.x; c < width; c += blockDim.x)
        squares += (to_float(xr[c]) - mu) * (to_float(xr[c]) - mu);
    squares = block_sum(squares);
    if (threadIdx.x == 0) {
        moments[2 * (size_t)blockIdx.x] = mu;
        moments[2 * (size_t)blockIdx.x + 1] = squares;
    }
}

void layernorm_part_moments(float *moments, const real *x, int rows, int width)
{
    assert(rows > 0 && width > 0);
    LAUNCH(part_moments_row, (unsigned)rows, row_threads(4 * (size_t)width), 0, device_stream,
           moments, x, width);
}

static __global__ void __launch_bounds__(ROW_THREADS)
    part_fwd_row(real *y, float *mean, float *inv_std, const real *x, const float *moments,
                 const float *scale, const float *bias, int width, int ranks, float eps)
{
    size_t r = blockIdx.x, rows = gridDim.x;
    const real *xr = x + r * width;
    real *yr = y + r * width;
    float mu = 0, squares = 0;
    for (int k = 0; k < ranks; k++)
        mu += moments[2 * (k * rows + r)] / ranks;
    for (int k = 0; k < ranks; k++) {
        float off = moments[2 * (k * rows + r)] - mu;
        squares += moments[2 * (k * rows + r) + 1] + width * off * off;
    }
    float inv = 1 / sqrtf(squares / ((float)width * ranks) + eps);
    for (int c = threadIdx.x; c < width; c += blockDim.x)
        yr[c] = to_real((to_float(xr[c]) - mu) * inv * scale[c] + bias[c]);
    if (threadIdx.x == 0) {
        mean[r] = mu;
        inv_std[r] = inv;
    }
}

void layernorm_part_fwd(real *y, float *mean, float *inv_std, const real *x, const float *moments,
                        const float *scale, const float *bias, int rows, int width, int ranks,
                        float eps)
{
    assert(rows > 0 && width > 0 && ranks > 0 && eps > 0);
    LAUNCH(part_fwd_row, (unsigned)rows, row_threads(4 * (size_t)width), 0, device_stream, y, mean,
           inv_std, x, moments, scale, bias, width, ranks, eps);
}

static __global__ void __launch_bounds__(ROW_THREADS)
    part_sums_row(float *sums, const real *dy, const real *x, const float *mean,
                  const float *inv_std, const float *scale, int width)
{
    size_t r = blockIdx.x;
    const real *xr = x + r * width, *dyr = dy + r * width;
    float mu = mean[r], inv = inv_std[r], sum = 0, dot = 0;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float u = to_float(dyr[c]) * scale[c];
        sum += u;
        dot += u * ((to_float(xr[c]) - mu) * inv);
    }
    sum = block_sum(sum);
    dot = block_sum(dot);
    if (threadIdx.x == 0) {
        sums[2 * r] = sum;
        sums[2 * r + 1] = dot;
    }
}

void layernorm_part_sums(float *sums, const real *dy, const real *x, const float *mean,
                         const float *inv_std, const float *scale, int rows, int width)
{
    assert(rows > 0 && width > 0);
    LAUNCH(part_sums_row, (unsigned)rows, row_threads(4 * (size_t)width), 0, device_stream, sums,
           dy, x, mean, inv_std, scale, width);
}

// A block takes a run of rows; a thread owns its columns. partial [gridDim.x][2][width]
static __global__ void __launch_bounds__(ROW_THREADS)
    part_bwd_rows(real *dx, float *partial, const real *dy, const real *x, const float *mean,
                  const float *inv_std, const float *scale, const float *sums, int rows, int width,
                  float all)
{
    float *dscale = partial + (size_t)blockIdx.x * 2 * width, *dbias = dscale + width;
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float to_scale = 0, to_bias = 0;
        for (size_t r = blockIdx.x; r < (size_t)rows; r += gridDim.x) {
            float d = to_float(dy[r * width + c]), inv = inv_std[r];
            float xh = (to_float(x[r * width + c]) - mean[r]) * inv;
            to_scale += d * xh;
            to_bias += d;
            dx[r * width + c] =
                to_real(inv * (d * scale[c] - sums[2 * r] / all - xh * (sums[2 * r + 1] / all)));
        }
        dscale[c] = to_scale;
        dbias[c] = to_bias;
    }
}

void layernorm_part_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                        const float *mean, const float *inv_std, const float *scale,
                        const float *sums, int rows, int width, int ranks)
{
    assert(rows > 0 && width > 0 && ranks > 0);
    int parts = parts_for(rows);
    float *partial = (float *)device_workspace(2 * sizeof(float) * width * parts);
    LAUNCH(part_bwd_rows, parts, row_threads(4 * (size_t)width), 0, device_stream, dx, partial, dy,
           x, mean, inv_std, scale, sums, rows, width, (float)width * ranks);
    add_parts(dscale, partial, parts, 2 * (size_t)width, width);
    add_parts(dbias, partial + width, parts, 2 * (size_t)width, width);
}

// ---- cross entropy ------------------------------------------------------------------------------

// The greatest of the block's values and the first of its places, to every thread.
static __device__ void block_greatest(float &most, int &place)
{
    SHARED(float, values, [32]);
    SHARED(int, places, [32]);
    for (int step = 16; step; step /= 2) {
        float v = __shfl_xor_sync(~0u, most, step);
        int p = __shfl_xor_sync(~0u, place, step);
        if (v > most || (v == most && p < place)) {
            most = v;
            place = p;
        }
    }
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = most;
        places[threadIdx.x / 32] = place;
    }
    __syncthreads();
    for (int w = 0; w < (int)blockDim.x / 32; w++)
        if (values[w] > most || (values[w] == most && places[w] < place)) {
            most = values[w];
            place = places[w];
        }
}

static __global__ void __launch_bounds__(ROW_THREADS)
    entropy_sums_row(float *sums, const float *logits, const int32_t *target, int vocab)
{
    size_t r = blockIdx.x;
    const float *x = logits + r * vocab;
    int t = target[r], place = vocab;
    float most = -INFINITY, others = 0;
    for (int v = threadIdx.x; v < vocab; v += blockDim.x)
        if (x[v] > most) {
            most = x[v];
            place = v;
        }
    block_greatest(most, place);
    for (int v = threadIdx.x; v < vocab; v += blockDim.x)
        others += v == t ? 0 : expf(x[v] - most);
    others = block_sum(others);
    if (threadIdx.x == 0) {
        sums[4 * r] = most;
        sums[4 * r + 1] = others;
        sums[4 * r + 2] = t < 0 ? -INFINITY : x[t];
        sums[4 * r + 3] = t == place;
    }
}

void cross_entropy_sums(float *sums, const float *logits, const int32_t *target, int rows,
                        int vocab)
{
    assert(rows > 0 && vocab > 0);
    LAUNCH(entropy_sums_row, (unsigned)rows, ROW_THREADS, 0, device_stream, sums, logits, target,
           vocab);
}

static __global__ void __launch_bounds__(ROW_THREADS)
    entropy_part_row(float *loss, float *correct, real *dlogits, const float *logits,
                     const float *sums, const int32_t *target, const float *weight, int vocab,
                     int ranks)
{
    size_t r = blockIdx.x, rows = gridDim.x;
    const float *x = logits + r * vocab;
    real *dx = dlogits ? dlogits + r * vocab : NULL;
    float w = weight[r], most = -INFINITY, at_target = -INFINITY, others = 0;
    bool first = false;
    for (int k = 0; k < ranks; k++) {
        const float *of = sums + 4 * (k * rows + r);
        first = of[3] > 0 ? of[0] > most : first && !(of[0] > most);
        most = fmaxf(most, of[0]);
        at_target = fmaxf(at_target, of[2]);
    }
    for (int k = 0; k < ranks; k++) {
        const float *of = sums + 4 * (k * rows + r);
        others += of[1] * expf(of[0] - most);
    }
    float all = others + expf(at_target - most);
    if (threadIdx.x == 0) {
        loss[r] = w == 0 ? 0 : logf(all) + (most - at_target);
        correct[r] = w == 0 ? 0 : first;
    }
    int t = target[r];
    float factor = w / all;
    for (int v = threadIdx.x; dx && v < vocab; v += blockDim.x)
        dx[v] = to_real(w == 0 ? 0 : v == t ? -factor * others : factor * expf(x[v] - most));
}

void cross_entropy_part(float *loss, float *correct, real *dlogits, const float *logits,
                        const float *sums, const int32_t *target, const float *weight, int rows,
                        int vocab, int ranks)
{
    assert(rows > 0 && vocab > 0 && ranks > 0);
    LAUNCH(entropy_part_row, (unsigned)rows, ROW_THREADS, 0, device_stream, loss, correct, dlogits,
           logits, sums, target, weight, vocab, ranks);
}
