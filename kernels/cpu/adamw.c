/* adamw.c -- the norm of the gradient and the update of parameters. */
#include "bf16.h"
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>

void square_sum(double *sum, const float *x, size_t count)
{
    enum { LANES = 32 }; /* sums side by side, so that one addition need not wait for another */
    const size_t piece = 1 << 16;
    size_t pieces = (count + piece - 1) / piece;
    double *partial = device_workspace(sizeof *partial * (pieces ? pieces : 1));
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < pieces; p++) {
        size_t i = p * piece, end = i + piece < count ? i + piece : count;
        double lane[LANES] = {0}, s = 0;
        for (; i + LANES <= end; i += LANES)
            for (int l = 0; l < LANES; l++)
                lane[l] += (double)x[i + l] * x[i + l];
        for (int l = 0; i < end; i++, l++)
            lane[l] += (double)x[i] * x[i];
        for (int l = 0; l < LANES; l++)
            s += lane[l];
        partial[p] = s;
    }
    double total = 0;
    for (size_t p = 0; p < pieces; p++)
        total += partial[p];
    sum[0] = total;
}

void spoil_unless_finite(float *to, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            to[0] = NAN;
}

/* Elements first..end. With `narrow` known to the compiler this becomes vector code. */
static inline __attribute__((always_inline)) void
step_some(float *param, float *m, float *v, const float *grad, size_t first, size_t end, float clip,
          const struct adamw *a, const bool narrow)
{
    float beta1 = narrow ? bf16_rounded(a->beta1) : a->beta1, rest1 = 1 - a->beta1;
    float beta2 = a->beta2, rest2 = 1 - beta2;
    float c1 = a->correct1, c2 = a->correct2, eps = a->eps, lr = a->lr, decay = a->weight_decay;
#pragma omp simd
    for (size_t i = first; i < end; i++) {
        float g = grad[i] * clip;
        float kept = beta1 * m[i];
        float mi = (narrow ? bf16_rounded(kept) : kept) + rest1 * g;
        float vi = beta2 * v[i] + rest2 * g * g;
        m[i] = narrow ? bf16_rounded(mi) : mi;
        v[i] = vi;
        param[i] -= lr * (mi / c1 / (sqrtf(vi / c2) + eps) + decay * param[i]);
    }
}

void adamw_step(float *param, float *m, float *v, const float *grad, const double *square_sum,
                size_t count, const struct adamw *a)
{
    assert(a->correct1 > 0 && a->correct2 > 0);
    const size_t piece = 1 << 14;
    double norm = sqrt(square_sum[0]);
    if (!isfinite(norm))
        return;
    float clip = a->clip == 0 || norm < a->clip ? 1 : (float)(a->clip / norm);
#pragma omp parallel for schedule(static)
    for (size_t first = 0; first < count; first += piece) {
        size_t end = count - first < piece ? count : first + piece;
        if (a->bf16_momentum)
            step_some(param, m, v, grad, first, end, clip, a, true);
        else
            step_some(param, m, v, grad, first, end, clip, a, false);
    }
}

void mean_add(float *mean, const float *x, int before, size_t count)
{
    float parts = (float)before + 1;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        mean[i] += (x[i] - mean[i]) / parts;
}

void average_step(float *average, const float *x, const double *square_sum, float rate,
                  size_t count)
{
    if (!isfinite(square_sum[0]))
        return;
#pragma omp parallel for simd schedule(static)
    for (size_t i = 0; i < count; i++)
        average[i] += rate * (x[i] - average[i]);
}
