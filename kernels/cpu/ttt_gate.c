/* ttt_gate.c -- the learned step size of each token and head. */
#include "kernels.h"
#include "vec.h"

#include <assert.h>
#include <string.h>

/* Heads are taken a few at a time, so that a row is read once for all of them. The last few may be
   fewer: the missing ones repeat the last head and their results are dropped. */
enum { FEW = 4 };

static void few_rows(const float *rows[FEW], const float *w, int first, int heads, int width)
{
    for (int i = 0; i < FEW; i++)
        rows[i] = w + (size_t)(first + i < heads ? first + i : heads - 1) * width;
}

void ttt_gate_fwd(float *sigma, const real *h, const float *w, const float *bias, int batch,
                  int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    int rows = batch * seq;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const real *hr = h + (size_t)r * width;
        int b = r / seq, t = r % seq;
        for (int first = 0; first < heads; first += FEW) {
            const float *wa[FEW];
            few_rows(wa, w, first, heads, width);
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
            for (int c = 0; c < width; c++) {
                s0 += hr[c] * wa[0][c];
                s1 += hr[c] * wa[1][c];
                s2 += hr[c] * wa[2][c];
                s3 += hr[c] * wa[3][c];
            }
            const float sums[FEW] = {s0, s1, s2, s3};
            for (int i = 0; i < FEW && first + i < heads; i++)
                sigma[((size_t)b * heads + first + i) * seq + t] =
                    vec_sigmoid(sums[i] + bias[first + i]).s;
        }
    }
}

/* dz of a few heads at one row, 0 for heads that are not there */
static void few_dz(float dz[FEW], const float *dsigma, const float *sigma, int r, int first,
                   int seq, int heads)
{
    for (int i = 0; i < FEW; i++) {
        size_t at = ((size_t)(r / seq) * heads + first + i) * seq + r % seq;
        dz[i] = first + i < heads ? dsigma[at] * sigma[at] * (1 - sigma[at]) : 0;
    }
}

void ttt_gate_bwd(real *dh, float *dw, float *dbias, const float *dsigma, const float *sigma,
                  const real *h, const float *w, int batch, int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    enum { COLUMNS = 128, STRETCH = 64 };
    int rows = batch * seq;
    /* Threads share the columns: both sums below then run in a fixed order. Stretches of rows stay
       in the cache from a few heads to the next and keep the sums over rows short. */
#pragma omp parallel for schedule(static)
    for (int left = 0; left < width; left += COLUMNS) {
        int n = width - left < COLUMNS ? width - left : COLUMNS;
        for (int begin = 0; begin < rows; begin += STRETCH) {
            int end = begin + STRETCH < rows ? begin + STRETCH : rows;
            for (int first = 0; first < heads; first += FEW) {
                const float *wa[FEW];
                few_rows(wa, w + left, first, heads, width);
                float sum[FEW][COLUMNS] = {{0}};
                for (int r = begin; r < end; r++) {
                    float dz[FEW];
                    few_dz(dz, dsigma, sigma, r, first, seq, heads);
                    const real *hr = h + (size_t)r * width + left;
                    real *dhr = dh + (size_t)r * width + left;
#pragma omp simd
                    for (int c = 0; c < n; c++) {
                        float x = hr[c];
                        dhr[c] += dz[0] * wa[0][c] + dz[1] * wa[1][c] + dz[2] * wa[2][c] +
                                  dz[3] * wa[3][c];
                        sum[0][c] += dz[0] * x;
                        sum[1][c] += dz[1] * x;
                        sum[2][c] += dz[2] * x;
                        sum[3][c] += dz[3] * x;
                    }
                }
                for (int i = 0; i < FEW && first + i < heads; i++)
                    for (int c = 0; c < n; c++)
                        dw[(size_t)(first + i) * width + left + c] += sum[i][c];
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
