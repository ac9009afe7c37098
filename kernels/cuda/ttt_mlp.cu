// cuda/ttt_mlp.cu -- TTT-MLP forward: a block per sequence and head, fp32 throughout, the state in
// shared memory where it fits.
#include "inner_mlp.cuh"

#include "device.h"

size_t ttt_mlp_state_floats(int head_dim)
{
    size_t f = head_dim;
    return 8 * f * f + 5 * f;
}

size_t ttt_mlp_kept_floats(const struct ttt_shape *s)
{
    return (size_t)s->batch * s->heads * inner_groups(*s) * ttt_mlp_state_floats(s->head_dim);
}

// G1 takes the place of Z1.
struct fwd_tiles {
    float *x, *q, *g2, *zb, *z1, *x2, *x2b, *score, *t, *rate, *minus_s;

    __device__ fwd_tiles(float *at, bool shared, int head_dim, int tokens)
    {
        size_t narrow = (size_t)tokens * (head_dim + 4), wide = (size_t)tokens * (4 * head_dim + 4);
        x = arena_take(at, narrow, shared);
        q = arena_take(at, narrow, shared);
        g2 = arena_take(at, narrow, shared);
        zb = arena_take(at, narrow, shared);
        z1 = arena_take(at, wide, shared);
        x2 = arena_take(at, wide, shared);
        x2b = arena_take(at, wide, shared);
        score = arena_take(at, tokens * tokens, shared);
        t = arena_take(at, tokens, shared);
        rate = arena_take(at, tokens, shared);
        minus_s = arena_take(at, tokens, shared);
    }

    static __device__ __host__ size_t floats(const ttt_shape &s)
    {
        return arena_floats(s.head_dim, s.mini_batch, 4, 3, 1, 3);
    }
};

// states and far are there where the state is not NEAR.
template <int F, bool NEAR>
static __global__ void __launch_bounds__(MLP_THREADS, 1)
    ttt_mlp_fwd_chain(real *out, float *kept, float *last, float *states, float *far, const real *q,
                      const real *k, const real *v, const float *sigma, ttt_params params,
                      ttt_shape s)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    using parts = mlp<F, NEAR>;
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const chain head(s);
    float *state = NEAR ? shared_take(memory, parts::STATE) : states + head.number * parts::STATE;
    const bool shared = NEAR || !far;
    const fwd_tiles m(shared ? memory : far + head.number * fwd_tiles::floats(s), shared, F,
                      tokens);
    const mlp_learned l = {m.x, m.z1, m.x2, m.z1, NULL, m.g2, NULL, NULL};
    const place<F> at;
    const size_t param = (size_t)head.head * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);

    if (kept)
        kept += head.number * inner_groups(s) * mlp<F>::STATE;
    sigma += head.number * s.seq;
    mlp_begin<F, NEAR>(state, params, head.head);
    load_token_weights(m.t, params.token_idx, tokens);
    __syncthreads();
    for (int c = 0; c < steps; c++) {
        const size_t here = head.first + (size_t)c * tokens * head.row;
        if (kept && c % s.keep_every == 0) {
            mlp_copy<F, false, NEAR>(kept, state);
            kept += mlp<F>::STATE;
        }
        load_rows<F>(m.q, q + here, head.row, tokens);
        load_rows<F>(m.x, k + here, head.row, tokens);
        load_rates(m.rate, m.minus_s, m.t, sigma + c * tokens, s);
        __syncthreads();
        scores<F>(m.score, m.q, m.x, tokens);
        mlp_learn<F, NEAR>(l, state, v + here, head.row, scale, bias, s.eps, tokens, at);
        __syncthreads();

        // X2b = gelu(Q W1 + b1 - P1 G1)
        rows_times<HIDDEN, F, parts::ROW1, 4>(m.q, STRIDE, state + parts::W1, tokens,
                                              [&](int i, int column, float4 z) {
                                                  z = z + load4(state + parts::B1 + column);
                                                  z = minus_learned(z, m.score, m.t, m.rate, l.g1,
                                                                    WIDE, i, column, tokens);
                                                  store4(m.x2b + i * WIDE + column, gelu4(z));
                                              });
        __syncthreads();
        rows_times<F, HIDDEN, parts::ROW2, 1>(m.x2b, WIDE, state + parts::W2, tokens,
                                              [&](int i, int column, float4 z) {
                                                  store4(m.zb + i * STRIDE + column,
                                                         z + load4(state + parts::B2 + column));
                                              });
        scores<HIDDEN>(m.score, m.x2b, m.x2, tokens);
        __syncthreads();

        // Z2b = X2b W2 + b2 - P2 G2; the output
        for (int first = 0; first < tokens; first += mlp<F>::ROWS) {
            int i = min(first + at.row, tokens - 1);
            float4 z = load4(m.zb + i * STRIDE + at.column);
            z = minus_learned(z, m.score, m.t, m.rate, m.g2, STRIDE, i, at.column, tokens);
            at.normalise(z, s.eps);
            if (at.active && first + at.row < tokens)
                store4(out + here + i * head.row + at.column,
                       load4(m.q + i * STRIDE + at.column) + scale * z + bias);
        }
        mlp_update<F, NEAR, NEAR>(state, state, l, m.minus_s, tokens);
        __syncthreads();
    }
    if (last)
        mlp_copy<F, false, NEAR>(last + head.number * mlp<F>::STATE, state);
}

template <int F>
static void launch_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                       const real *v, const float *sigma, const struct ttt_params *p,
                       const struct ttt_shape *s)
{
    const size_t chains = (size_t)s->batch * s->heads, tiles = fwd_tiles::floats(*s);
    if constexpr (F < 96) { // with 96 the state alone is more than there is
        const size_t bytes = sizeof(float) * (shared_floats(mlp<F, true>::STATE) + tiles);
        if (shared_fits(ttt_mlp_fwd_chain<F, true>, bytes)) {
            LAUNCH((ttt_mlp_fwd_chain<F, true>), chains, MLP_THREADS, bytes, device_stream, out,
                   kept, last, (float *)NULL, (float *)NULL, q, k, v, sigma, *p, *s);
            return;
        }
    }
    const bool near = shared_fits(ttt_mlp_fwd_chain<F, false>, sizeof(float) * tiles);
    float *states =
        (float *)device_workspace(sizeof *states * chains * (mlp<F>::STATE + (near ? 0 : tiles)));
    LAUNCH((ttt_mlp_fwd_chain<F, false>), chains, MLP_THREADS, near ? sizeof(float) * tiles : 0,
           device_stream, out, kept, last, states, near ? NULL : states + chains * mlp<F>::STATE, q,
           k, v, sigma, *p, *s);
}

void ttt_mlp_fwd(real *out, float *kept, float *last, const real *q, const real *k, const real *v,
                 const float *sigma, const struct ttt_params *p, const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(out, q, k, v);
    WITH_HEAD_DIM(s->head_dim, launch_fwd, out, kept, last, q, k, v, sigma, p, s);
}
