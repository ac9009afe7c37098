// cuda/conv.cu -- short causal convolution: a thread walks one column down a run of tokens, with
// the last taps in registers.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

enum { THREADS = 128, FWD_TOKENS = 32, BWD_TOKENS = 64 };

// The walk of one thread: column d, tokens begin..end of sequence b. Walks are numbered; a block
// takes THREADS columns of one.
struct walk {
    int b, begin, end;
    size_t row; // of the sequence's first token
};

static __device__ inline walk walk_of(size_t number, int runs, int tokens, int seq)
{
    walk w;
    w.b = (int)(number / runs);
    w.begin = (int)(number % runs) * tokens;
    w.end = min(w.begin + tokens, seq);
    w.row = (size_t)w.b * seq;
    return w;
}

// x of column d at token t, 0 before the sequence and after it.
static __device__ inline float at(const real *x, const walk &w, int t, int seq, int d, int width)
{
    return t < 0 || t >= seq ? 0 : to_float(x[(w.row + t) * width + d]);
}

static __global__ void __launch_bounds__(THREADS)
    conv_fwd_walk(real *y, const real *x, const float *kernel, const float *bias,
                  const real *residual, int batch, int seq, int width, int runs)
{
    int d = blockIdx.y * blockDim.x + threadIdx.x;
    if (d >= width)
        return;
    float tap[CONV_WIDTH];
    for (int j = 0; j < CONV_WIDTH; j++)
        tap[j] = kernel[(size_t)j * width + d];
    for (size_t n = blockIdx.x; n < (size_t)batch * runs; n += gridDim.x) {
        walk w = walk_of(n, runs, FWD_TOKENS, seq);
        float x0, x1 = at(x, w, w.begin - 3, seq, d, width),
                  x2 = at(x, w, w.begin - 2, seq, d, width),
                  x3 = at(x, w, w.begin - 1, seq, d, width);
        for (int t = w.begin; t < w.end; t++) {
            size_t i = (w.row + t) * width + d;
            x0 = x1, x1 = x2, x2 = x3, x3 = to_float(x[i]);
            float sum = bias[d] + tap[0] * x0 + tap[1] * x1 + tap[2] * x2 + tap[3] * x3;
            y[i] = to_real(residual ? sum + to_float(residual[i]) : sum);
        }
    }
}

void conv_fwd(real *y, const real *x, const float *kernel, const float *bias, const real *residual,
              int batch, int seq, int width)
{
    assert(batch > 0 && seq > 0 && width > 0);
    int runs = (seq + FWD_TOKENS - 1) / FWD_TOKENS;
    dim3 grid(blocks_for((size_t)batch * runs, 1), (width + THREADS - 1) / THREADS);
    LAUNCH(conv_fwd_walk, grid, THREADS, 0, device_stream, y, x, kernel, bias, residual, batch, seq,
           width, runs);
}

// partial [gridDim.x][5][width]: sums of the block's walks, four taps and the bias
static __global__ void __launch_bounds__(THREADS)
    conv_bwd_walk(real *dx, float *partial, const real *dy, const real *x, const float *kernel,
                  bool add, int batch, int seq, int width, int runs)
{
    int d = blockIdx.y * blockDim.x + threadIdx.x;
    if (d >= width)
        return;
    float tap[CONV_WIDTH], dtap[CONV_WIDTH] = {0, 0, 0, 0}, dbias = 0;
    for (int j = 0; j < CONV_WIDTH; j++)
        tap[j] = kernel[(size_t)j * width + d];
    for (size_t n = blockIdx.x; n < (size_t)batch * runs; n += gridDim.x) {
        walk w = walk_of(n, runs, BWD_TOKENS, seq);
        float x0, x1 = at(x, w, w.begin - 3, seq, d, width),
                  x2 = at(x, w, w.begin - 2, seq, d, width),
                  x3 = at(x, w, w.begin - 1, seq, d, width);
        float d0, d1 = at(dy, w, w.begin, seq, d, width),
                  d2 = at(dy, w, w.begin + 1, seq, d, width),
                  d3 = at(dy, w, w.begin + 2, seq, d, width);
        for (int t = w.begin; t < w.end; t++) {
            size_t i = (w.row + t) * width + d;
            x0 = x1, x1 = x2, x2 = x3, x3 = to_float(x[i]);
            d0 = d1, d1 = d2, d2 = d3, d3 = at(dy, w, t + 3, seq, d, width); // dy[t]..dy[t+3]
            float sum = tap[3] * d0 + tap[2] * d1 + tap[1] * d2 + tap[0] * d3;
            dx[i] = to_real(add ? to_float(dx[i]) + sum : sum);
            dtap[0] += d0 * x0, dtap[1] += d0 * x1, dtap[2] += d0 * x2, dtap[3] += d0 * x3;
            dbias += d0;
        }
    }
    float *to = partial + (size_t)blockIdx.x * (CONV_WIDTH + 1) * width + d;
    for (int j = 0; j < CONV_WIDTH; j++)
        to[(size_t)j * width] = dtap[j];
    to[(size_t)CONV_WIDTH * width] = dbias;
}

void conv_bwd(real *dx, float *dkernel, float *dbias, const real *dy, const real *x,
              const float *kernel, bool add, int batch, int seq, int width)
{
    assert(batch > 0 && seq > 0 && width > 0);
    int runs = (seq + BWD_TOKENS - 1) / BWD_TOKENS;
    size_t walks = (size_t)batch * runs;
    int parts = walks < PARTS_LIMIT ? (int)walks : PARTS_LIMIT;
    size_t taps = (size_t)CONV_WIDTH * width, stride = taps + width;
    float *partial = (float *)device_workspace(sizeof *partial * stride * parts);
    dim3 grid(parts, (width + THREADS - 1) / THREADS);
    LAUNCH(conv_bwd_walk, grid, THREADS, 0, device_stream, dx, partial, dy, x, kernel, add, batch,
           seq, width, runs);
    add_parts(dkernel, partial, parts, stride, taps);
    add_parts(dbias, partial + taps, parts, stride, width);
}

static __global__ void __launch_bounds__(THREADS)
    conv_step_each(real *y, real *history, const real *x, const float *kernel, const float *bias,
                   const real *residual, const int32_t *position, int batch, int width)
{
    for (size_t i = grid_thread(); i < (size_t)batch * width; i += grid_threads()) {
        size_t b = i / width, d = i % width;
        if (position[b] < 0)
            continue;
        real *past = history + b * (CONV_WIDTH - 1) * width + d;
        real now = x[i];
        float sum = bias[d] + kernel[(size_t)(CONV_WIDTH - 1) * width + d] * to_float(now);
        for (int j = 0; j < CONV_WIDTH - 1; j++) {
            sum += kernel[(size_t)j * width + d] * to_float(past[(size_t)j * width]);
            past[(size_t)j * width] = j + 1 < CONV_WIDTH - 1 ? past[(size_t)(j + 1) * width] : now;
        }
        y[i] = to_real(residual ? sum + to_float(residual[i]) : sum);
    }
}

void conv_step(real *y, real *history, const real *x, const float *kernel, const float *bias,
               const real *residual, const int32_t *position, int batch, int width)
{
    assert(batch > 0 && width > 0);
    LAUNCH(conv_step_each, blocks_for((size_t)batch * width, THREADS), THREADS, 0, device_stream, y,
           history, x, kernel, bias, residual, position, batch, width);
}
