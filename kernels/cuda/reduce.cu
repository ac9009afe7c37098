// cuda/reduce.cu -- fold partial results, in a fixed order.
#include "reduce.cuh"

enum { COLUMNS = 32, RUNS = 8 };

// A block folds COLUMNS values; its rows of threads each take a run of parts.
static __global__ void __launch_bounds__(COLUMNS *RUNS)
    add_parts_columns(float *y, const float *partial, int parts, size_t stride, size_t count)
{
    SHARED(float, sums, [RUNS][COLUMNS]);
    int run = threadIdx.x / COLUMNS, column = threadIdx.x % COLUMNS;
    int each = (parts + RUNS - 1) / RUNS, begin = run * each, end = min(begin + each, parts);
    size_t i = (size_t)blockIdx.x * COLUMNS + column;
    float sum = 0;
    for (int p = begin; p < end && i < count; p++)
        sum += partial[p * stride + i];
    sums[run][column] = sum;
    __syncthreads();
    if (run == 0 && i < count) {
        sum = sums[0][column];
        for (int r = 1; r < RUNS; r++)
            sum += sums[r][column];
        y[i] += sum;
    }
}

void add_parts(float *y, const float *partial, int parts, size_t stride, size_t count)
{
    LAUNCH(add_parts_columns, blocks_exact(count, COLUMNS), COLUMNS * RUNS, 0, device_stream, y,
           partial, parts, stride, count);
}
