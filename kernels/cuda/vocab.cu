// cuda/vocab.cu -- embedding in, cross entropy out.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "real.cuh"
#include "reduce.cuh"

#include <assert.h>

// ---- embedding ----------------------------------------------------------------------------------

template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    embedding_row(real *x, const real *table, const int32_t *ids, int width)
{
    size_t r = blockIdx.x;
    for (int c = N * threadIdx.x; c < width; c += N * blockDim.x)
        store(x + r * width + c,
              ids[r] < 0 ? pack<N>{} : load<N>(table + (size_t)ids[r] * width + c));
}

void embedding_fwd(real *x, const real *table, const int32_t *ids, int rows, int width)
{
    assert(rows > 0 && width > 0);
    auto embedding_kernel = in_fours(width, x, table) ? embedding_row<4> : embedding_row<1>;
    LAUNCH(embedding_kernel, (unsigned)rows, row_threads(width), 0, device_stream, x, table, ids,
           width);
}

// The backward sorts the rows by id, then by row, and lets one block sum the rows of one id: no two
// blocks meet, and the order is ascending. The sort is bitonic over keys (id, row): its steps
// within SORT_KEYS neighbours run in shared memory, the others one launch each.
enum { SORT_KEYS = 2048, SORT_THREADS = SORT_KEYS / 2, COLUMNS = 128 };

static __global__ void __launch_bounds__(ROW_THREADS)
    sort_keys(uint64_t *keys, const int32_t *ids, size_t rows, size_t padded)
{
    for (size_t i = grid_thread(); i < padded; i += grid_threads())
        keys[i] = i < rows ? (uint64_t)(uint32_t)ids[i] << 32 | i : ~(uint64_t)0;
}

// Put a pair in the order that its run of `size` wants: ascending in even runs, descending in odd.
static __device__ inline void sort_pair(uint64_t &low, uint64_t &high, size_t at, size_t size)
{
    uint64_t a = low, b = high;
    if ((a > b) == ((at & size) == 0)) {
        low = b;
        high = a;
    }
}

// The i-th of the pairs that lie `distance` apart, a power of two: its lower place.
static __device__ inline size_t sort_place(size_t i, size_t distance)
{
    return 2 * i - (i & (distance - 1));
}

// All steps of the runs from..to (powers of two) whose distance is below SORT_KEYS.
static __global__ void __launch_bounds__(SORT_THREADS)
    sort_near(uint64_t *keys, size_t from, size_t to)
{
    SHARED(uint64_t, near, [SORT_KEYS]);
    size_t base = (size_t)blockIdx.x * SORT_KEYS;
    near[threadIdx.x] = keys[base + threadIdx.x];
    near[threadIdx.x + SORT_THREADS] = keys[base + threadIdx.x + SORT_THREADS];
    __syncthreads();
    for (size_t size = from; size <= to; size *= 2) {
        size_t half = size / 2;
        for (size_t distance = min(half, (size_t)SORT_THREADS); distance; distance /= 2) {
            size_t at = sort_place(threadIdx.x, distance);
            sort_pair(near[at], near[at + distance], base + at, size);
            __syncthreads();
        }
    }
    keys[base + threadIdx.x] = near[threadIdx.x];
    keys[base + threadIdx.x + SORT_THREADS] = near[threadIdx.x + SORT_THREADS];
}

static __global__ void __launch_bounds__(ROW_THREADS)
    sort_far(uint64_t *keys, size_t pairs, size_t distance, size_t size)
{
    for (size_t i = grid_thread(); i < pairs; i += grid_threads()) {
        size_t at = sort_place(i, distance);
        sort_pair(keys[at], keys[at + distance], at, size);
    }
}

// Block (i, part): if the i-th key is the first of its id, sum that id's rows over a part of the
// columns.
static __global__ void __launch_bounds__(COLUMNS)
    embedding_sum(float *dtable, const real *dx, const uint64_t *keys, int rows, int width)
{
    int c = blockIdx.y * blockDim.x + threadIdx.x;
    int i = blockIdx.x;
    uint64_t id = keys[i] >> 32;
    if ((i > 0 && keys[i - 1] >> 32 == id) || c >= width || (int32_t)id < 0)
        return;
    float *to = dtable + (size_t)id * width + c;
    float sum = *to;
    for (int j = i; j < rows && keys[j] >> 32 == id; j++)
        sum += to_float(dx[(size_t)(uint32_t)keys[j] * width + c]);
    *to = sum;
}

void embedding_bwd(float *dtable, const real *dx, const int32_t *ids, int rows, int width,
                   int vocab)
{
    assert(rows > 0 && width > 0 && vocab > 0);
    size_t padded = SORT_KEYS;
    while (padded < (size_t)rows)
        padded *= 2;
    uint64_t *keys = (uint64_t *)device_workspace(sizeof *keys * padded);
    LAUNCH(sort_keys, blocks_for(padded, ROW_THREADS), ROW_THREADS, 0, device_stream, keys, ids,
           (size_t)rows, padded);
    unsigned near_blocks = (unsigned)(padded / SORT_KEYS);
    LAUNCH(sort_near, near_blocks, SORT_THREADS, 0, device_stream, keys, (size_t)2,
           (size_t)SORT_KEYS);
    for (size_t size = 2 * SORT_KEYS; size <= padded; size *= 2) {
        for (size_t distance = size / 2; distance >= SORT_KEYS; distance /= 2)
            LAUNCH(sort_far, blocks_for(padded / 2, ROW_THREADS), ROW_THREADS, 0, device_stream,
                   keys, padded / 2, distance, size);
        LAUNCH(sort_near, near_blocks, SORT_THREADS, 0, device_stream, keys, size, size);
    }
    LAUNCH(embedding_sum, dim3((unsigned)rows, (width + COLUMNS - 1) / COLUMNS), COLUMNS, 0,
           device_stream, dtable, dx, keys, rows, width);
}

// ---- cross entropy ------------------------------------------------------------------------------

// What a stretch of logits comes to: its greatest value, that value's first place, and the sum of
// e^(x - greatest).
struct stretch {
    float most;
    int place;
    float sum;
};

static __device__ inline stretch join(stretch a, stretch b)
{
    bool first = a.most > b.most || (a.most == b.most && a.place < b.place);
    stretch more = first ? a : b, less = first ? b : a;
    if (less.sum != 0) // an empty stretch has nothing to scale, and its -inf would make a NaN
        more.sum += less.sum * expf(less.most - more.most);
    return more;
}

// The block's stretch, to every thread.
static __device__ stretch block_join(stretch s)
{
    SHARED(stretch, part, [32]);
    for (int step = 16; step; step /= 2) {
        stretch t = {__shfl_xor_sync(~0u, s.most, step), __shfl_xor_sync(~0u, s.place, step),
                     __shfl_xor_sync(~0u, s.sum, step)};
        s = join(s, t);
    }
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = s;
    __syncthreads();
    s = part[0];
    for (int w = 1; w < (int)blockDim.x / 32; w++)
        s = join(s, part[w]);
    return s;
}

// A block per row.
template <int N>
static __global__ void __launch_bounds__(ROW_THREADS)
    cross_entropy_row(float *loss, float *correct, real *dlogits, const float *logits,
                      const int32_t *target, const float *weight, int vocab)
{
    size_t r = blockIdx.x;
    const float *x = logits + r * vocab;
    real *dx = dlogits ? dlogits + r * vocab : NULL;
    float w = weight[r];
    if (w == 0) {
        if (threadIdx.x == 0)
            loss[r] = correct[r] = 0;
        for (int v = N * threadIdx.x; dx && v < vocab; v += N * blockDim.x)
            store(dx + v, pack<N>{});
        return;
    }
    stretch s = {-INFINITY, vocab, 0};
    for (int v = N * threadIdx.x; v < vocab; v += N * blockDim.x) {
        pack<N> a = load<N>(x + v);
        for (int j = 0; j < N; j++)
            s = join(s, stretch{a.v[j], v + j, 1});
    }
    s = block_join(s);
    int t = target[r];
    float at_target = x[t];
    if (threadIdx.x == 0) {
        loss[r] = logf(s.sum) + (s.most - at_target);
        correct[r] = s.place == t;
    }
    if (!dx)
        return;

    // p - 1 at the target is minus the sum of the others: exact where p is close to 1.
    float others = 0;
    for (int v = N * threadIdx.x; v < vocab; v += N * blockDim.x) {
        pack<N> a = load<N>(x + v);
        for (int j = 0; j < N; j++)
            others += v + j == t ? 0 : expf(a.v[j] - s.most);
    }
    others = block_sum(others); // its barriers also let dx be x from here on
    float factor = w / s.sum;
    for (int v = N * threadIdx.x; v < vocab; v += N * blockDim.x) {
        pack<N> a = load<N>(x + v);
        for (int j = 0; j < N; j++)
            a.v[j] = v + j == t ? -factor * others : factor * expf(a.v[j] - s.most);
        store(dx + v, a);
    }
}

void cross_entropy(float *loss, float *correct, real *dlogits, const float *logits,
                   const int32_t *target, const float *weight, int rows, int vocab)
{
    assert(rows > 0 && vocab > 0);
    auto cross_entropy_kernel =
        in_fours(vocab, dlogits, logits) ? cross_entropy_row<4> : cross_entropy_row<1>;
    LAUNCH(cross_entropy_kernel, (unsigned)rows, ROW_THREADS, 0, device_stream, loss, correct,
           dlogits, logits, target, weight, vocab);
}
