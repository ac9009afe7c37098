/* adafactor.c -- the update of a parameter that steps by its own size. */
#include "bf16.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>

void adafactor_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                    const double *param_sum, size_t count, const struct adafactor *a)
{
    assert(count > 0 && a->decay >= 0 && a->decay < 1);
    const float SQUARE_LEAST = 1e-30f, SIZE_LEAST = 1e-3f;
    double norm = sqrt(square_sum[0]);
    float size = (float)sqrt(param_sum[0] / (double)count);
    size = size <= SIZE_LEAST ? SIZE_LEAST : size;
    if (!isfinite(norm))
        return;
    float clip = a->clip == 0 || norm < a->clip ? 1 : (float)(a->clip / norm);
    bool narrow = a->bf16_momentum;
    float rest1 = 1 - a->beta1, beta1 = narrow ? bf16_rounded(a->beta1) : a->beta1;
    float decay2 = a->decay, rest2 = 1 - decay2, lr = a->lr, decay = a->weight_decay;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++) {
        float g = grad[i] * clip;
        float vi = decay2 * v[i] + rest2 * (g * g + SQUARE_LEAST);
        float kept = beta1 * m[i];
        float mi = (narrow ? bf16_rounded(kept) : kept) + rest1 * (g / sqrtf(vi) * lr * size);
        m[i] = narrow ? bf16_rounded(mi) : mi;
        v[i] = vi;
        param[i] -= mi + decay * param[i];
    }
}
