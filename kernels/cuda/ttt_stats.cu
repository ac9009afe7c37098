// cuda/ttt_stats.cu -- how well the inner model fits, for people: a block per sequence and head.
#include "inner_linear.cuh"
#include "inner_mlp.cuh"

#include "device.h"

template <int F> struct stats_shared {
    float *w, *b, *w0, *b0, *x, *g, *t, *minus_s;

    __device__ stats_shared(float *at, int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE;
        w = shared_take(at, F * inner<F>::STRIDE);
        b = shared_take(at, F);
        w0 = shared_take(at, F * inner<F>::STRIDE);
        b0 = shared_take(at, F);
        x = shared_take(at, tile);
        g = shared_take(at, tile);
        t = shared_take(at, tokens);
        minus_s = shared_take(at, tokens);
    }

    static size_t bytes(int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE;
        return sizeof(float) * 2 *
               (shared_floats(F * inner<F>::STRIDE) + shared_floats(F) + shared_floats(tile) +
                shared_floats(tokens));
    }
};

// Sum of (LN(x W + b) - (v - x))^2 over the head's columns, by one warp.
template <int F>
static __device__ inline float row_error(const float *x, float4 v, const float *w, const float *b,
                                         float4 scale, float4 bias, float eps, const place<F> &at)
{
    float4 z = load4(b + at.column);
    times<F, inner<F>::STRIDE>(z, x, w, at.column);
    at.normalise(z, eps);
    float4 e = scale * z + bias - (v - load4(x + at.column));
    return at.row_sum(dot4(e, e));
}

// sums [chains][3][steps]
template <int F>
static __global__ void __launch_bounds__(inner<F>::THREADS, 2)
    ttt_linear_stats_chain(float *sums, const real *k, const real *v, const float *sigma,
                           ttt_params params, ttt_shape s)
{
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const stats_shared<F> m(memory, tokens);
    const chain head(s);
    const place<F> at;
    const size_t param = (size_t)head.head * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);
    sums += head.number * 3 * steps;

    load_state<F>(m.w, m.b, params.w1 + param * F, params.b1 + param);
    load_state<F>(m.w0, m.b0, params.w1 + param * F, params.b1 + param);
    load_token_weights(m.t, params.token_idx, tokens);
    __syncthreads();
    for (int c = 0; c < steps; c++) {
        const size_t token = (size_t)c * tokens, here = head.first + token * head.row;
        load_rows<F>(m.x, k + here, head.row, tokens);
        for (int j = threadIdx.x; j < tokens; j += blockDim.x)
            m.minus_s[j] = -m.t[tokens - 1] * (s.rate * sigma[head.number * s.seq + token + j]);
        __syncthreads();
        const float *x = m.x + (tokens - 1) * inner<F>::STRIDE;
        const float4 target = load4(v + here + (tokens - 1) * head.row + at.column);
        float initial = 0, before = 0;
        if (threadIdx.x < 32) {
            initial = row_error<F>(x, target, m.w0, m.b0, scale, bias, s.eps, at);
            before = row_error<F>(x, target, m.w, m.b, scale, bias, s.eps, at);
        }
        gradient_rows<F>(m.g, m.x, m.w, m.b, v + here, head.row, scale, bias, s.eps, tokens, at);
        __syncthreads();
        state_update<F>(m.w, m.b, m.x, m.g, m.minus_s, tokens);
        __syncthreads();
        if (threadIdx.x < 32) {
            float after = row_error<F>(x, target, m.w, m.b, scale, bias, s.eps, at);
            if (threadIdx.x == 0) {
                sums[c] = initial;
                sums[steps + c] = before;
                sums[2 * steps + c] = after;
            }
        }
        __syncthreads(); // before the next rows
    }
}

// ---- TTT-MLP
// ---------------------------------------------------------------------------------------

struct mlp_stats_tiles {
    float *x, *g2, *z1, *x2, *t, *rate, *minus_s;

    __device__ mlp_stats_tiles(float *at, bool shared, int head_dim, int tokens)
    {
        size_t narrow = (size_t)tokens * (head_dim + 4), wide = (size_t)tokens * (4 * head_dim + 4);
        x = arena_take(at, narrow, shared);
        g2 = arena_take(at, narrow, shared);
        z1 = arena_take(at, wide, shared);
        x2 = arena_take(at, wide, shared);
        t = arena_take(at, tokens, shared);
        rate = arena_take(at, tokens, shared);
        minus_s = arena_take(at, tokens, shared);
    }

    static __device__ __host__ size_t floats(const ttt_shape &s)
    {
        return arena_floats(s.head_dim, s.mini_batch, 2, 2, 0, 3);
    }
};

// As row_error, by the whole block. The tiles of Z1 and G2 are overwritten; a barrier lies before
// and after.
template <int F>
static __device__ inline float mlp_error(const mlp_stats_tiles &m, const float *state,
                                         const float *x, float4 v, float4 scale, float4 bias,
                                         float eps, const place<F> &at)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN;
    rows_times<HIDDEN, F, HIDDEN, 1>(x, 0, state + mlp<F>::W1, 1, [&](int, int column, float4 z) {
        store4(m.z1 + column, gelu4(z + load4(state + mlp<F>::B1 + column)));
    });
    __syncthreads();
    rows_times<F, HIDDEN, F, 1>(m.z1, 0, state + mlp<F>::W2, 1, [&](int, int column, float4 z) {
        store4(m.g2 + column, z + load4(state + mlp<F>::B2 + column));
    });
    __syncthreads();
    float4 z = load4(m.g2 + at.column);
    at.normalise(z, eps);
    float4 e = scale * z + bias - (v - load4(x + at.column));
    float error = at.row_sum(dot4(e, e));
    __syncthreads();
    return error;
}

// sums [chains][3][steps]; states [chains][2][STATE]: as it learns, and as it began
template <int F>
static __global__ void __launch_bounds__(MLP_THREADS, 1)
    ttt_mlp_stats_chain(float *sums, float *states, float *far, const real *k, const real *v,
                        const float *sigma, ttt_params params, ttt_shape s)
{
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const chain head(s);
    const mlp_stats_tiles m(far ? far + head.number * mlp_stats_tiles::floats(s) : memory, !far, F,
                            tokens);
    const mlp_learned l = {m.x, m.z1, m.x2, m.z1, NULL, m.g2, NULL, NULL};
    const place<F> at;
    const size_t param = (size_t)head.head * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);
    float *state = states + head.number * 2 * mlp<F>::STATE, *begin = state + mlp<F>::STATE;
    sums += head.number * 3 * steps;

    mlp_begin<F>(state, params, head.head);
    mlp_begin<F>(begin, params, head.head);
    load_token_weights(m.t, params.token_idx, tokens);
    __syncthreads();
    for (int c = 0; c < steps; c++) {
        const size_t token = (size_t)c * tokens, here = head.first + token * head.row;
        load_rows<F>(m.x, k + here, head.row, tokens);
        load_rates(m.rate, m.minus_s, m.t, sigma + head.number * s.seq + token, s);
        __syncthreads();
        const float *x = m.x + (tokens - 1) * inner<F>::STRIDE;
        const float4 target = load4(v + here + (tokens - 1) * head.row + at.column);
        float initial = mlp_error<F>(m, begin, x, target, scale, bias, s.eps, at);
        float before = mlp_error<F>(m, state, x, target, scale, bias, s.eps, at);
        mlp_learn<F>(l, state, v + here, head.row, scale, bias, s.eps, tokens, at);
        __syncthreads();
        mlp_update<F, false, false>(state, state, l, m.minus_s, tokens);
        __syncthreads();
        float after = mlp_error<F>(m, state, x, target, scale, bias, s.eps, at);
        if (threadIdx.x == 0) {
            sums[c] = initial;
            sums[steps + c] = before;
            sums[2 * steps + c] = after;
        }
    }
}

// ---- means
// ---------------------------------------------------------------------------------------------

// curve[i] = the chains' mean of sums [chains][count], in order
static __global__ void __launch_bounds__(ROW_THREADS)
    chains_mean(float *curve, const float *sums, size_t chains, int count, int head_dim)
{
    for (size_t i = grid_thread(); i < (size_t)count; i += grid_threads()) {
        double total = 0;
        for (size_t n = 0; n < chains; n++)
            total += sums[n * count + i];
        curve[i] = (float)(total / ((double)chains * head_dim));
    }
}

static void means(float *curve, const float *sums, int count, const struct ttt_shape *s)
{
    LAUNCH(chains_mean, blocks_for((size_t)count, ROW_THREADS), ROW_THREADS, 0, device_stream,
           curve, sums, (size_t)s->batch * s->heads, count, s->head_dim);
}

static float *sums_room(int count, const struct ttt_shape *s)
{
    return (float *)device_workspace(sizeof(float) * s->batch * s->heads * count);
}

template <int F>
static void launch_stats(float *sums, const real *k, const real *v, const float *sigma,
                         const struct ttt_params *p, const struct ttt_shape *s)
{
    size_t bytes = stats_shared<F>::bytes(s->mini_batch);
    allow_shared(ttt_linear_stats_chain<F>, bytes);
    LAUNCH((ttt_linear_stats_chain<F>), s->batch * s->heads, inner<F>::THREADS, bytes,
           device_stream, sums, k, v, sigma, *p, *s);
}

void ttt_linear_stats(float *curve, const real *k, const real *v, const float *sigma,
                      const struct ttt_params *p, const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(k, v);
    int count = 3 * (s->seq / s->mini_batch);
    float *sums = sums_room(count, s);
    WITH_HEAD_DIM(s->head_dim, launch_stats, sums, k, v, sigma, p, s);
    means(curve, sums, count, s);
}

template <int F>
static void launch_mlp_stats(float *curve, const real *k, const real *v, const float *sigma,
                             const struct ttt_params *p, const struct ttt_shape *s)
{
    const size_t chains = (size_t)s->batch * s->heads, tiles = mlp_stats_tiles::floats(*s);
    const int count = 3 * (s->seq / s->mini_batch);
    const bool near = shared_fits(ttt_mlp_stats_chain<F>, sizeof(float) * tiles);
    float *states = (float *)device_workspace(sizeof *states * chains *
                                              (2 * mlp<F>::STATE + (near ? 0 : tiles) + count));
    float *far = states + chains * 2 * mlp<F>::STATE, *sums = near ? far : far + chains * tiles;
    LAUNCH((ttt_mlp_stats_chain<F>), chains, MLP_THREADS, near ? sizeof(float) * tiles : 0,
           device_stream, sums, states, near ? NULL : far, k, v, sigma, *p, *s);
    means(curve, sums, count, s);
}

void ttt_mlp_stats(float *curve, const real *k, const real *v, const float *sigma,
                   const struct ttt_params *p, const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(k, v);
    WITH_HEAD_DIM(s->head_dim, launch_mlp_stats, curve, k, v, sigma, p, s);
}

// ---- the target's variance
// ------------------------------------------------------------------------

enum { TARGET_ROWS = 8, COLUMNS = 32, TARGET_THREADS = TARGET_ROWS * COLUMNS };

// sums [chains][steps]. Rows of threads share the tokens, 32 columns at a time.
static __global__ void __launch_bounds__(TARGET_THREADS, 1)
    target_variance_chain(float *sums, const real *k, const real *v, ttt_shape s)
{
    SHARED(double, part, [TARGET_ROWS][COLUMNS]);
    const int steps = s.seq / s.mini_batch;
    const int row = threadIdx.x / COLUMNS, lane = threadIdx.x % COLUMNS;
    const chain head(s);
    sums += head.number * steps;
    for (int first = 0; first < s.head_dim; first += COLUMNS) {
        const int f = first + lane;
        const bool mine = f < s.head_dim;
        double sum = 0;
        for (int t = row; t < s.seq && mine; t += TARGET_ROWS) {
            size_t i = head.first + t * head.row + f;
            sum += to_float(v[i]) - to_float(k[i]);
        }
        part[row][lane] = sum;
        __syncthreads();
        double mean = part[0][lane];
        for (int r = 1; r < TARGET_ROWS; r++)
            mean += part[r][lane];
        mean /= s.seq;
        __syncthreads(); // before the next columns
        for (int c = row; c < steps; c += TARGET_ROWS) {
            size_t i = head.first + (size_t)c * s.mini_batch * head.row + f;
            float d = mine ? (float)(to_float(v[i]) - to_float(k[i]) - mean) : 0;
            float squares = lanes_sum<32>(d * d);
            if (lane == 0)
                sums[c] = first ? sums[c] + squares : squares;
        }
    }
}

void ttt_target_variance(float *curve, const real *k, const real *v, const struct ttt_shape *s)
{
    assert(s->batch > 0 && s->heads > 0 && s->head_dim > 0 && s->seq > 0);
    assert(s->mini_batch > 0 && s->seq % s->mini_batch == 0);
    int count = s->seq / s->mini_batch;
    float *sums = sums_room(count, s);
    LAUNCH(target_variance_chain, s->batch * s->heads, TARGET_THREADS, 0, device_stream, sums, k, v,
           *s);
    means(curve, sums, count, s);
}
