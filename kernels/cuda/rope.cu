// cuda/rope.cu -- rotary positions. A block turns one position of a run of sequences, so that each
// angle is computed once for all of their heads.
#include "kernels.h"

#include "launch.cuh"
#include "real.cuh"

#include <assert.h>

enum { PAIRS_LIMIT = 512, BLOCKS_WANTED = 1024 };

// grid: x positions, y runs of sequences
static __global__ void rope_position(real *x, int batch, int seq, int heads, int head_dim,
                                     int first, int period, float theta, float sign)
{
    SHARED(float, turn, [2 * PAIRS_LIMIT]); // cos, sin of each pair
    int pairs = head_dim / 2;
    size_t row = (size_t)heads * pairs;
    int t = blockIdx.x, position = period ? (first + t) % period : first + t;
    for (int c = threadIdx.x; c < pairs; c += blockDim.x) {
        double angle = position * pow((double)theta, -2.0 * c / head_dim);
        turn[2 * c] = (float)cos(angle);
        turn[2 * c + 1] = sign * (float)sin(angle);
    }
    __syncthreads();
    for (int b = blockIdx.y; b < batch; b += gridDim.y) {
        real *xr = x + ((size_t)b * seq + t) * row * 2;
        for (size_t i = threadIdx.x; i < row; i += blockDim.x) {
            int c = (int)(i % pairs);
            float u = to_float(xr[2 * i]), v = to_float(xr[2 * i + 1]);
            float cosine = turn[2 * c], sine = turn[2 * c + 1];
            xr[2 * i] = to_real(u * cosine - v * sine);
            xr[2 * i + 1] = to_real(u * sine + v * cosine);
        }
    }
}

void rope(real *x, int batch, int seq, int heads, int head_dim, int first, int period, float theta,
          bool inverse)
{
    assert(batch > 0 && seq > 0 && heads > 0 && head_dim > 0 && head_dim % 2 == 0);
    assert(first >= 0 && period >= 0 && theta > 0 && head_dim <= 2 * PAIRS_LIMIT);
    unsigned runs = (unsigned)((BLOCKS_WANTED + seq - 1) / seq);
    runs = min(min(runs, (unsigned)batch), (unsigned)GRID_YZ_LIMIT);
    LAUNCH(rope_position, dim3((unsigned)seq, runs), row_threads((size_t)heads * head_dim * 2), 0,
           device_stream, x, batch, seq, heads, head_dim, first, period, theta,
           inverse ? -1.0f : 1.0f);
}
