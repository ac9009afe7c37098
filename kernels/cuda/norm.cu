// cuda/norm.cu -- normalise rows: a block per row; the gradients of gains by runs of rows.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

// ---- RMSNorm
// --------------------------------------------------------------------------------------

template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    rmsnorm_fwd_row(real *y, float *inv_rms, const real *x, const float *gain, int width, float eps)
{
    const real *xr = x + (size_t)blockIdx.x * width;
    real *yr = y + (size_t)blockIdx.x * width;
    float sum = 0;
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
        pack<N> a = load<N>(xr + c);
        for (int j = 0; j < N; j++)
            sum += a.v[j] * a.v[j];
    }
    float inv = 1 / sqrtf(block_sum(sum) / width + eps);
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
        pack<N> a = load<N>(xr + c), g = load<N>(gain + c);
        for (int j = 0; j < N; j++)
            a.v[j] *= inv * g.v[j];
        store(yr + c, a);
    }
    if (threadIdx.x == 0)
        inv_rms[blockIdx.x] = inv;
}

void rmsnorm_fwd(real *y, float *inv_rms, const real *x, const float *gain, int rows, int width,
                 float eps)
{
    assert(rows > 0 && width > 0 && eps > 0);
    auto rmsnorm_fwd_kernel = in_fours(width, y, x, gain) ? rmsnorm_fwd_row<4> : rmsnorm_fwd_row<1>;
    LAUNCH(rmsnorm_fwd_kernel, (unsigned)rows, row_threads(width), 0, device_stream, y, inv_rms, x,
           gain, width, eps);
}

// A block takes a run of rows; each thread keeps the sums of its columns in shared memory.
// partial [gridDim.x][width]
template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    rmsnorm_bwd_rows(real *dx, float *partial, const real *dy, const real *x, const float *inv_rms,
                     const float *gain, int rows, int width)
{
    DYN_SHARED(float, dgain); // [width]
    for (int c = threadIdx.x; c < width; c += blockDim.x)
        dgain[c] = 0;
    __syncthreads();
    for (int r = blockIdx.x; r < rows; r += gridDim.x) {
        const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
        real *dxr = dx + (size_t)r * width;
        float inv = inv_rms[r], dot = 0;
        for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
            pack<N> a = load<N>(xr + c), d = load<N>(dyr + c), g = load<N>(gain + c);
            for (int j = 0; j < N; j++) {
                float term = d.v[j] * a.v[j] * inv;
                dot += term * g.v[j];
                dgain[c + j] += term;
            }
        }
        float mean = block_sum(dot) / width;
        for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
            pack<N> a = load<N>(xr + c), d = load<N>(dyr + c), g = load<N>(gain + c),
                    to = load<N>(dxr + c);
            for (int j = 0; j < N; j++)
                to.v[j] += inv * (d.v[j] * g.v[j] - a.v[j] * inv * mean);
            store(dxr + c, to);
        }
    }
    // block_sum's barriers came after the last addition
    for (int c = threadIdx.x; c < width; c += blockDim.x)
        partial[(size_t)blockIdx.x * width + c] = dgain[c];
}

void rmsnorm_bwd(real *dx, float *dgain, const real *dy, const real *x, const float *inv_rms,
                 const float *gain, int rows, int width)
{
    assert(rows > 0 && width > 0);
    int parts = parts_for(rows);
    size_t shared_bytes = sizeof(float) * width;
    float *partial = (float *)device_workspace(shared_bytes * parts);
    auto rmsnorm_bwd_kernel =
        in_fours(width, dx, dy, x, gain) ? rmsnorm_bwd_rows<4> : rmsnorm_bwd_rows<1>;
    allow_shared(rmsnorm_bwd_kernel, shared_bytes);
    LAUNCH(rmsnorm_bwd_kernel, parts, row_threads(width), shared_bytes, device_stream, dx, partial,
           dy, x, inv_rms, gain, rows, width);
    add_parts(dgain, partial, parts, width, width);
}

// ---- LayerNorm
// ------------------------------------------------------------------------------------

template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    layernorm_fwd_row(real *y, float *mean, float *inv_std, const real *x, const float *scale,
                      const float *bias, int width, float eps)
{
    const real *xr = x + (size_t)blockIdx.x * width;
    real *yr = y + (size_t)blockIdx.x * width;
    float sum = 0;
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
        pack<N> a = load<N>(xr + c);
        for (int j = 0; j < N; j++)
            sum += a.v[j];
    }
    float m = block_sum(sum) / width, squares = 0;
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
        pack<N> a = load<N>(xr + c);
        for (int j = 0; j < N; j++)
            squares += (a.v[j] - m) * (a.v[j] - m);
    }
    float inv = 1 / sqrtf(block_sum(squares) / width + eps);
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
        pack<N> a = load<N>(xr + c), s = load<N>(scale + c), b = load<N>(bias + c);
        for (int j = 0; j < N; j++)
            a.v[j] = (a.v[j] - m) * inv * s.v[j] + b.v[j];
        store(yr + c, a);
    }
    if (threadIdx.x == 0) {
        mean[blockIdx.x] = m;
        inv_std[blockIdx.x] = inv;
    }
}

void layernorm_fwd(real *y, float *mean, float *inv_std, const real *x, const float *scale,
                   const float *bias, int rows, int width, float eps)
{
    assert(rows > 0 && width > 0 && eps > 0);
    auto layernorm_fwd_kernel =
        in_fours(width, y, x, scale, bias) ? layernorm_fwd_row<4> : layernorm_fwd_row<1>;
    LAUNCH(layernorm_fwd_kernel, (unsigned)rows, row_threads(width), 0, device_stream, y, mean,
           inv_std, x, scale, bias, width, eps);
}

// As rmsnorm_bwd_rows. partial [gridDim.x][2][width]: of dscale, of dbias
template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    layernorm_bwd_rows(real *dx, float *partial, const real *dy, const real *x, const float *mean,
                       const float *inv_std, const float *scale, int rows, int width)
{
    DYN_SHARED(float, sums); // [2][width]
    float *dscale = sums, *dbias = sums + width;
    for (int c = threadIdx.x; c < 2 * width; c += blockDim.x)
        sums[c] = 0;
    __syncthreads();
    for (int r = blockIdx.x; r < rows; r += gridDim.x) {
        const real *xr = x + (size_t)r * width, *dyr = dy + (size_t)r * width;
        real *dxr = dx + (size_t)r * width;
        float m = mean[r], inv = inv_std[r], total = 0, dot = 0;
        for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
            pack<N> a = load<N>(xr + c), d = load<N>(dyr + c), s = load<N>(scale + c);
            for (int j = 0; j < N; j++) {
                float u = d.v[j] * s.v[j], xh = (a.v[j] - m) * inv;
                total += u;
                dot += u * xh;
                dscale[c + j] += d.v[j] * xh;
                dbias[c + j] += d.v[j];
            }
        }
        float mean_u = block_sum(total) / width, mean_dot = block_sum(dot) / width;
        for (int c = N * threadIdx.x; c < width; c += N * blockDim.x) {
            pack<N> a = load<N>(xr + c), d = load<N>(dyr + c), s = load<N>(scale + c);
            for (int j = 0; j < N; j++) {
                float u = d.v[j] * s.v[j], xh = (a.v[j] - m) * inv;
                d.v[j] = inv * (u - mean_u - xh * mean_dot);
            }
            store(dxr + c, d);
        }
    }
    for (int c = threadIdx.x; c < 2 * width; c += blockDim.x) // as in rmsnorm_bwd_rows
        partial[(size_t)blockIdx.x * 2 * width + c] = sums[c];
}

void layernorm_bwd(real *dx, float *dscale, float *dbias, const real *dy, const real *x,
                   const float *mean, const float *inv_std, const float *scale, int rows, int width)
{
    assert(rows > 0 && width > 0);
    int parts = parts_for(rows);
    size_t shared_bytes = 2 * sizeof(float) * width;
    float *partial = (float *)device_workspace(shared_bytes * parts);
    auto layernorm_bwd_kernel =
        in_fours(width, dx, dy, x, scale) ? layernorm_bwd_rows<4> : layernorm_bwd_rows<1>;
    allow_shared(layernorm_bwd_kernel, shared_bytes);
    LAUNCH(layernorm_bwd_kernel, parts, row_threads(width), shared_bytes, device_stream, dx,
           partial, dy, x, mean, inv_std, scale, rows, width);
    add_parts(dscale, partial, parts, 2 * (size_t)width, width);
    add_parts(dbias, partial + width, parts, 2 * (size_t)width, width);
}
