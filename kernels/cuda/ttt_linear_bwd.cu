// cuda/ttt_linear_bwd.cu -- TTT-Linear backward: a block per sequence and head walks the sequence
// from its end. Each kept group is replayed into the workspace first. The formulas and their order
// are those of docs/model.md; capital letters are tiles, primes gradients of the state.
#include "inner_bwd.cuh"
#include "inner_linear.cuh"

#include "device.h"

// FAR: W does not fit beside the rest. It is read from the workspace, and rests in the tiles of dZb
// and dG during replay.
template <int F, bool FAR> struct bwd_shared {
    float *w, *b, *dw, *db, *q, *x, *xh, *g, *dzb, *dz, *score, *dp, *t, *rate, *minus_s, *r, *ds,
        *dt;

    __device__ bwd_shared(float *at, int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE;
        dw = shared_take(at, F * inner<F>::STRIDE);
        b = shared_take(at, F);
        db = shared_take(at, F);
        q = shared_take(at, tile);
        x = shared_take(at, tile);
        xh = shared_take(at, tile);
        g = shared_take(at, tile);
        if (FAR) {
            dzb = w = shared_take(at, 2 * tile);
            dz = dzb + tile;
        } else {
            dzb = shared_take(at, tile);
            dz = shared_take(at, tile);
            w = shared_take(at, F * inner<F>::STRIDE);
        }
        score = shared_take(at, tokens * tokens);
        dp = shared_take(at, tokens * tokens);
        t = shared_take(at, tokens);
        rate = shared_take(at, tokens);
        minus_s = shared_take(at, tokens);
        r = shared_take(at, tokens);
        ds = shared_take(at, tokens);
        dt = shared_take(at, tokens);
    }

    static size_t bytes(int tokens)
    {
        size_t tile = (size_t)tokens * inner<F>::STRIDE,
               matrix = shared_floats(F * inner<F>::STRIDE);
        size_t pair = FAR ? shared_floats(2 * tile) : 2 * shared_floats(tile) + matrix;
        return sizeof(float) * (matrix + 2 * shared_floats(F) + 4 * shared_floats(tile) + pair +
                                2 * shared_floats(tokens * tokens) + 6 * shared_floats(tokens));
    }
};

// The forward's state updates from a kept state over n mini-batches; slots [n][STATE] receive the
// states before each.
template <int F, bool FAR>
static __device__ inline void replay(float *slots, const bwd_shared<F, FAR> &m, const float *kept,
                                     int first_step, int n, const real *k, const real *v,
                                     const float *sigma, const chain &head, const ttt_shape &s,
                                     float4 scale, float4 bias, const place<F> &at)
{
    const int tokens = s.mini_batch;
    load_state<F>(m.w, m.b, kept, kept + F * F); // save_state meets each value in the same thread
    for (int c = 0; c < n; c++) {
        save_state<F>(slots + c * inner<F>::STATE, m.w, m.b);
        if (c + 1 == n)
            break;
        const size_t token = (size_t)(first_step + c) * tokens;
        const size_t here = head.first + token * head.row;
        load_rows<F>(m.x, k + here, head.row, tokens);
        for (int j = threadIdx.x; j < tokens; j += blockDim.x)
            m.minus_s[j] = -m.t[tokens - 1] * (s.rate * sigma[token + j]);
        __syncthreads();
        gradient_rows<F>(m.g, m.x, m.w, m.b, v + here, head.row, scale, bias, s.eps, tokens, at);
        __syncthreads();
        state_update<F>(m.w, m.b, m.x, m.g, m.minus_s, tokens);
        __syncthreads();
    }
}

// At least as many blocks on a multiprocessor as its shared memory has room for with 16 tokens;
// asked for fewer, the compiler takes the registers it needs and spills none.
template <int F, bool FAR>
static __global__ void __launch_bounds__(inner<F>::THREADS, F == 96 ? 1 : 3)
    ttt_linear_bwd_chain(real *dq, real *dk, real *dv, float *dsigma, float *slots, float *partials,
                         const real *dout, const float *dlast, const real *q, const real *k,
                         const real *v, const float *sigma, const float *kept, ttt_params params,
                         ttt_shape s)
{
    constexpr int STRIDE = inner<F>::STRIDE, ROWS = inner<F>::ROWS;
    constexpr int W_STRIDE = FAR ? F : STRIDE;
    constexpr size_t STATE = inner<F>::STATE;
    DYN_SHARED(float, memory);
    const int tokens = s.mini_batch, steps = s.seq / tokens;
    const bwd_shared<F, FAR> m(memory, tokens);
    const chain head(s);
    const place<F> at;
    const size_t param = (size_t)head.head * F;
    const float4 scale = param4(params.norm_scale + param + at.column);
    const float4 bias = param4(params.norm_bias + param + at.column);
    float4 dscale = four(0), dbias = four(0);

    kept += head.number * inner_groups(s) * STATE;
    slots += head.number * replay_slots(s) * STATE;
    partials += head.number * partial_floats(inner<F>::STATE, s);
    sigma += head.number * s.seq;
    dsigma += head.number * s.seq;

    load_token_weights(m.t, params.token_idx, tokens);
    for (int i = threadIdx.x; i < tokens; i += blockDim.x)
        m.dt[i] = 0;
    for (int i = threadIdx.x; i < F * F; i += blockDim.x)
        m.dw[i / F * STRIDE + i % F] = dlast ? dlast[head.number * STATE + i] : 0;
    for (int c = threadIdx.x; c < F; c += blockDim.x)
        m.db[c] = dlast ? dlast[head.number * STATE + F * F + c] : 0;
    __syncthreads();

    for (int c = steps - 1; c >= 0; c--) {
        const int group = c / s.keep_every, first_step = group * s.keep_every;
        if (c == steps - 1 || c % s.keep_every == s.keep_every - 1)
            replay<F, FAR>(slots, m, kept + group * STATE, first_step, c - first_step + 1, k, v,
                           sigma, head, s, scale, bias, at);
        const float *state = slots + (c - first_step) * STATE, *w = FAR ? state : m.w;
        const size_t here = head.first + (size_t)c * tokens * head.row;
        if (!FAR)
            load_state<F>(m.w, m.b, state, state + F * F);
        else
            for (int i = threadIdx.x; i < F; i += blockDim.x)
                m.b[i] = state[F * F + i];
        load_rows<F>(m.q, q + here, head.row, tokens);
        load_rows<F>(m.x, k + here, head.row, tokens);
        for (int j = threadIdx.x; j < tokens; j += blockDim.x) {
            m.rate[j] = s.rate * sigma[c * tokens + j];
            m.minus_s[j] = -m.t[tokens - 1] * m.rate[j];
        }
        __syncthreads();

        // the forward again: Z in the tile of G, Q W + b in that of dZb
        linear_rows<F, W_STRIDE>(m.g, m.x, w, m.b, tokens);
        linear_rows<F, W_STRIDE>(m.dzb, m.q, w, m.b, tokens);
        scores<F>(m.score, m.q, m.x, tokens);
        __syncthreads();

        // xh, r, G
        for (int first = 0; first < tokens; first += ROWS) {
            int i = min(first + at.row, tokens - 1);
            bool mine = at.active && first + at.row < tokens;
            const size_t tile = i * STRIDE + at.column;
            gradient d = inner_gradient<F>(load4_mine(mine, m.g + tile), load4(m.x + tile),
                                           load4(v + here + i * head.row + at.column), scale, bias,
                                           s.eps, at);
            if (mine) {
                store4(m.xh + tile, d.xh);
                store4(m.g + tile, d.g);
                m.r[i] = d.r;
            }
        }
        __syncthreads();

        // dZb = LNV(scale dO; normalised Zb), Zb = Q W + b - P G
        for (int first = 0; first < tokens; first += ROWS) {
            int i = min(first + at.row, tokens - 1);
            bool mine = at.active && first + at.row < tokens;
            float4 z = load4_mine(mine, m.dzb + i * STRIDE + at.column);
            for (int j = 0; j <= i; j++)
                z = fma4(-m.t[i] * m.rate[j] * m.score[i * tokens + j],
                         load4(m.g + j * STRIDE + at.column), z);
            float r = at.normalise(z, s.eps);
            float4 d = load4(dout + here + i * head.row + at.column);
            if (mine) {
                dscale = dscale + d * z;
                dbias = dbias + d;
            }
            d = at.lnv(scale * d, z, r);
            if (mine)
                store4(m.dzb + i * STRIDE + at.column, d);
        }
        __syncthreads();

        // dP = -mask(dZb G^T); Y = X dW' + db' in the tile of dZ
        pairs<F>(m.dzb, m.g, STRIDE, tokens,
                 [&](int i, int j, float sum) { m.dp[i * tokens + j] = -sum; });
        linear_rows<F, STRIDE>(m.dz, m.x, m.dw, m.db, tokens);
        __syncthreads();

        // dQ
        rows_back<F, F, W_STRIDE>(m.dzb, STRIDE, w, tokens, [&](int i, int f, float to) {
            for (int j = 0; j <= i; j++)
                to = fmaf(m.dp[i * tokens + j] * m.t[i] * m.rate[j], m.x[j * STRIDE + f], to);
            const size_t place = here + i * head.row + f;
            dq[place] = to_real(to_float(dout[place]) + to);
        });

        // dG and through the inner norm; dV
        for (int first = 0; first < tokens; first += ROWS) {
            int i = min(first + at.row, tokens - 1);
            bool mine = at.active && first + at.row < tokens;
            const size_t row = here + i * head.row;
            float4 x = load4(m.x + i * STRIDE + at.column), g = load4(m.g + i * STRIDE + at.column);
            float4 y = load4_mine(mine, m.dz + i * STRIDE + at.column);
            float ds = -at.row_sum(dot4(g, y));
            float4 dg = m.minus_s[i] * y;
            for (int j = i; j < tokens; j++)
                dg = fma4(-m.t[j] * m.rate[i] * m.score[j * tokens + i],
                          load4(m.dzb + j * STRIDE + at.column), dg);

            gradient d;
            d.xh = load4_mine(mine, m.xh + i * STRIDE + at.column);
            d.e = scale * d.xh + bias - (load4(v + row + at.column) - x);
            d.g = g;
            d.r = m.r[i];
            gradient_gradient back = inner_gradient_bwd<F>(dg, d, scale, at);
            if (mine) {
                dscale = dscale + back.dscale;
                dbias = dbias + back.de;
                store4(dv + row + at.column, four(0) - back.de);
                store4(m.dz + i * STRIDE + at.column, back.dz);
                store4(m.xh + i * STRIDE + at.column, back.de); // xh is done with
                m.ds[i] = ds;
            }
        }
        __syncthreads();

        // dX, whose parts the same thread adds; step sizes
        rows_back<F, F, STRIDE>(m.g, STRIDE, m.dw, tokens, [&](int j, int f, float update) {
            m.xh[j * STRIDE + f] += m.minus_s[j] * update;
        });
        rows_back<F, F, W_STRIDE>(m.dz, STRIDE, w, tokens, [&](int j, int f, float to) {
            for (int i = j; i < tokens; i++)
                to = fmaf(m.dp[i * tokens + j] * m.t[i] * m.rate[j], m.q[i * STRIDE + f], to);
            dk[here + j * head.row + f] = to_real(to + m.xh[j * STRIDE + f]);
        });
        for (int i = threadIdx.x; i < tokens; i += blockDim.x) {
            float dt = 0, drate = m.ds[i] * m.t[tokens - 1];
            for (int j = 0; j <= i; j++)
                dt += m.dp[i * tokens + j] * m.score[i * tokens + j] * m.rate[j];
            for (int j = i; j < tokens; j++)
                drate += m.dp[j * tokens + i] * m.score[j * tokens + i] * m.t[j];
            for (int j = 0; j < tokens && i == tokens - 1; j++)
                dt += m.ds[j] * m.rate[j];
            m.dt[i] += dt;
            dsigma[c * tokens + i] = s.rate * drate;
        }
        __syncthreads();

        // dW += X^T dZ + Q^T dZb; db
        matrix_add<F, F, STRIDE, STRIDE>(m.dw, m.dw, tokens, outer{m.x, STRIDE, m.dz, STRIDE, NULL},
                                         outer{m.q, STRIDE, m.dzb, STRIDE, NULL});
        for (int f = threadIdx.x; f < F; f += blockDim.x) {
            float sum = 0;
            for (int j = 0; j < tokens; j++)
                sum += m.dz[j * STRIDE + f] + m.dzb[j * STRIDE + f];
            m.db[f] += sum;
        }
        __syncthreads();
    }

    save_state<F>(partials, m.dw, m.db);
    for (int i = threadIdx.x; i < tokens; i += blockDim.x)
        partials[inner<F>::STATE + 2 * F + i] = m.dt[i];
    __syncthreads();

    // the norm's gradients, over the rows of threads: dW is saved, its room is free
    for (int n = 0; n < 2; n++) {
        if (at.active)
            store4(m.dw + at.row * F + at.column, n ? dbias : dscale);
        __syncthreads();
        for (int f = threadIdx.x; f < F; f += blockDim.x) {
            float sum = 0;
            for (int row = 0; row < ROWS; row++)
                sum += m.dw[row * F + f];
            partials[inner<F>::STATE + n * F + f] = sum;
        }
        __syncthreads();
    }
}

static size_t slots_floats(const struct ttt_shape *s)
{
    return (size_t)s->batch * s->heads * replay_slots(*s) * ttt_linear_state_floats(s->head_dim);
}

static size_t bwd_floats(const struct ttt_shape *s)
{
    return slots_floats(s) +
           (size_t)s->batch * s->heads * partial_floats(ttt_linear_state_floats(s->head_dim), *s);
}

// Of short sequences the parts of other ops can be more: the convolution's, the gate's, and the
// keys of embedding_bwd (at most two a row).
size_t ttt_linear_bwd_workspace_bytes(const struct ttt_shape *s)
{
    size_t width = (size_t)s->heads * s->head_dim, rows = (size_t)s->batch * s->seq;
    size_t conv = sizeof(float) * PARTS_LIMIT * (CONV_WIDTH + 1) * width;
    size_t gate = sizeof(float) * GATE_PARTS * s->heads * (width + 1);
    size_t keys = sizeof(uint64_t) * 2 * rows, bytes = sizeof(float) * bwd_floats(s);
    return max(max(bytes, conv), max(gate, keys));
}

template <int F>
static void launch_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                       const real *dout, const float *dlast, const real *q, const real *k,
                       const real *v, const float *sigma, const float *kept,
                       const struct ttt_params *p, const struct ttt_shape *s)
{
    float *slots = (float *)device_workspace(sizeof *slots * bwd_floats(s));
    float *partials = slots + slots_floats(s);
    size_t bytes = bwd_shared<F, false>::bytes(s->mini_batch);
    auto ttt_linear_bwd_kernel = ttt_linear_bwd_chain<F, false>;
    if constexpr (F == 96) {
        if (bytes > INNER_SHARED_BYTES) {
            bytes = bwd_shared<F, true>::bytes(s->mini_batch);
            ttt_linear_bwd_kernel = ttt_linear_bwd_chain<F, true>;
        }
    }
    allow_shared(ttt_linear_bwd_kernel, bytes);
    LAUNCH(ttt_linear_bwd_kernel, s->batch * s->heads, inner<F>::THREADS, bytes, device_stream, dq,
           dk, dv, dsigma, slots, partials, dout, dlast, q, k, v, sigma, kept, *p, *s);
    fold_partials(d, partials, partial_floats(inner<F>::STATE, *s), p->token_idx, s);
}

void ttt_linear_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                    const real *dout, const float *dlast, const real *q, const real *k,
                    const real *v, const float *sigma, const float *kept,
                    const struct ttt_params *p, const struct ttt_shape *s)
{
    inner_check(s);
    inner_check_aligned(dq, dk, dv, dout, q, k, v);
    WITH_HEAD_DIM(s->head_dim, launch_bwd, dq, dk, dv, dsigma, d, dout, dlast, q, k, v, sigma, kept,
                  p, s);
}
