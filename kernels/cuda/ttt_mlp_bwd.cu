// cuda/ttt_mlp_bwd.cu -- TTT-MLP backward: a block per sequence and head walks the sequence from
// its end. Each kept group is replayed into the workspace first, in shared memory (NEAR) where the
// state fits beside the tiles that replay uses. The formulas and their order are those of
// docs/model.md; the gradient of the state is carried where the chain's partial results are.
#include "inner_bwd.cuh"
#include "inner_mlp.cuh"

#include "device.h"

// dZ2b has the place of Zb, dZ1b that of Z1b, dZ1 that of H, and dH that of G1. Replay uses the
// tiles before `state` alone; where it is near, its state has the place of all that follow.
struct bwd_tiles {
    float *x, *g2, *xh, *z1, *x2, *g1, *h;
    float *t, *rate, *minus_s, *r, *ds, *dt;
    float *state;
    float *q, *dzb, *dz2, *dx, *z1b, *x2b;
    float *a1, *a2, *dp1, *dp2;

    __device__ bwd_tiles(float *at, bool shared, bool near, int head_dim, int tokens)
    {
        size_t narrow = (size_t)tokens * (head_dim + 4), wide = (size_t)tokens * (4 * head_dim + 4);
        x = arena_take(at, narrow, shared);
        g2 = arena_take(at, narrow, shared);
        xh = arena_take(at, narrow, shared);
        z1 = arena_take(at, wide, shared);
        x2 = arena_take(at, wide, shared);
        g1 = arena_take(at, wide, shared);
        h = arena_take(at, wide, shared);
        t = arena_take(at, tokens, shared);
        rate = arena_take(at, tokens, shared);
        minus_s = arena_take(at, tokens, shared);
        r = arena_take(at, tokens, shared);
        ds = arena_take(at, tokens, shared);
        dt = arena_take(at, tokens, shared);
        state = at;
        shared = shared && !near; // the gaps between them are the state's
        q = arena_take(at, narrow, shared);
        dzb = arena_take(at, narrow, shared);
        dz2 = arena_take(at, narrow, shared);
        dx = arena_take(at, narrow, shared);
        z1b = arena_take(at, wide, shared);
        x2b = arena_take(at, wide, shared);
        a1 = arena_take(at, tokens * tokens, shared);
        a2 = arena_take(at, tokens * tokens, shared);
        dp1 = arena_take(at, tokens * tokens, shared);
        dp2 = arena_take(at, tokens * tokens, shared);
    }

    static __device__ __host__ size_t floats(const ttt_shape &s)
    {
        return arena_floats(s.head_dim, s.mini_batch, 7, 6, 4, 6);
    }

    template <int F> static size_t near_floats(const ttt_shape &s)
    {
        return max(floats(s), arena_floats(F, s.mini_batch, 3, 4, 0, 6) + mlp<F, true>::STATE);
    }
};

// dp[i][j] = -dz_i . g_j for j <= i: the gradient of a pair's weight.
template <int N>
static __device__ inline void pair_gradients(float *dp, const float *dz, const float *g, int tokens)
{
    pairs<N>(dz, g, inner<N>::STRIDE, tokens,
             [&](int i, int j, float sum) { dp[i * tokens + j] = -sum; });
}

// Sums over the pairs of one token, dA = E dP: of the keys of query i, dA_ij x[j][n], and of the
// queries of key j, dA_ij q[i][n].
static __device__ inline float keys_of(float sum, const float *dp, const bwd_tiles &m,
                                       const float *x, int stride, int i, int n, int tokens)
{
    for (int j = 0; j <= i; j++)
        sum = fmaf(dp[i * tokens + j] * m.t[i] * m.rate[j], x[j * stride + n], sum);
    return sum;
}

static __device__ inline float queries_of(float sum, const float *dp, const bwd_tiles &m,
                                          const float *q, int stride, int j, int n, int tokens)
{
    for (int i = j; i < tokens; i++)
        sum = fmaf(dp[i * tokens + j] * m.t[i] * m.rate[j], q[i * stride + n], sum);
    return sum;
}

// dg - sum over i >= j of P_ij dz[i][column..], P = E A: what the outputs give to G_j.
static __device__ inline float4 learned_by(float4 dg, const float *a, const bwd_tiles &m,
                                           const float *dz, int stride, int j, int column,
                                           int tokens)
{
    for (int i = j; i < tokens; i++)
        dg = fma4(-m.t[i] * m.rate[j] * a[i * tokens + j], load4(dz + i * stride + column), dg);
    return dg;
}

// db += the sums of both parts' rows.
template <int N>
static __device__ inline void rows_add(float *db, const float *a, const float *b, int tokens)
{
    for (int c = threadIdx.x; c < N; c += blockDim.x) {
        float sum = 0;
        for (int j = 0; j < tokens; j++)
            sum += a[j * inner<N>::STRIDE + c] + b[j * inner<N>::STRIDE + c];
        db[c] += sum;
    }
}

// The gradients of the token weights, summed in m.dt, and of the step sizes.
static __device__ inline void token_gradients(float *dsigma, const bwd_tiles &m, float base_rate,
                                              int tokens)
{
    for (int i = threadIdx.x; i < tokens; i += blockDim.x) {
        float dt = 0, drate = m.ds[i] * m.t[tokens - 1];
        for (int j = 0; j <= i; j++) {
            int at = i * tokens + j;
            dt += (m.dp1[at] * m.a1[at] + m.dp2[at] * m.a2[at]) * m.rate[j];
        }
        for (int j = i; j < tokens; j++) {
            int at = j * tokens + i;
            drate += (m.dp1[at] * m.a1[at] + m.dp2[at] * m.a2[at]) * m.t[j];
        }
        for (int j = 0; j < tokens && i == tokens - 1; j++)
            dt += m.ds[j] * m.rate[j];
        m.dt[i] += dt;
        dsigma[i] = base_rate * drate;
    }
}

// What stays the same from one mini-batch of a chain to the next.
template <int F> struct mlp_chain {
    chain head;
    place<F> at;
    ttt_shape s;
    float4 scale, bias;
    mlp_learned learned; // of the backward's tiles

    __device__ mlp_chain(const ttt_params &p, const ttt_shape &shape, const bwd_tiles &m)
        : head(shape), s(shape)
    {
        const size_t param = (size_t)head.head * F;
        scale = param4(p.norm_scale + param + at.column);
        bias = param4(p.norm_bias + param + at.column);
        learned = {m.x, m.z1, m.x2, m.g1, m.h, m.g2, m.xh, m.r};
    }
};

// The forward's state updates from a kept state over `count` mini-batches; slots [count][STATE]
// receive the states before each. A barrier lies before.
template <int F, bool NEAR>
static __device__ inline void replay(float *slots, const bwd_tiles &m, const mlp_chain<F> &n,
                                     const float *kept, int first_step, int count, const real *k,
                                     const real *v, const float *sigma)
{
    const int tokens = n.s.mini_batch;
    mlp_copy<F, false, false>(slots, kept);
    if (NEAR && count > 1)
        mlp_copy<F, true, false>(m.state, kept);
    for (int c = 0; c + 1 < count; c++) {
        const size_t token = (size_t)(first_step + c) * tokens;
        const size_t here = n.head.first + token * n.head.row;
        float *state = NEAR ? m.state : slots, *after = slots + mlp<F>::STATE;
        load_rows<F>(m.x, k + here, n.head.row, tokens);
        load_rates(m.rate, m.minus_s, m.t, sigma + token, n.s);
        __syncthreads();
        mlp_learn<F, NEAR>(n.learned, state, v + here, n.head.row, n.scale, n.bias, n.s.eps, tokens,
                           n.at);
        __syncthreads();
        mlp_update<F, NEAR, NEAR>(NEAR ? state : after, state, n.learned, m.minus_s, tokens);
        __syncthreads();
        if (NEAR)
            mlp_copy<F, false, true>(after, state);
        slots = after;
    }
    if (NEAR)
        __syncthreads(); // the state has been read
}

// What the forward had of a mini-batch, up to Z2b before the pairs, in m.dzb.
template <int F>
static __device__ inline void forward_again(const bwd_tiles &m, const mlp_chain<F> &n,
                                            const float *state, const real *v, int tokens)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    scores<F>(m.a1, m.q, m.x, tokens);
    mlp_learn<F>(n.learned, state, v, n.head.row, n.scale, n.bias, n.s.eps, tokens, n.at);
    __syncthreads();
    rows_times<HIDDEN, F, HIDDEN, 4>(m.q, STRIDE, state + mlp<F>::W1, tokens,
                                     [&](int i, int column, float4 z) {
                                         z = z + load4(state + mlp<F>::B1 + column);
                                         z = minus_learned(z, m.a1, m.t, m.rate, m.g1, WIDE, i,
                                                           column, tokens);
                                         store4(m.z1b + i * WIDE + column, z);
                                         store4(m.x2b + i * WIDE + column, gelu4(z));
                                     });
    __syncthreads();
    rows_times<F, HIDDEN, F, 1>(m.x2b, WIDE, state + mlp<F>::W2, tokens,
                                [&](int i, int column, float4 z) {
                                    store4(m.dzb + i * STRIDE + column,
                                           z + load4(state + mlp<F>::B2 + column));
                                });
    scores<HIDDEN>(m.a2, m.x2b, m.x2, tokens);
    __syncthreads();
}

// From the outputs back to Z2b, Z1b, the pairs and dQ.
template <int F>
static __device__ inline void outputs_bwd(real *dq, float4 &dscale, float4 &dbias,
                                          const bwd_tiles &m, const mlp_chain<F> &n,
                                          const float *state, const real *dout, int tokens)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    const place<F> &at = n.at;
    for (int first = 0; first < tokens; first += mlp<F>::ROWS) {
        int i = min(first + at.row, tokens - 1);
        bool mine = at.active && first + at.row < tokens;
        float4 z = load4_mine(mine, m.dzb + i * STRIDE + at.column);
        z = minus_learned(z, m.a2, m.t, m.rate, m.g2, STRIDE, i, at.column, tokens);
        float r = at.normalise(z, n.s.eps);
        float4 d = load4(dout + i * n.head.row + at.column);
        if (mine) {
            dscale = dscale + d * z;
            dbias = dbias + d;
        }
        d = at.lnv(n.scale * d, z, r);
        if (mine)
            store4(m.dzb + i * STRIDE + at.column, d);
    }
    __syncthreads();
    pair_gradients<F>(m.dp2, m.dzb, m.g2, tokens);
    __syncthreads();
    rows_back<HIDDEN, F, F>(m.dzb, STRIDE, state + mlp<F>::W2, tokens, [&](int i, int c, float d) {
        d = keys_of(d, m.dp2, m, m.x2, WIDE, i, c, tokens);
        m.z1b[i * WIDE + c] = d * gelu::first(m.z1b[i * WIDE + c]);
    });
    __syncthreads();
    pair_gradients<HIDDEN>(m.dp1, m.z1b, m.g1, tokens);
    __syncthreads();
    rows_back<F, HIDDEN, HIDDEN>(m.z1b, WIDE, state + mlp<F>::W1, tokens,
                                 [&](int i, int c, float d) {
                                     d = keys_of(d, m.dp1, m, m.x, STRIDE, i, c, tokens);
                                     dq[i * n.head.row + c] =
                                         to_real(d + to_float(dout[i * n.head.row + c]));
                                 });
}

// The update of both layers, given the gradient of the state after it. Sets dG2 in m.dz2 but for
// dH's part, dX's part in m.dx, dH in m.g1 and G1's part of dZ1 in m.h.
template <int F>
static __device__ inline void update_bwd(const bwd_tiles &m, const mlp_chain<F> &n,
                                         const float *dstate, int tokens)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    const place<F> &at = n.at;
    rows_back<F, HIDDEN, HIDDEN>(m.g1, WIDE, dstate + mlp<F>::W1, tokens,
                                 [&](int i, int c, float u) { m.dx[i * STRIDE + c] = u; });
    rows_times<F, HIDDEN, F, 1>(m.x2, WIDE, dstate + mlp<F>::W2, tokens,
                                [&](int i, int column, float4 y) {
                                    store4(m.dz2 + i * STRIDE + column,
                                           y + load4(dstate + mlp<F>::B2 + column));
                                });
    __syncthreads();
    // ds = -(G1 . Y1 + G2 . Y2), where G1 . (X dW1' + db1') = X . (G1 dW1'^T) + G1 . db1'
    for (int first = 0; first < tokens; first += mlp<F>::ROWS) {
        int i = min(first + at.row, tokens - 1);
        bool mine = at.active && first + at.row < tokens;
        float4 u = load4_mine(mine, m.dx + i * STRIDE + at.column);
        float4 y = load4_mine(mine, m.dz2 + i * STRIDE + at.column);
        float dot = dot4(load4(m.x + i * STRIDE + at.column), u) +
                    dot4(load4(m.g2 + i * STRIDE + at.column), y);
        for (int c = at.column; c < HIDDEN; c += F)
            dot += dot4(load4(m.g1 + i * WIDE + c), load4(dstate + mlp<F>::B1 + c));
        dot = at.row_sum(dot);
        float4 dg = learned_by(m.minus_s[i] * y, m.a2, m, m.dzb, STRIDE, i, at.column, tokens);
        if (mine) {
            store4(m.dx + i * STRIDE + at.column, m.minus_s[i] * u);
            store4(m.dz2 + i * STRIDE + at.column, dg);
            m.ds[i] = -dot;
        }
    }
    __syncthreads();
    rows_times<HIDDEN, F, HIDDEN, 4>(
        m.x, STRIDE, dstate + mlp<F>::W1, tokens, [&](int i, int column, float4 y) {
            float *g1 = m.g1 + i * WIDE + column, *h = m.h + i * WIDE + column;
            float4 dg = m.minus_s[i] * (y + load4(dstate + mlp<F>::B1 + column));
            dg = learned_by(dg, m.a1, m, m.z1b, WIDE, i, column, tokens);
            float4 z = load4(m.z1 + i * WIDE + column);
            store4(g1, dg * gelu4_first(z));
            store4(h, dg * load4(h) * gelu4_second(z));
        });
    __syncthreads();
}

// Through the inner gradient and the layers: dV, dK, and the gradient of the state before.
template <int F>
static __device__ inline void learned_bwd(real *dk, real *dv, float *dstate, float4 &dscale,
                                          float4 &dbias, const bwd_tiles &m, const mlp_chain<F> &n,
                                          const float *state, const real *v, int tokens)
{
    constexpr int HIDDEN = mlp<F>::HIDDEN, STRIDE = mlp<F>::STRIDE, WIDE = mlp<F>::WIDE;
    const place<F> &at = n.at;
    const size_t row = n.head.row;
    rows_times<F, HIDDEN, F, 1>(m.g1, WIDE, state + mlp<F>::W2, tokens,
                                [&](int i, int column, float4 d) {
                                    float *dg = m.dz2 + i * STRIDE + column;
                                    store4(dg, load4(dg) + d);
                                });
    __syncthreads();
    for (int first = 0; first < tokens; first += mlp<F>::ROWS) {
        int i = min(first + at.row, tokens - 1);
        bool mine = at.active && first + at.row < tokens;
        const size_t here = i * STRIDE + at.column;
        gradient d;
        d.xh = load4(m.xh + here);
        d.e = n.scale * d.xh + n.bias - (load4(v + i * row + at.column) - load4(m.x + here));
        d.g = load4(m.g2 + here);
        d.r = m.r[i];
        gradient_gradient back =
            inner_gradient_bwd<F>(load4_mine(mine, m.dz2 + here), d, n.scale, at);
        if (mine) {
            dscale = dscale + back.dscale;
            dbias = dbias + back.de;
            store4(dv + i * row + at.column, four(0) - back.de);
            store4(m.dz2 + here, back.dz);
            store4(m.dx + here, load4(m.dx + here) + back.de);
        }
    }
    __syncthreads();
    // dX2 = dA2^T X2b - s (G2 dW2'^T) + dZ2 W2^T; the same thread adds both parts to dZ1
    rows_back<HIDDEN, F, F>(m.g2, STRIDE, dstate + mlp<F>::W2, tokens, [&](int i, int c, float d) {
        d = queries_of(m.minus_s[i] * d, m.dp2, m, m.x2b, WIDE, i, c, tokens);
        m.h[i * WIDE + c] += d * gelu::first(m.z1[i * WIDE + c]);
    });
    rows_back<HIDDEN, F, F>(m.dz2, STRIDE, state + mlp<F>::W2, tokens, [&](int i, int c, float d) {
        m.h[i * WIDE + c] += d * gelu::first(m.z1[i * WIDE + c]);
    });
    __syncthreads();
    rows_back<F, HIDDEN, HIDDEN>(m.h, WIDE, state + mlp<F>::W1, tokens, [&](int i, int c, float d) {
        d = queries_of(d, m.dp1, m, m.q, STRIDE, i, c, tokens);
        dk[i * row + c] = to_real(d + m.dx[i * STRIDE + c]);
    });
    matrix_add<F, HIDDEN, HIDDEN, HIDDEN>(dstate + mlp<F>::W1, dstate + mlp<F>::W1, tokens,
                                          outer{m.x, STRIDE, m.h, WIDE, NULL},
                                          outer{m.q, STRIDE, m.z1b, WIDE, NULL});
    matrix_add<HIDDEN, F, F, F>(dstate + mlp<F>::W2, dstate + mlp<F>::W2, tokens,
                                outer{m.x2, WIDE, m.dz2, STRIDE, NULL},
                                outer{m.x2b, WIDE, m.dzb, STRIDE, NULL},
                                outer{m.g1, WIDE, m.g2, STRIDE, NULL});
    rows_add<HIDDEN>(dstate + mlp<F>::B1, m.h, m.z1b, tokens);
    rows_add<F>(dstate + mlp<F>::B2, m.dz2, m.dzb, tokens);
}

template <int F, bool NEAR>
static __global__ void __launch_bounds__(MLP_THREADS, 1)
    ttt_mlp_bwd_chain(real *dq, real *dk, real *dv, float *dsigma, float *slots, float *partials,
                      float *far, const real *dout, const float *dlast, const real *q,
                      const real *k, const real *v, const float *sigma, const float *kept,
                      ttt_params params, ttt_shape s)
{
    constexpr size_t STATE = mlp<F>::STATE;
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const size_t number = blockIdx.x;
    const bool shared = NEAR || !far;
    const bwd_tiles m(shared ? memory : far + number * bwd_tiles::floats(s), shared, NEAR, F,
                      tokens);
    const mlp_chain<F> n(params, s, m);
    const place<F> &at = n.at;
    float4 dscale = four(0), dbias = four(0);

    kept += number * inner_groups(s) * STATE;
    slots += number * replay_slots(s) * STATE;
    partials += number * partial_floats(STATE, s);
    sigma += number * s.seq;
    dsigma += number * s.seq;
    load_token_weights(m.t, params.token_idx, tokens);
    for (int i = threadIdx.x; i < tokens; i += blockDim.x)
        m.dt[i] = 0;
    for (size_t i = threadIdx.x; i < STATE; i += blockDim.x)
        partials[i] = dlast ? dlast[number * STATE + i] : 0;
    __syncthreads();

    for (int c = steps - 1; c >= 0; c--) {
        const int group = c / s.keep_every, first_step = group * s.keep_every;
        if (c == steps - 1 || c % s.keep_every == s.keep_every - 1)
            replay<F, NEAR>(slots, m, n, kept + group * STATE, first_step, c - first_step + 1, k, v,
                            sigma);
        const float *state = slots + (c - first_step) * STATE;
        const size_t here = n.head.first + (size_t)c * tokens * n.head.row;
        load_rows<F>(m.q, q + here, n.head.row, tokens);
        load_rows<F>(m.x, k + here, n.head.row, tokens);
        load_rates(m.rate, m.minus_s, m.t, sigma + c * tokens, s);
        __syncthreads();
        forward_again<F>(m, n, state, v + here, tokens);
        outputs_bwd<F>(dq + here, dscale, dbias, m, n, state, dout + here, tokens);
        update_bwd<F>(m, n, partials, tokens);
        learned_bwd<F>(dk + here, dv + here, partials, dscale, dbias, m, n, state, v + here,
                       tokens);
        token_gradients(dsigma + c * tokens, m, s.rate, tokens);
        __syncthreads();
    }
    for (int i = threadIdx.x; i < tokens; i += blockDim.x)
        partials[STATE + 2 * F + i] = m.dt[i];

    // the norm's gradients, over the rows of threads
    SHARED(float, sums, [mlp<F>::ROWS * F]);
    for (int part = 0; part < 2; part++) {
        if (at.active)
            store4(sums + at.row * F + at.column, part ? dbias : dscale);
        __syncthreads();
        for (int c = threadIdx.x; c < F; c += blockDim.x) {
            float sum = 0;
            for (int row = 0; row < mlp<F>::ROWS; row++)
                sum += sums[row * F + c];
            partials[STATE + part * F + c] = sum;
        }
        __syncthreads();
    }
}

// Floats of a chain: replayed states and partial results.
static size_t chain_floats(const struct ttt_shape *s)
{
    size_t state = ttt_mlp_state_floats(s->head_dim);
    return replay_slots(*s) * state + partial_floats(state, *s);
}

// Tiles are counted though most GPUs have shared memory for them. TTT-Linear's covers other ops.
size_t ttt_mlp_bwd_workspace_bytes(const struct ttt_shape *s)
{
    size_t floats = chain_floats(s) + bwd_tiles::floats(*s);
    return max(sizeof(float) * s->batch * s->heads * floats, ttt_linear_bwd_workspace_bytes(s));
}

template <int F>
static void launch_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                       const real *dout, const float *dlast, const real *q, const real *k,
                       const real *v, const float *sigma, const float *kept,
                       const struct ttt_params *p, const struct ttt_shape *s)
{
    const size_t chains = (size_t)s->batch * s->heads;
    // the kernel's own array of sums counts too
    auto fits = [](auto *kernel, size_t bytes) {
        return bytes + sizeof(float) * mlp<F>::ROWS * F <= INNER_SHARED_BYTES &&
               shared_fits(kernel, bytes);
    };
    size_t bytes = sizeof(float) * bwd_tiles::floats(*s);
    float *slots = (float *)device_workspace(ttt_mlp_bwd_workspace_bytes(s));
    float *partials = slots + chains * replay_slots(*s) * mlp<F>::STATE;
    float *far = slots + chains * chain_floats(s);
    auto ttt_mlp_bwd_kernel = ttt_mlp_bwd_chain<F, false>;
    if (fits(ttt_mlp_bwd_kernel, bytes))
        far = NULL;
    else
        bytes = 0;
    if constexpr (F < 96) { // with 96 the state alone is more than there is
        const size_t near_bytes = sizeof(float) * bwd_tiles::near_floats<F>(*s);
        if (fits(ttt_mlp_bwd_chain<F, true>, near_bytes)) {
            ttt_mlp_bwd_kernel = ttt_mlp_bwd_chain<F, true>;
            bytes = near_bytes;
        }
    }
    LAUNCH(ttt_mlp_bwd_kernel, chains, MLP_THREADS, bytes, device_stream, dq, dk, dv, dsigma, slots,
           partials, far, dout, dlast, q, k, v, sigma, kept, *p, *s);
    fold_partials(d, partials, partial_floats(mlp<F>::STATE, *s), p->token_idx, s);
}

void ttt_mlp_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                 const real *dout, const float *dlast, const real *q, const real *k, const real *v,
                 const float *sigma, const float *kept, const struct ttt_params *p,
                 const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(dq, dk, dv, dout, q, k, v);
    WITH_HEAD_DIM(s->head_dim, launch_bwd, dq, dk, dv, dsigma, d, dout, dlast, q, k, v, sigma, kept,
                  p, s);
}
