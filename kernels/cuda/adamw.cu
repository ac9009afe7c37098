// cuda/adamw.cu -- the norm of the gradient and the update of parameters.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

enum { THREADS = 256, SUM_BLOCKS = 1024, PER_THREAD = 16 };

static __global__ void __launch_bounds__(THREADS)
    square_sum_part(double *partial, const float *x, size_t count)
{
    double sum = 0;
    for (size_t i = grid_thread(); i < count; i += grid_threads())
        sum += (double)x[i] * x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        partial[blockIdx.x] = sum;
}

static __global__ void __launch_bounds__(THREADS)
    square_sum_fold(double *to, const double *partial, int parts)
{
    double sum = 0;
    for (int i = threadIdx.x; i < parts; i += blockDim.x)
        sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        to[0] = sum;
}

void square_sum(double *sum, const float *x, size_t count)
{
    unsigned blocks = blocks_for(count, THREADS * PER_THREAD);
    blocks = blocks < SUM_BLOCKS ? blocks : (unsigned)SUM_BLOCKS;
    double *partial = (double *)device_workspace(sizeof *partial * blocks);
    LAUNCH(square_sum_part, blocks, THREADS, 0, device_stream, partial, x, count);
    LAUNCH(square_sum_fold, 1, THREADS, 0, device_stream, sum, partial, (int)blocks);
}

static __global__ void __launch_bounds__(THREADS)
    spoil_each(float *to, const float *x, size_t count)
{
    for (size_t i = grid_thread(); i < count; i += grid_threads())
        if (!isfinite(x[i]))
            to[0] = NAN; // whoever writes it last writes the same
}

void spoil_unless_finite(float *to, const float *x, size_t count)
{
    LAUNCH(spoil_each, blocks_for(count, THREADS), THREADS, 0, device_stream, to, x, count);
}

template <int N>
static __global__ void __launch_bounds__(THREADS)
    adamw_each(float *param, float *m, float *v, const float *grad, const double *square_sum,
               size_t count, adamw a)
{
    double norm = sqrt(square_sum[0]);
    if (!isfinite(norm))
        return;
    float clip = a.clip == 0 || norm < a.clip ? 1 : (float)(a.clip / norm);
    float rest1 = 1 - a.beta1, rest2 = 1 - a.beta2;
    float beta1 = a.bf16_momentum ? bf16_rounded(a.beta1) : a.beta1;
    for (size_t i = N * grid_thread(); i < count; i += N * grid_threads()) {
        pack<N> p = load<N>(param + i), mi = load<N>(m + i), vi = load<N>(v + i),
                g = load<N>(grad + i);
        for (int j = 0; j < N; j++) {
            float d = g.v[j] * clip;
            float kept = beta1 * mi.v[j];
            mi.v[j] = (a.bf16_momentum ? bf16_rounded(kept) : kept) + rest1 * d;
            vi.v[j] = a.beta2 * vi.v[j] + rest2 * d * d;
            float step = mi.v[j] / a.correct1 / (sqrtf(vi.v[j] / a.correct2) + a.eps);
            p.v[j] -= a.lr * (step + a.weight_decay * p.v[j]);
            if (a.bf16_momentum)
                mi.v[j] = bf16_rounded(mi.v[j]);
        }
        store(m + i, mi);
        store(v + i, vi);
        store(param + i, p);
    }
}

void adamw_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                size_t count, const struct adamw *a)
{
    assert(a->correct1 > 0 && a->correct2 > 0);
    if (in_fours(count, param, m, v, grad))
        LAUNCH((adamw_each<4>), blocks_for(count, 4 * THREADS), THREADS, 0, device_stream, param, m,
               v, grad, square_sum, count, *a);
    else
        LAUNCH((adamw_each<1>), blocks_for(count, THREADS), THREADS, 0, device_stream, param, m, v,
               grad, square_sum, count, *a);
}

static __global__ void __launch_bounds__(THREADS)
    mean_add_each(float *mean, const float *x, float parts, size_t count)
{
    for (size_t i = grid_thread(); i < count; i += grid_threads())
        mean[i] += (x[i] - mean[i]) / parts;
}

void mean_add(float *mean, const float *x, int before, size_t count)
{
    LAUNCH(mean_add_each, blocks_for(count, THREADS), THREADS, 0, device_stream, mean, x,
           (float)before + 1, count);
}

static __global__ void __launch_bounds__(THREADS)
    average_step_each(float *average, const float *x, const double *square_sum, float rate,
                      size_t count)
{
    if (!isfinite(square_sum[0]))
        return;
    for (size_t i = grid_thread(); i < count; i += grid_threads())
        average[i] += rate * (x[i] - average[i]);
}

void average_step(float *average, const float *x, const double *square_sum, float rate,
                  size_t count)
{
    LAUNCH(average_step_each, blocks_for(count, THREADS), THREADS, 0, device_stream, average, x,
           square_sum, rate, count);
}
