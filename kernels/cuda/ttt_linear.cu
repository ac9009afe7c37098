// cuda/ttt_linear.cu -- TTT-Linear forward: a block per sequence and head, the state in shared
// memory, fp32 throughout.
#include "inner_linear.cuh"

int ttt_mini_batch_most(void)
{
    return INNER_TOKENS_MAX;
}

size_t ttt_linear_state_floats(int head_dim)
{
    return (size_t)head_dim * head_dim + head_dim;
}

size_t ttt_linear_kept_floats(const struct ttt_shape *s)
{
    return (size_t)s->batch * s->heads * inner_groups(*s) * ttt_linear_state_floats(s->head_dim);
}

template <int F> struct fwd_shared {
    float *w, *b, *q, *x, *g, *zb, *p, *t, *rate, *minus_s;

    __device__ fwd_shared(float *at, int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE;
        w = shared_take(at, F * inner<F>::STRIDE);
        b = shared_take(at, F);
        q = shared_take(at, tile);
        x = shared_take(at, tile);
        g = shared_take(at, tile);
        zb = shared_take(at, tile);
        p = shared_take(at, tokens * tokens);
        t = shared_take(at, tokens);
        rate = shared_take(at, tokens);
        minus_s = shared_take(at, tokens);
    }

    static size_t bytes(int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE;
        return sizeof(float) *
               (shared_floats(F * inner<F>::STRIDE) + shared_floats(F) + 4 * shared_floats(tile) +
                shared_floats(tokens * tokens) + 3 * shared_floats(tokens));
    }
};

template <int F>
static __global__ void __launch_bounds__(inner<F>::THREADS, 2)
    ttt_linear_fwd_chain(real *out, float *kept, float *last, const real *q, const real *k,
                         const real *v, const float *sigma, ttt_params params, ttt_shape s)
{
    constexpr int STRIDE = inner<F>::STRIDE, ROWS = inner<F>::ROWS;
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const fwd_shared<F> m(memory, tokens);
    const chain head(s);
    const place<F> at;
    const size_t param = (size_t)head.head * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);

    if (kept)
        kept += head.number * inner_groups(s) * inner<F>::STATE;
    load_state<F>(m.w, m.b, params.w1 + param * F, params.b1 + param);
    load_token_weights(m.t, params.token_idx, tokens);
    __syncthreads();
    for (int c = 0; c < steps; c++) {
        const size_t here = head.first + (size_t)c * tokens * head.row;
        if (kept && c % s.keep_every == 0) {
            save_state<F>(kept, m.w, m.b);
            kept += inner<F>::STATE;
        }
        load_rows<F>(m.q, q + here, head.row, tokens);
        load_rows<F>(m.x, k + here, head.row, tokens);
        for (int j = threadIdx.x; j < tokens; j += blockDim.x) {
            m.rate[j] = s.rate * sigma[head.number * s.seq + (size_t)c * tokens + j];
            m.minus_s[j] = -m.t[tokens - 1] * m.rate[j];
        }
        __syncthreads();

        // Z = X W + b in the tile of G; Q W + b
        linear_rows<F, STRIDE>(m.g, m.x, m.w, m.b, tokens);
        linear_rows<F, STRIDE>(m.zb, m.q, m.w, m.b, tokens);
        scores<F>(m.p, m.q, m.x, tokens);
        __syncthreads();

        // its gradient G
        for (int first = 0; first < tokens; first += ROWS) {
            int i = min(first + at.row, tokens - 1);
            bool mine = at.active && first + at.row < tokens;
            gradient d = inner_gradient<F>(load4_mine(mine, m.g + i * STRIDE + at.column),
                                           load4(m.x + i * STRIDE + at.column),
                                           load4(v + here + i * head.row + at.column), scale, bias,
                                           s.eps, at);
            if (mine)
                store4(m.g + i * STRIDE + at.column, d.g);
        }
        __syncthreads();

        // Zb = Q W + b - P G, P[i][j] = t_i rate_j score; the output
        for (int first = 0; first < tokens; first += ROWS) {
            int i = min(first + at.row, tokens - 1);
            float4 z = load4(m.zb + i * STRIDE + at.column);
            for (int j = 0; j <= i; j++)
                z = fma4(-m.t[i] * m.rate[j] * m.p[i * tokens + j],
                         load4(m.g + j * STRIDE + at.column), z);
            at.normalise(z, s.eps);
            if (at.active && first + at.row < tokens)
                store4(out + here + i * head.row + at.column,
                       load4(m.q + i * STRIDE + at.column) + scale * z + bias);
        }
        state_update<F>(m.w, m.b, m.x, m.g, m.minus_s, tokens);
        __syncthreads();
    }
    if (last)
        save_state<F>(last + head.number * inner<F>::STATE, m.w, m.b);
}

template <int F>
static void launch_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                       const real *v, const float *sigma, const struct ttt_params *p,
                       const struct ttt_shape *s)
{
    size_t bytes = fwd_shared<F>::bytes(s->mini_batch);
    allow_shared(ttt_linear_fwd_chain<F>, bytes);
    LAUNCH((ttt_linear_fwd_chain<F>), s->batch * s->heads, inner<F>::THREADS, bytes, device_stream,
           out, kept, last, q, k, v, sigma, *p, *s);
}

void ttt_linear_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                    const real *v, const float *sigma, const struct ttt_params *p,
                    const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(out, q, k, v);
    WITH_HEAD_DIM(s->head_dim, launch_fwd, out, kept, last, q, k, v, sigma, p, s);
}
