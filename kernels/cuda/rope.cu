// cuda/rope.cu -- rotary positions. A block turns one position of a run of sequences, so that each
// angle is computed once for all of their heads.
#include "kernels.h"

#include "launch.cuh"
#include "real.cuh"

#include <assert.h>

enum { PAIRS_LIMIT = 512, BLOCKS_WANTED = 1024 };

// cos, sin of each pair of a head at a position, by the block. In half turns, which are reduced to
// one exactly; the reduction of a large angle in radians takes local memory.
static __device__ inline void set_turns(float *turn, int position, int head_dim, float theta,
                                        float sign)
{
    const double half_turn = 3.14159265358979323846;
    for (int c = threadIdx.x; c < head_dim / 2; c += blockDim.x) {
        double sine, cosine;
        sincospi(position * (pow((double)theta, -2.0 * c / head_dim) / half_turn), &sine, &cosine);
        turn[2 * c] = (float)cosine;
        turn[2 * c + 1] = sign * (float)sine;
    }
}

// Turn the row's pairs by the block's angles: cos, sin of each pair of a head.
static __device__ inline void turn_row(real *x, const float *turn, size_t row, int pairs)
{
    for (size_t i = threadIdx.x; i < row; i += blockDim.x) {
        int c = (int)(i % pairs);
        float u = to_float(x[2 * i]), v = to_float(x[2 * i + 1]);
        float cosine = turn[2 * c], sine = turn[2 * c + 1];
        x[2 * i] = to_real(u * cosine - v * sine);
        x[2 * i + 1] = to_real(u * sine + v * cosine);
    }
}

// grid: x positions, y runs of sequences
static __global__ void __launch_bounds__(ROW_THREADS)
    rope_position(real *x, int batch, int seq, int heads, int head_dim, int first, int period,
                  float theta, float sign)
{
    SHARED(float, turn, [2 * PAIRS_LIMIT]); // cos, sin of each pair
    int pairs = head_dim / 2;
    size_t row = (size_t)heads * pairs;
    int t = blockIdx.x, position = period ? (first + t) % period : first + t;
    set_turns(turn, position, head_dim, theta, sign);
    __syncthreads();
    for (int b = blockIdx.y; b < batch; b += gridDim.y) {
        turn_row(x + ((size_t)b * seq + t) * row * 2, turn, row, pairs);
    }
}

// A block turns the token of one sequence.
static __global__ void __launch_bounds__(ROW_THREADS)
    rope_step_row(real *x, const int32_t *position, int heads, int head_dim, int period,
                  float theta)
{
    SHARED(float, turn, [2 * PAIRS_LIMIT]); // cos, sin of each pair
    int now = position[blockIdx.x], pairs = head_dim / 2;
    if (now < 0)
        return;
    set_turns(turn, period ? now % period : now, head_dim, theta, 1);
    __syncthreads();
    size_t row = (size_t)heads * pairs;
    turn_row(x + blockIdx.x * row * 2, turn, row, pairs);
}

void rope_step(real *x, const int32_t *position, int batch, int heads, int head_dim, int period,
               int limit, float theta)
{
    assert(batch > 0 && heads > 0 && head_dim > 0 && head_dim % 2 == 0);
    assert(period >= 0 && limit > 0 && theta > 0 && head_dim <= 2 * PAIRS_LIMIT);
    LAUNCH(rope_step_row, (unsigned)batch, row_threads((size_t)heads * head_dim * 2), 0,
           device_stream, x, position, heads, head_dim, period, theta);
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
