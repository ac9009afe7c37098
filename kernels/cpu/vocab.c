/* vocab.c -- embedding in, cross entropy out. */
#include "kernels.h"
#include "vec.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void embedding_fwd(real *x, const real *table, const int32_t *ids, int rows, int width)
{
    assert(rows > 0 && width > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        real *to = x + (size_t)r * width;
        if (ids[r] < 0)
            memset(to, 0, sizeof *to * width);
        else
            memcpy(to, table + (size_t)ids[r] * width, sizeof *to * width);
    }
}

/* Threads share the columns, so that each element is summed by one of them, in the order of rows.
 */
void embedding_bwd(float *dtable, const real *dx, const int32_t *ids, int rows, int width,
                   int vocab)
{
    assert(rows > 0 && width > 0 && vocab > 0);
    enum { COLUMNS = 64 };
#pragma omp parallel for schedule(static)
    for (int first = 0; first < width; first += COLUMNS) {
        int end = first + COLUMNS < width ? first + COLUMNS : width;
        for (int r = 0; r < rows; r++) {
            if (ids[r] < 0)
                continue;
            const real *from = dx + (size_t)r * width;
            float *to = dtable + (size_t)ids[r] * width;
#pragma omp simd
            for (int c = first; c < end; c++)
                to[c] += from[c];
        }
    }
}

/* By lanes: compilers make vectors of it without being told that no number is NaN. */
static float maximum(const float *x, int count)
{
    enum { LANES = 64 };
    float lane[LANES], most = x[0];
    int i = 0;
    for (int l = 0; l < LANES; l++)
        lane[l] = most;
    for (; i + LANES <= count; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < count; i++)
        most = x[i] > most ? x[i] : most;
    for (int l = 0; l < LANES; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
}

/* Sum of e^(x - shift). The exponentials are kept in `out` when there is one. Short stretches are
   summed in float, the stretches in double: a vocabulary is long. */
static double sum_exp(float *out, const float *x, float shift, int count)
{
    enum { STRETCH = 512 };
    double total = 0;
    for (int first = 0; first < count; first += STRETCH) {
        int end = first + STRETCH < count ? first + STRETCH : count;
        float sum = 0;
        if (out) {
#pragma omp simd reduction(+ : sum)
            for (int i = first; i < end; i++) {
                float e = vec_exp(x[i] - shift);
                out[i] = e;
                sum += e;
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int i = first; i < end; i++)
                sum += vec_exp(x[i] - shift);
        }
        total += sum;
    }
    return total;
}

static bool is_first(const float *x, int target, float most)
{
    if (!(x[target] == most))
        return false;
    for (int i = 0; i < target; i++)
        if (x[i] == most)
            return false;
    return true;
}

void cross_entropy(float *loss, float *correct, real *dlogits, const float *logits,
                   const int32_t *target, const float *weight, int rows, int vocab)
{
    assert(rows > 0 && vocab > 0);
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const float *x = logits + (size_t)r * vocab;
        real *dx = dlogits ? dlogits + (size_t)r * vocab : NULL;
        float w = weight[r];
        if (w == 0) {
            loss[r] = correct[r] = 0;
            if (dx)
                memset(dx, 0, sizeof *dx * vocab);
            continue;
        }
        int t = target[r];
        float most = maximum(x, vocab), at_target = x[t];
        correct[r] = is_first(x, t, most);
        double sum = sum_exp(dx, x, most, vocab); /* from here on x may be overwritten */
        loss[r] = (float)(log(sum) + ((double)most - at_target));
        if (!dx)
            continue;
        /* p - 1 at the target, as minus the rest: exact where p is close to 1. */
        double rest = sum - dx[t];
        float factor = (float)(w / sum);
#pragma omp simd
        for (int i = 0; i < vocab; i++)
            dx[i] *= factor;
        dx[t] = (float)(-w * (rest / sum));
    }
}
