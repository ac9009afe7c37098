// cuda/ttt_linear_decode.cu -- TTT-Linear one token at a time: a block per sequence and head.
//
// The state of a sequence and head is W, b, then the keys and the weighted gradients g_j G_j of the
// current mini-batch: W is read once a token and written once a mini-batch.
#include "inner.cuh"

static inline __device__ __host__ size_t decode_floats(int head_dim, int mini_batch)
{
    return (size_t)head_dim * head_dim + head_dim + 2 * (size_t)mini_batch * head_dim;
}

size_t ttt_linear_decode_bytes(int head_dim, int mini_batch)
{
    return sizeof(float) * decode_floats(head_dim, mini_batch);
}

static __global__ void __launch_bounds__(ROW_THREADS)
    ttt_linear_decode_begin_each(float *state, const float *last, ttt_params p, ttt_shape s)
{
    const size_t f = s.head_dim, size = decode_floats(s.head_dim, s.mini_batch);
    const size_t count = (size_t)s.batch * s.heads * size;
    for (size_t i = grid_thread(); i < count; i += grid_threads()) {
        size_t chain = i / size, head = chain % s.heads, at = i % size;
        if (at >= f * f + f)
            state[i] = 0;
        else if (last)
            state[i] = last[chain * (f * f + f) + at];
        else
            state[i] = at < f * f ? p.w1[head * f * f + at] : p.b1[head * f + at - f * f];
    }
}

void ttt_linear_decode_begin(void *state, const float *last, const struct ttt_params *p,
                             const struct ttt_shape *s)
{
    inner_check_token(s);
    size_t count = (size_t)s->batch * s->heads * decode_floats(s->head_dim, s->mini_batch);
    LAUNCH(ttt_linear_decode_begin_each, blocks_for(count, ROW_THREADS), ROW_THREADS, 0,
           device_stream, (float *)state, last, *p, *s);
}

// Every thread receives the sum of its columns over the rows of threads, in order.
// sums [ROWS][F]; a barrier lies between two calls.
template <int F> static __device__ inline float4 rows_sum(float *sums, float4 v, const place<F> &at)
{
    if (at.active)
        store4(sums + at.row * F + at.column, v);
    __syncthreads();
    v = load4(sums + at.column);
    for (int row = 1; row < inner<F>::ROWS; row++)
        v = v + load4(sums + row * F + at.column);
    return v;
}

// Rows of threads share the rows of W, then the kept tokens; what belongs to the one token in hand
// is computed by all of them alike.
template <int F>
static __global__ void __launch_bounds__(inner<F>::THREADS)
    ttt_linear_decode_chain(real *out, float *state, const real *q, const real *k, const real *v,
                            const float *sigma, const int32_t *position, ttt_params params,
                            ttt_shape s)
{
    constexpr int ROWS = inner<F>::ROWS;
    SHARED(float, sums, [ROWS * F]);
    const place<F> at;
    const size_t number = blockIdx.x, head = number % s.heads, param = head * F;
    if (position[number / s.heads] < 0)
        return;
    const int now = position[number / s.heads] % s.mini_batch;
    const size_t here = number * F + at.column;
    float *w = state + number * decode_floats(F, s.mini_batch), *b = w + F * F;
    float *keys = b + F, *grads = keys + (size_t)s.mini_batch * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);
    const float4 x = load4(k + here), y = load4(q + here);
    const float t = token_weight(params.token_idx, now);

    float4 z = four(0), zb = four(0);
    for (int i = at.row; i < F; i += ROWS) {
        float4 wi = load4(w + i * F + at.column);
        z = fma4(to_float(k[number * F + i]), wi, z);
        zb = fma4(to_float(q[number * F + i]), wi, zb);
    }
    const float4 b0 = load4(b + at.column);
    z = rows_sum<F>(sums, z, at) + b0;
    gradient d = inner_gradient<F>(z, x, load4(v + here), scale, bias, s.eps, at);
    if (at.row == 0 && at.active) {
        store4(keys + now * F + at.column, x);
        store4(grads + now * F + at.column, s.rate * sigma[number] * d.g);
    }
    __syncthreads();

    for (int first = 0; first <= now; first += ROWS) {
        int j = min(first + at.row, now);
        float score = at.row_sum(dot4(y, load4(keys + j * F + at.column))) + 1;
        if (first + at.row <= now)
            zb = fma4(-t * score, load4(grads + j * F + at.column), zb);
    }
    zb = rows_sum<F>(sums, zb, at) + b0;
    at.normalise(zb, s.eps);
    if (at.row == 0 && at.active)
        store4(out + here, y + scale * zb + bias);
    if (now + 1 < s.mini_batch)
        return;

    for (int i = at.row; i < F && at.active; i += ROWS) {
        float4 sum = load4(w + i * F + at.column);
        for (int j = 0; j <= now; j++)
            sum = fma4(-t * keys[j * F + i], load4(grads + j * F + at.column), sum);
        store4(w + i * F + at.column, sum);
    }
    if (at.row == 0 && at.active) {
        float4 sum = b0;
        for (int j = 0; j <= now; j++)
            sum = fma4(-t, load4(grads + j * F + at.column), sum);
        store4(b + at.column, sum);
    }
}

template <int F>
static void launch_decode(real *out, void *state, const real *q, const real *k, const real *v,
                          const float *sigma, const int32_t *position, const struct ttt_params *p,
                          const struct ttt_shape *s)
{
    LAUNCH((ttt_linear_decode_chain<F>), s->batch * s->heads, inner<F>::THREADS, 0, device_stream,
           out, (float *)state, q, k, v, sigma, position, *p, *s);
}

void ttt_linear_decode(real *out, void *state, const real *q, const real *k, const real *v,
                       const float *sigma, const int32_t *position, const struct ttt_params *p,
                       const struct ttt_shape *s)
{
    inner_check_token(s);
    inner_check_aligned(out, q, k, v, (float *)state);
    WITH_HEAD_DIM(s->head_dim, launch_decode, out, state, q, k, v, sigma, position, p, s);
}
