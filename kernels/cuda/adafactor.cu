// cuda/adafactor.cu -- the update of a parameter that steps by its own size.
#include "kernels.h"

#include "launch.cuh"
#include "real.cuh"

#include <assert.h>

enum { THREADS = 256 };

static __global__ void __launch_bounds__(THREADS)
    adafactor_each(float *param, float *m, float *v, const float *grad, const double *square_sum,
                   const double *param_sum, size_t count, adafactor a)
{
    const float SQUARE_LEAST = 1e-30f, SIZE_LEAST = 1e-3f;
    double norm = sqrt(square_sum[0]);
    float size = (float)sqrt(param_sum[0] / (double)count);
    size = size <= SIZE_LEAST ? SIZE_LEAST : size;
    if (!isfinite(norm))
        return;
    float clip = a.clip == 0 || norm < a.clip ? 1 : (float)(a.clip / norm);
    float rest1 = 1 - a.beta1, rest2 = 1 - a.decay;
    float beta1 = a.bf16_momentum ? bf16_rounded(a.beta1) : a.beta1;
    for (size_t i = grid_thread(); i < count; i += grid_threads()) {
        float g = grad[i] * clip;
        float vi = a.decay * v[i] + rest2 * (g * g + SQUARE_LEAST);
        float kept = beta1 * m[i];
        float mi =
            (a.bf16_momentum ? bf16_rounded(kept) : kept) + rest1 * (g / sqrtf(vi) * a.lr * size);
        m[i] = a.bf16_momentum ? bf16_rounded(mi) : mi;
        v[i] = vi;
        param[i] -= mi + a.weight_decay * param[i];
    }
}

void adafactor_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                    const double *param_sum, size_t count, const struct adafactor *a)
{
    assert(count > 0 && a->decay >= 0 && a->decay < 1);
    LAUNCH(adafactor_each, blocks_for(count, THREADS), THREADS, 0, device_stream, param, m, v, grad,
           square_sum, param_sum, count, *a);
}
