// cuda/ttt_mlp_decode.cu -- TTT-MLP one token at a time: a block per sequence and head.
//
// The state of a sequence and head is W1, b1, W2, b2, then what the current mini-batch has learned:
// the rows k_j, g_j G1_j, X2_j and g_j G2_j, applied at its end.
#include "inner_mlp.cuh"

static inline __device__ __host__ size_t decode_floats(int head_dim, int mini_batch)
{
    size_t f = head_dim;
    return 8 * f * f + 5 * f + 10 * (size_t)mini_batch * f;
}

size_t ttt_mlp_decode_bytes(int head_dim, int mini_batch)
{
    return sizeof(float) * decode_floats(head_dim, mini_batch);
}

template <int F>
static __global__ void __launch_bounds__(MLP_THREADS)
    ttt_mlp_decode_begin_chain(float *state, const float *last, ttt_params p, ttt_shape s)
{
    const size_t size = decode_floats(F, s.mini_batch);
    state += blockIdx.x * size;
    if (last)
        for (size_t i = threadIdx.x; i < mlp<F>::STATE; i += blockDim.x)
            state[i] = last[blockIdx.x * (size_t)mlp<F>::STATE + i];
    else
        mlp_begin<F>(state, p, blockIdx.x % s.heads);
    for (size_t i = mlp<F>::STATE + threadIdx.x; i < size; i += blockDim.x)
        state[i] = 0;
}

template <int F>
static void launch_begin(void *state, const float *last, const struct ttt_params *p,
                         const struct ttt_shape *s)
{
    LAUNCH((ttt_mlp_decode_begin_chain<F>), s->batch * s->heads, MLP_THREADS, 0, device_stream,
           (float *)state, last, *p, *s);
}

void ttt_mlp_decode_begin(void *state, const float *last, const struct ttt_params *p,
                          const struct ttt_shape *s)
{
    inner_check_token(s);
    WITH_HEAD_DIM(s->head_dim, launch_begin, state, last, p, s);
}

enum { SUMS = 4 * MLP_THREADS };

// y = a W + b for W [K][N] and b after it: parts of the block share the rows of W, and their sums
// [SUMS] are added in order. A barrier lies before; y is there for all after it.
template <int N, int K>
static __device__ inline void row_times(float *y, float *sums, const float *a, const float *w)
{
    constexpr int PARTS = MLP_THREADS / (N / 4);
    const int part = threadIdx.x / (N / 4), column = threadIdx.x % (N / 4) * 4;
    if (part < PARTS) {
        float4 sum = four(0);
        UNROLL_4
        for (int k = part; k < K; k += PARTS)
            sum = fma4(a[k], load4(w + k * N + column), sum);
        store4(sums + part * N + column, sum);
    }
    __syncthreads();
    for (int c = threadIdx.x; c < N; c += blockDim.x) {
        float sum = w[K * N + c];
        for (int p = 0; p < PARTS; p++)
            sum += sums[p * N + c];
        y[c] = sum;
    }
    __syncthreads();
}

// score[j] = x . rows_j + 1 for j <= now; rows [][N]
template <int F, int N>
static __device__ inline void row_scores(float *score, const float *x, const float *rows, int now,
                                         const place<F> &at)
{
    for (int first = 0; first <= now; first += mlp<F>::ROWS) {
        int j = min(first + at.row, now);
        float dot = 0;
        for (int c = at.column; c < N; c += F)
            dot += dot4(load4(x + c), load4(rows + j * N + c));
        dot = at.row_sum(dot);
        if (at.lane == 0 && at.active && first + at.row <= now)
            score[j] = dot + 1;
    }
}

// W -= t rows^T learned, b -= t times the sum of learned, for W [M][N] and b after it.
template <int M, int N>
static __device__ inline void apply_learned(float *w, const float *rows, const float *learned,
                                            const float *minus_t, int tokens)
{
    matrix_add<M, N, N, N>(w, w, tokens, outer{rows, M, learned, N, minus_t});
    for (int c = threadIdx.x; c < N; c += blockDim.x) {
        float sum = w[M * N + c];
        for (int j = 0; j < tokens; j++)
            sum = fmaf(minus_t[j], learned[j * N + c], sum);
        w[M * N + c] = sum;
    }
}

template <int F>
static __global__ void __launch_bounds__(MLP_THREADS, 1)
    ttt_mlp_decode_chain(real *out, float *state, const real *q, const real *k, const real *v,
                         const float *sigma, const int32_t *position, ttt_params params,
                         ttt_shape s)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN;
    SHARED(float, x, [F]);
    SHARED(float, y, [F]);
    SHARED(float, z, [F]);
    SHARED(float, g2, [F]);
    SHARED(float, z1, [HIDDEN]);
    SHARED(float, z1b, [HIDDEN]);
    SHARED(float, x2, [HIDDEN]);
    SHARED(float, score, [INNER_TOKENS_MAX]);
    SHARED(float, sums, [SUMS]);
    const place<F> at;
    const int tokens = s.mini_batch, read = position[blockIdx.x / s.heads], now = read % tokens;
    if (read < 0)
        return;
    const size_t number = blockIdx.x, param = number % s.heads * F, here = number * F + at.column;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);
    const float t = token_weight(params.token_idx, now), rate = s.rate * sigma[number];
    state += number * decode_floats(F, tokens);
    float *w1 = state + mlp<F>::W1, *w2 = state + mlp<F>::W2, *keys = state + mlp<F>::STATE;
    float *learned1 = keys + tokens * F, *x2s = learned1 + tokens * HIDDEN;
    float *learned2 = x2s + tokens * HIDDEN;

    for (int c = threadIdx.x; c < F; c += blockDim.x) {
        x[c] = keys[now * F + c] = to_float(k[number * F + c]);
        y[c] = to_float(q[number * F + c]);
    }
    __syncthreads();

    // the token's own inner gradient
    row_times<HIDDEN, F>(z1, sums, x, w1);
    row_times<HIDDEN, F>(z1b, sums, y, w1);
    for (int c = threadIdx.x; c < HIDDEN; c += blockDim.x)
        x2[c] = x2s[now * HIDDEN + c] = gelu::value(z1[c]);
    __syncthreads();
    row_times<F, HIDDEN>(z, sums, x2, w2);
    gradient d = inner_gradient<F>(load4(z + at.column), load4(x + at.column), load4(v + here),
                                   scale, bias, s.eps, at);
    if (at.row == 0 && at.active) {
        store4(g2 + at.column, d.g);
        store4(learned2 + now * F + at.column, rate * d.g);
    }
    __syncthreads();
    rows_back<HIDDEN, F, F>(g2, 0, w2, 1, [&](int, int c, float h) {
        learned1[now * HIDDEN + c] = rate * h * gelu::first(z1[c]);
    });

    // its output, with what the mini-batch has learned
    row_scores<F, F>(score, y, keys, now, at);
    __syncthreads();
    for (int c = threadIdx.x; c < HIDDEN; c += blockDim.x) {
        float sum = z1b[c];
        for (int j = 0; j <= now; j++)
            sum = fmaf(-t * score[j], learned1[j * HIDDEN + c], sum);
        z1b[c] = gelu::value(sum);
    }
    __syncthreads();
    row_scores<F, HIDDEN>(score, z1b, x2s, now, at);
    row_times<F, HIDDEN>(z, sums, z1b, w2);
    float4 zb = load4(z + at.column);
    for (int j = 0; j <= now; j++)
        zb = fma4(-t * score[j], load4(learned2 + j * F + at.column), zb);
    at.normalise(zb, s.eps);
    if (at.row == 0 && at.active)
        store4(out + here, load4(y + at.column) + scale * zb + bias);
    if (now + 1 < tokens)
        return;

    __syncthreads(); // score has been read
    for (int j = threadIdx.x; j < tokens; j += blockDim.x)
        score[j] = -t;
    __syncthreads();
    apply_learned<F, HIDDEN>(w1, keys, learned1, score, tokens);
    apply_learned<HIDDEN, F>(w2, x2s, learned2, score, tokens);
}

template <int F>
static void launch_decode(real *out, void *state, const real *q, const real *k, const real *v,
                          const float *sigma, const int32_t *position, const struct ttt_params *p,
                          const struct ttt_shape *s)
{
    LAUNCH((ttt_mlp_decode_chain<F>), s->batch * s->heads, MLP_THREADS, 0, device_stream, out,
           (float *)state, q, k, v, sigma, position, *p, *s);
}

void ttt_mlp_decode(real *out, void *state, const real *q, const real *k, const real *v,
                    const float *sigma, const int32_t *position, const struct ttt_params *p,
                    const struct ttt_shape *s)
{
    inner_check_token(s);
    inner_check_aligned(out, q, k, v, (float *)state);
    WITH_HEAD_DIM(s->head_dim, launch_decode, out, state, q, k, v, sigma, position, p, s);
}
