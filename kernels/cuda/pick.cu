// cuda/pick.cu -- choose tokens from logits: a block per row, whatever the vocabulary.
//
// Weights are whole numbers, so that sums are exact in any order and may be added atomically. The
// token at which a sum in the order of likelihood passes a number is found without sorting: sums by
// the first digit of a key that grows as tokens get less likely tell the digit, then those of the
// keys that begin with it the next.
#include "kernels.h"

#include "device.h"
#include "launch.cuh"
#include "reduce.cuh"

#include <assert.h>

typedef unsigned long long whole;

// A vocabulary of 2^18 tokens that are all as likely as can be adds up to less than 2^63.
enum { PICK_THREADS = 1024, UNIT_BITS = 44, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS };

bool has_pick(void)
{
    return true;
}

// ---- keys and weights ---------------------------------------------------------------------------

// The largest logit of a row and the first place it has; -1 where a logit is not finite.
struct largest {
    float most;
    int32_t first;
};

// Grows as x falls; both zeros have one.
static __device__ inline unsigned key_of(float x)
{
    unsigned bits = __float_as_uint(x + 0.0f);
    return bits >> 31 ? bits : ~(bits | 1u << 31);
}

static __device__ inline float logit_of(unsigned key)
{
    return __uint_as_float(key >> 31 ? key : ~key & ~(1u << 31));
}

static __device__ inline whole weigh(float x, float most, double temperature)
{
    double unit = (double)((whole)1 << UNIT_BITS);
    return (whole)(exp(((double)x - (double)most) / temperature) * unit + 0.5);
}

static __global__ void __launch_bounds__(PICK_THREADS)
    pick_largest(largest *to, const float *logits, int vocab, int stride)
{
    SHARED(whole, part, [32]);
    const float *x = logits + (size_t)blockIdx.x * stride;
    whole best = ~(whole)0;
    for (int v = threadIdx.x; v < vocab; v += blockDim.x)
        best = min(best, isfinite(x[v]) ? (whole)key_of(x[v]) << 32 | (unsigned)v : (whole)0);
    for (int step = 16; step; step /= 2)
        best = min(best, __shfl_xor_sync(~0u, best, step));
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = best;
    __syncthreads();
    if (threadIdx.x)
        return;
    for (int warp = 1; warp < PICK_THREADS / 32; warp++)
        best = min(best, part[warp]);
    to[blockIdx.x] = {logit_of((unsigned)(best >> 32)), best ? (int32_t)(best & ~0u) : -1};
}

static __global__ void __launch_bounds__(ROW_THREADS)
    pick_weigh(whole *weights, const largest *tops, const float *logits, double temperature,
               int rows, int vocab, int stride)
{
    for (size_t i = grid_thread(); i < (size_t)rows * vocab; i += grid_threads()) {
        const size_t r = i / vocab;
        weights[i] = tops[r].first < 0
                         ? 0
                         : weigh(logits[r * stride + i % vocab], tops[r].most, temperature);
    }
}

// ---- sums by digits -----------------------------------------------------------------------------

// A whole number in shared memory to which threads add. Of 32 bits that is one instruction; of 64 a
// loop that waits its turn among all threads with the same digit.
struct halves {
    unsigned low, high;
};

static __device__ inline void add_whole(halves *to, whole v)
{
    const unsigned low = (unsigned)v, before = atomicAdd(&to->low, low);
    const unsigned high = (unsigned)(v >> 32) + (before + low < low);
    if (high)
        atomicAdd(&to->high, high);
}

static __device__ inline whole joined(halves v)
{
    return (whole)v.high << 32 | v.low;
}

// ---- places in an order -------------------------------------------------------------------------

// The sum of v over the threads before this one. A barrier lies before and after.
static __device__ inline whole sum_before(whole v)
{
    SHARED(whole, part, [32]);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    whole sum = v;
    for (int step = 1; step < 32; step *= 2) {
        whole before = __shfl_sync(~0u, sum, max(lane - step, 0));
        if (lane >= step)
            sum += before;
    }
    __syncthreads();
    if (lane == 31)
        part[warp] = sum;
    __syncthreads();
    for (int w = 0; w < warp; w++)
        sum += part[w];
    return sum - v;
}

// A token, and what it comes to with those of smaller ids.
struct id_place {
    int id;
    whole reached;
};

// The first token, by id, at which the sum of measure(v) exceeds target, which that of all does.
template <class Measure>
static __device__ inline id_place find_id(int vocab, whole target, Measure measure)
{
    SHARED(id_place, found, [1]);
    const int each = (vocab + PICK_THREADS - 1) / PICK_THREADS;
    const int begin = min((int)threadIdx.x * each, vocab), end = min(begin + each, vocab);
    whole mine = 0;
    for (int v = begin; v < end; v++)
        mine += measure(v);
    whole sum = sum_before(mine);
    if (sum <= target && target < sum + mine)
        for (int v = begin; v < end; v++) {
            sum += measure(v);
            if (target < sum) {
                found[0] = {v, sum};
                break;
            }
        }
    __syncthreads();
    return found[0];
}

// A key, and what the tokens of smaller keys come to.
struct key_place {
    unsigned key;
    whole before;
};

// The key at which the sum of measure(v), likeliest first, exceeds target, which that of all does.
// sums [DIGITS] is shared memory.
template <class Measure>
static __device__ inline key_place find_key(const float *x, int vocab, whole target, halves *sums,
                                            Measure measure)
{
    SHARED(key_place, found, [1]);
    key_place place = {0, 0};
    for (int left = 32; left > 0;) { // bits of the key that are not known yet
        const int bits = min(left, (int)DIGIT_BITS), shift = left - bits;
        for (int i = threadIdx.x; i < DIGITS; i += blockDim.x)
            sums[i] = {0, 0};
        __syncthreads();
        for (int v = threadIdx.x; v < vocab; v += blockDim.x) {
            const unsigned key = key_of(x[v]);
            if (left == 32 || key >> left == place.key)
                add_whole(&sums[key >> shift & ((1u << bits) - 1)], measure(v));
        }
        __syncthreads();
        const whole even = joined(sums[2 * threadIdx.x]), odd = joined(sums[2 * threadIdx.x + 1]);
        whole before = place.before + sum_before(even + odd);
        if (before <= target && target < before + even + odd) {
            const bool second = target >= before + even;
            found[0] = {place.key << bits | (2 * threadIdx.x + second),
                        before + (second ? even : 0)};
        }
        __syncthreads();
        place = found[0];
        left = shift;
        __syncthreads();
    }
    return place;
}

// ---- the choice ---------------------------------------------------------------------------------

// The weight that top_k, top_p and min_p leave of a row: that of its likeliest tokens.
static __device__ inline whole weight_left(const float *x, const whole *weight, whole all,
                                           float most, const pick_rule &rule, int vocab,
                                           halves *sums)
{
    auto of = [&](int v) { return weight[v]; };
    whole left = all;
    if (rule.top_k > 0 && rule.top_k < vocab) {
        const whole target = (whole)rule.top_k - 1;
        key_place last = find_key(x, vocab, target, sums, [](int) { return (whole)1; });
        whole sum = 0;
        for (int v = threadIdx.x; v < vocab; v += blockDim.x)
            sum += key_of(x[v]) < last.key ? weight[v] : 0;
        left = block_sum(sum) +
               (target - last.before + 1) * weigh(logit_of(last.key), most, rule.temperature);
    }
    if (rule.top_p < 1) {
        const whole reach = (whole)ceil(rule.top_p * (double)left), target = reach ? reach - 1 : 0;
        key_place last = find_key(x, vocab, target, sums, of);
        id_place end = find_id(vocab, target - last.before,
                               [&](int v) { return key_of(x[v]) == last.key ? weight[v] : 0; });
        left = min(left, last.before + end.reached);
    }
    if (rule.min_p > 0) {
        const double least = rule.min_p * (double)((whole)1 << UNIT_BITS);
        whole sum = 0;
        for (int v = threadIdx.x; v < vocab; v += blockDim.x)
            sum += (double)weight[v] >= least ? weight[v] : 0;
        left = min(left, block_sum(sum));
    }
    return left;
}

static __global__ void __launch_bounds__(PICK_THREADS, 1)
    pick_choose(int32_t *id, const largest *tops, const whole *weights, const float *logits,
                const double *draw, pick_rule rule, int vocab, int stride)
{
    SHARED(halves, sums, [DIGITS]);
    const size_t r = blockIdx.x;
    const float *x = logits + r * stride;
    const whole *weight = weights + r * vocab;
    const largest top = tops[r];
    auto of = [&](int v) { return weight[v]; };
    int chosen = top.first;
    if (chosen >= 0 && rule.temperature > 0) {
        whole all = 0;
        for (int v = threadIdx.x; v < vocab; v += blockDim.x)
            all += weight[v];
        all = block_sum(all);
        if (!rule.top_k && rule.top_p >= 1 && !(rule.min_p > 0)) {
            chosen = find_id(vocab, (whole)(draw[r] * (double)all), of).id;
        } else {
            whole left = weight_left(x, weight, all, top.most, rule, vocab, sums);
            const whole target = (whole)(draw[r] * (double)left);
            key_place at = find_key(x, vocab, target, sums, of);
            chosen = find_id(vocab, target - at.before, [&](int v) {
                         return key_of(x[v]) == at.key ? weight[v] : 0;
                     }).id;
        }
    }
    if (threadIdx.x == 0)
        id[r] = chosen;
}

size_t pick_workspace_bytes(int rows, int vocab)
{
    return (sizeof(whole) * (size_t)vocab + sizeof(largest)) * (size_t)rows;
}

void pick(int32_t *id, const float *logits, const double *draw, const struct pick_rule *rule,
          int rows, int vocab, int stride)
{
    assert(rows > 0 && vocab > 0 && vocab <= 1 << 18 && stride >= vocab);
    const size_t count = (size_t)rows * vocab;
    whole *weights = (whole *)device_workspace(pick_workspace_bytes(rows, vocab));
    largest *tops = (largest *)(weights + count);
    LAUNCH(pick_largest, (unsigned)rows, PICK_THREADS, 0, device_stream, tops, logits, vocab,
           stride);
    if (rule->temperature > 0)
        LAUNCH(pick_weigh, blocks_for(count, ROW_THREADS), ROW_THREADS, 0, device_stream, weights,
               tops, logits, rule->temperature, rows, vocab, stride);
    LAUNCH(pick_choose, (unsigned)rows, PICK_THREADS, 0, device_stream, id, tops, weights, logits,
           draw, *rule, vocab, stride);
}
