/* ttt_gate.c -- the learned step size of each token and head. */
#include "kernels.h"
#include "vec.h"

#include <assert.h>
#include <string.h>

void ttt_gate_fwd(float *sigma, const real *h, const float *w, const float *bias, int batch,
                  int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    int rows = batch * seq;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *hr = h + (size_t)r * width;
        int b = r / seq, t = r % seq;
        for (int a = 0; a < heads; a++) {
            const float *wa = w + (size_t)a * width;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int c = 0; c < width; c++)
                sum += hr[c] * wa[c];
            sigma[((size_t)b * heads + a) * seq + t] = vec_sigmoid(sum + bias[a]).s;
        }
    }
}

void ttt_gate_bwd(real *dh, float *dw, float *dbias, const float *dsigma, const float *sigma,
                  const real *h, const float *w, int batch, int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    enum { COLUMNS = 64, STRETCH = 64 };
    int rows = batch * seq;
    /* Threads share the columns: both sums below then run in a fixed order. Stretches of rows stay
       in the cache from one head to the next and keep the sums over rows short. */
#pragma omp parallel for schedule(static)
    for (int first = 0; first < width; first += COLUMNS) {
        int n = width - first < COLUMNS ? width - first : COLUMNS;
        for (int begin = 0; begin < rows; begin += STRETCH) {
            int end = begin + STRETCH < rows ? begin + STRETCH : rows;
            for (int a = 0; a < heads; a++) {
                const float *wa = w + (size_t)a * width + first;
                float sum[COLUMNS] = {0};
                for (int r = begin; r < end; r++) {
                    size_t at = ((size_t)(r / seq) * heads + a) * seq + r % seq;
                    float dz = dsigma[at] * sigma[at] * (1 - sigma[at]);
                    const real *hr = h + (size_t)r * width + first;
                    real *dhr = dh + (size_t)r * width + first;
#pragma omp simd
                    for (int c = 0; c < n; c++) {
                        dhr[c] += dz * wa[c];
                        sum[c] += dz * hr[c];
                    }
                }
                float *dwa = dw + (size_t)a * width + first;
                for (int c = 0; c < n; c++)
                    dwa[c] += sum[c];
            }
        }
    }
#pragma omp parallel for schedule(static)
    for (int a = 0; a < heads; a++) {
        double sum = 0;
        for (int b = 0; b < batch; b++) {
            size_t at = ((size_t)b * heads + a) * seq;
            for (int t = 0; t < seq; t++)
                sum += dsigma[at + t] * sigma[at + t] * (1 - sigma[at + t]);
        }
        dbias[a] += (float)sum;
    }
}
