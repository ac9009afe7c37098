/* rope.c -- rotary positions. */
#include "device.h"
#include "kernels.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* cos, sin of position p and pair c at [p][c][2]: as many positions as were ever asked for. */
static float *table;
static int table_positions, table_dim;
static float table_theta;

static const float *angles(int positions, int head_dim, float theta)
{
    if (head_dim == table_dim && theta == table_theta && positions <= table_positions)
        return table;
    device_free(table);
    table = device_alloc(sizeof *table * positions * head_dim);
    assert(table && "memory for the rotary table");
    for (int c = 0; c < head_dim / 2; c++) {
        double rate = pow(theta, -2.0 * c / head_dim);
        for (int p = 0; p < positions; p++) {
            float *at = table + (size_t)p * head_dim + 2 * c;
            at[0] = (float)cos(p * rate);
            at[1] = (float)sin(p * rate);
        }
    }
    table_positions = positions;
    table_dim = head_dim;
    table_theta = theta;
    return table;
}

/* x [heads][head_dim] turned by the angles t. */
static void turn_row(real *x, const float *t, float sign, int heads, int head_dim)
{
    for (int h = 0; h < heads; h++) {
        real *xr = x + (size_t)h * head_dim;
#pragma omp simd
        for (int c = 0; c < head_dim; c += 2) {
            float cosine = t[c], sine = sign * t[c + 1];
            float a = xr[c], b = xr[c + 1];
            xr[c] = a * cosine - b * sine;
            xr[c + 1] = a * sine + b * cosine;
        }
    }
}

void rope(real *x, int batch, int seq, int heads, int head_dim, int first, int period, float theta,
          bool inverse)
{
    assert(batch > 0 && seq > 0 && heads > 0 && head_dim > 0 && head_dim % 2 == 0);
    assert(first >= 0 && period >= 0 && theta > 0);
    int positions = period ? period : first + seq;
    const float *turn = angles(positions, head_dim, theta);
    float sign = inverse ? -1 : 1;
    int rows = batch * seq;
#pragma omp parallel for schedule(static)
    for (int r = 0; r < rows; r++) {
        const float *t = turn + (size_t)((first + r % seq) % positions) * head_dim;
        turn_row(x + (size_t)r * heads * head_dim, t, sign, heads, head_dim);
    }
}

void rope_step(real *x, const int32_t *position, int batch, int heads, int head_dim, int period,
               int limit, float theta)
{
    assert(batch > 0 && heads > 0 && head_dim > 0 && head_dim % 2 == 0);
    assert(period >= 0 && limit > 0 && theta > 0);
    const float *turn = angles(limit, head_dim, theta);
#pragma omp parallel for schedule(static)
    for (int b = 0; b < batch; b++) {
        if (position[b] < 0)
            continue;
        int at = period ? position[b] % period : position[b];
        assert(at < limit);
        turn_row(x + (size_t)b * heads * head_dim, turn + (size_t)at * head_dim, 1, heads,
                 head_dim);
    }
}
