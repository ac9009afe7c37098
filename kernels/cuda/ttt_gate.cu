// cuda/ttt_gate.cu -- the learned step size of each token and head.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

enum { THREADS = 256, TILE_ROWS = 4, COLUMNS = 128, TILE_HEADS = 8 };

// Where [batch][heads][seq] keeps row r of [batch * seq] and head a.
static __device__ inline size_t gate_at(int r, int a, int seq, int heads)
{
    return ((size_t)(r / seq) * heads + a) * seq + r % seq;
}

// A block holds TILE_ROWS rows in shared memory; each warp takes heads in turn.
static __global__ void __launch_bounds__(THREADS)
    ttt_gate_fwd_rows(float *sigma, const real *h, const float *w, const float *bias, int rows,
                      int seq, int heads, int width)
{
    DYN_SHARED(float, tile); // [TILE_ROWS][width]
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    int first = blockIdx.x * TILE_ROWS, n = min((int)TILE_ROWS, rows - first);
    for (int i = threadIdx.x; i < TILE_ROWS * width; i += blockDim.x)
        tile[i] = i < n * width ? to_float(h[(size_t)first * width + i]) : 0;
    __syncthreads();
    for (int a = warp; a < heads; a += warps) {
        const float *wa = w + (size_t)a * width;
        float sum[TILE_ROWS] = {0};
        for (int c = lane; c < width; c += 32)
            for (int r = 0; r < TILE_ROWS; r++)
                sum[r] += wa[c] * tile[r * width + c];
        for (int r = 0; r < TILE_ROWS; r++) {
            float z = lanes_sum<32>(sum[r]) + bias[a];
            if (lane == 0 && r < n)
                sigma[gate_at(first + r, a, seq, heads)] = 1 / (1 + expf(-z));
        }
    }
}

void ttt_gate_fwd(float *sigma, const real *h, const float *w, const float *bias, int batch,
                  int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    int rows = batch * seq;
    size_t shared_bytes = sizeof(float) * TILE_ROWS * width;
    allow_shared(ttt_gate_fwd_rows, shared_bytes);
    LAUNCH(ttt_gate_fwd_rows, blocks_exact(rows, TILE_ROWS), THREADS, shared_bytes, device_stream,
           sigma, h, w, bias, rows, seq, heads, width);
}

static __device__ inline float dz_at(const float *dsigma, const float *sigma, size_t i)
{
    return dsigma[i] * sigma[i] * (1 - sigma[i]);
}

// dh of a row by a block.
static __global__ void __launch_bounds__(THREADS)
    ttt_gate_bwd_row(real *dh, const float *dsigma, const float *sigma, const float *w, int seq,
                     int heads, int width)
{
    DYN_SHARED(float, dz); // [heads]
    int r = blockIdx.x;
    for (int a = threadIdx.x; a < heads; a += blockDim.x)
        dz[a] = dz_at(dsigma, sigma, gate_at(r, a, seq, heads));
    __syncthreads();
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float sum = 0;
        for (int a = 0; a < heads; a++)
            sum += dz[a] * w[(size_t)a * width + c];
        real *to = dh + (size_t)r * width + c;
        *to = to_real(to_float(*to) + sum);
    }
}

// dw and dbias of a run of rows: block (part, columns, heads). partial [parts][heads][width + 1],
// the last column is dbias.
static __global__ void __launch_bounds__(COLUMNS)
    ttt_gate_bwd_part(float *partial, const float *dsigma, const float *sigma, const real *h,
                      int rows, int seq, int heads, int width, int each)
{
    SHARED(float, dz, [COLUMNS][TILE_HEADS]);
    int c = blockIdx.y * COLUMNS + threadIdx.x, first_head = blockIdx.z * TILE_HEADS;
    int begin = blockIdx.x * each, end = min(begin + each, rows);
    float sum[TILE_HEADS] = {0};
    for (int first = begin; first < end; first += COLUMNS) {
        int n = min((int)COLUMNS, end - first);
        for (int j = 0; j < TILE_HEADS; j++)
            dz[threadIdx.x][j] =
                (int)threadIdx.x < n && first_head + j < heads
                    ? dz_at(dsigma, sigma, gate_at(first + threadIdx.x, first_head + j, seq, heads))
                    : 0;
        __syncthreads();
        for (int r = 0; r < n && c <= width; r++) {
            float x = c == width ? 1 : to_float(h[(size_t)(first + r) * width + c]);
            for (int j = 0; j < TILE_HEADS; j++)
                sum[j] += dz[r][j] * x;
        }
        __syncthreads(); // before the next rows' dz
    }
    for (int j = 0; j < TILE_HEADS && c <= width && first_head + j < heads; j++)
        partial[((size_t)blockIdx.x * heads + first_head + j) * (width + 1) + c] = sum[j];
}

// y[a][c] += sum over parts, ascending, where partial has width + 1 columns and y the first of
// them.
static __global__ void __launch_bounds__(THREADS)
    ttt_gate_bwd_fold(float *dw, float *dbias, const float *partial, int parts, int heads,
                      int width)
{
    size_t count = (size_t)heads * (width + 1);
    for (size_t i = grid_thread(); i < count; i += grid_threads()) {
        float sum = 0;
        for (int p = 0; p < parts; p++)
            sum += partial[p * count + i];
        size_t a = i / (width + 1), c = i % (width + 1);
        float *to = c == (size_t)width ? dbias + a : dw + a * width + c;
        *to += sum;
    }
}

void ttt_gate_bwd(real *dh, float *dw, float *dbias, const float *dsigma, const float *sigma,
                  const real *h, const float *w, int batch, int seq, int heads, int width)
{
    assert(batch > 0 && seq > 0 && heads > 0 && width > 0);
    int rows = batch * seq;
    LAUNCH(ttt_gate_bwd_row, (unsigned)rows, THREADS, sizeof(float) * heads, device_stream, dh,
           dsigma, sigma, w, seq, heads, width);

    int each = (rows + GATE_PARTS - 1) / GATE_PARTS, parts = (rows + each - 1) / each;
    size_t count = (size_t)heads * (width + 1);
    float *partial = (float *)device_workspace(sizeof *partial * count * parts);
    dim3 grid(parts, (width + COLUMNS) / COLUMNS, (heads + TILE_HEADS - 1) / TILE_HEADS);
    LAUNCH(ttt_gate_bwd_part, grid, COLUMNS, 0, device_stream, partial, dsigma, sigma, h, rows, seq,
           heads, width, each);
    LAUNCH(ttt_gate_bwd_fold, blocks_for(count, THREADS), THREADS, 0, device_stream, dw, dbias,
           partial, parts, heads, width);
}
