/* inner_bwd.h -- the backward of the inner loop, as far as both inner models share it.

   A chain is one head of one sequence. It walks its kept groups from the last to the first: replay
   the group's states from the kept one, then go back through its mini-batches. */
#ifndef INNER_BWD_H
#define INNER_BWD_H

#include "chunk.h"
#include "inner.h"

#include <omp.h>

/* Gradients of the parameters from one chain, in the workspace until they are summed. */
struct partial {
    float *state, *scale, *bias, *t;
};

static inline size_t partial_floats(size_t state, const struct ttt_shape *s)
{
    return lines(state + 2 * (size_t)s->head_dim + s->mini_batch);
}

static inline struct partial partial_lay(float *at, size_t state, const struct ttt_shape *s)
{
    struct partial p;
    p.state = at;
    p.scale = at + state;
    p.bias = p.scale + s->head_dim;
    p.t = p.bias + s->head_dim;
    return p;
}

static inline size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The workspace of a backward. Also enough for the two that can need more where the model is small:
   the sums of a convolution's gradients, and the errors that the statistics collect over a long
   sequence. */
static inline size_t backward_workspace_bytes(size_t arena, size_t state, const struct ttt_shape *s)
{
    size_t chains = (size_t)s->batch * s->heads, width = (size_t)s->heads * s->head_dim;
    size_t arenas = sizeof(float) * arena * omp_get_max_threads();
    size_t partials = sizeof(float) * partial_floats(state, s) * chains;
    size_t errors = 3 * sizeof(double) * (s->seq / s->mini_batch) * chains;
    size_t sums = sizeof(float) * CHUNKS * (CONV_WIDTH + 1) * width;
    return larger(arenas + larger(partials, errors), sums);
}

/* What stays the same from one mini-batch of a chain to the next. */
struct chain {
    int batch, h;
    const real *q, *k, *v, *dout;
    real *dq, *dk, *dv;
    const float *sigma; /* this chain's, [seq] */
    float *dsigma;
    const float *scale, *bias;
    float t[INNER_TOKENS_MAX];
    struct partial to;
    const struct ttt_shape *s;
};

INLINE void step_sizes(float *rate, float *step, const struct chain *n, int c)
{
    int tokens = n->s->mini_batch;
    for (int j = 0; j < tokens; j++) {
        rate[j] = n->s->rate * n->sigma[c * tokens + j];
        step[j] = n->t[tokens - 1] * rate[j];
    }
}

/* The i-th chain of the arrays; partials as partial_floats lays them. */
static inline struct chain chain_at(int i, real *dq, real *dk, real *dv, float *dsigma,
                                    const real *dout, const real *q, const real *k, const real *v,
                                    const float *sigma, float *partials, size_t state,
                                    const struct ttt_params *p, const struct ttt_shape *s)
{
    int h = i % s->heads;
    struct chain n = {.batch = i / s->heads,
                      .h = h,
                      .q = q,
                      .k = k,
                      .v = v,
                      .dout = dout,
                      .dq = dq,
                      .dk = dk,
                      .dv = dv,
                      .sigma = sigma + (size_t)i * s->seq,
                      .dsigma = dsigma + (size_t)i * s->seq,
                      .scale = p->norm_scale + h * s->head_dim,
                      .bias = p->norm_bias + h * s->head_dim,
                      .to = partial_lay(partials + i * partial_floats(state, s), state, s),
                      .s = s};
    token_weights(n.t, p->token_idx, s->mini_batch);
    return n;
}

/* Gradients of one mini-batch's outputs at their rows: zb becomes normalised, dq = dout and
   dzb = LNV(scale dout). at: where the mini-batch begins in the arrays of tokens. */
INLINE void outputs_rows_bwd(float *zb, float *dq, float *dzb, const struct chain *n, size_t at,
                             const int f)
{
    const size_t stride = (size_t)n->s->heads * f;
    for (int i = 0; i < n->s->mini_batch; i++) {
        float *xb = zb + i * f, u[96];
        const real *dout = n->dout + at + i * stride;
        float r = row_normalise(xb, n->s->eps, f);
#pragma omp simd
        for (int c = 0; c < f; c++) {
            dq[i * f + c] = dout[c];
            n->to.scale[c] += dout[c] * xb[c];
            n->to.bias[c] += dout[c];
            u[c] = n->scale[c] * dout[c];
        }
        row_lnv(dzb + i * f, u, xb, r, f);
    }
}

/* The pairs (i, j) of an output Zb = ... - (E * (A + 1)) G. On entry dp is dZb G^T and a is A; on
   return a is dA. What dE gives is added to the gradients of t and of the rates. */
INLINE void pairs_bwd(float *a, const float *dp, const float *t, const float *rate, float *dt,
                      float *drate, int tokens, int padded)
{
    /* Outside the pairs j <= i of real tokens all of this is 0. */
    for (int i = 0; i < padded; i++) {
        const float *dpi = dp + i * padded;
        float *da = a + i * padded, sum = 0, ti = t[i];
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < padded; j++) {
            float d = j <= i ? -dpi[j] : 0, de = d * (da[j] + 1);
            da[j] = d * ti * rate[j];
            drate[j] += de * ti;
            sum += de * rate[j];
        }
        if (i < tokens)
            dt[i] += sum;
    }
}

/* A layer's update of its state, W' = W - (s X)^T G and b' = b - sum_j s_j G_j, with
   Y = X dW' + db': G's gradient, and that of the step sizes s_j = t_last rate_j. Sets sg = -s G,
   whose padding becomes 0: the product sg dW'^T is X's gradient. */
INLINE void update_rows_bwd(float *dg, float *sg, const float *g, const float *y, const float *step,
                            const float *rate, const struct chain *n, float *drate, const int width)
{
    const int tokens = n->s->mini_batch, last = tokens - 1;
    for (int j = 0; j < tokens; j++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int x = 0; x < width; x++) {
            dot += g[j * width + x] * y[j * width + x];
            dg[j * width + x] -= step[j] * y[j * width + x];
            sg[j * width + x] = -step[j] * g[j * width + x];
        }
        drate[j] -= dot * n->t[last];
        n->to.t[last] -= dot * rate[j];
    }
    memset(sg + tokens * width, 0, sizeof *sg * (inner_padded(tokens) - tokens) * width);
}

/* The second-order step: gradient dg of G back to Z, e and the norm's parameters. On return dz is
   set and dg holds de. */
INLINE void row_gradient_bwd(float *dz, float *dg, float *dscale, float *dbias, const float *g,
                             const float *xh, float r, const float *e, const float *scale,
                             const int f)
{
    float ux = 0, dgx = 0, dgg = 0;
#pragma omp simd reduction(+ : ux, dgx, dgg)
    for (int c = 0; c < f; c++) {
        ux += scale[c] * e[c] * xh[c];
        dgx += dg[c] * xh[c];
        dgg += dg[c] * g[c];
    }
    float mean_ux = ux / f, mean_dgx = dgx / f, mean_dgg = dgg / f;
    float du[96], dxh[96];
    row_lnv(du, dg, xh, r, f);
#pragma omp simd
    for (int c = 0; c < f; c++) {
        float de = scale[c] * du[c];
        dxh[c] = scale[c] * de - r * (dg[c] * mean_ux + scale[c] * e[c] * mean_dgx);
        dscale[c] += du[c] * e[c] + de * xh[c];
        dbias[c] += de;
        dg[c] = de;
    }
    row_lnv(dz, dxh, xh, r, f);
#pragma omp simd
    for (int c = 0; c < f; c++)
        dz[c] -= r * xh[c] * mean_dgg;
}

static inline void floats_add(float *to, const float *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] += from[i];
}

/* Add the chains' gradients, sequence by sequence. state: floats of it. */
static inline void parameters_add(const struct ttt_params *d, float *partials, size_t state,
                                  const struct ttt_params *p, const struct ttt_shape *s)
{
    size_t f = s->head_dim, hidden = d->w2 ? 4 * f : f, size = partial_floats(state, s);
#pragma omp parallel for schedule(static)
    for (int h = 0; h < s->heads; h++)
        for (int b = 0; b < s->batch; b++) {
            float *at = partials + ((size_t)b * s->heads + h) * size;
            struct partial from = partial_lay(at, state, s);
            floats_add(d->w1 + h * f * hidden, from.state, f * hidden);
            floats_add(d->b1 + h * hidden, from.state + f * hidden, hidden);
            if (d->w2) {
                const float *second = from.state + f * hidden + hidden;
                floats_add(d->w2 + h * hidden * f, second, hidden * f);
                floats_add(d->b2 + h * f, second + hidden * f, f);
            }
            floats_add(d->norm_scale + h * f, from.scale, f);
            floats_add(d->norm_bias + h * f, from.bias, f);
        }
    float t[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, s->mini_batch);
    for (int i = 0; i < s->mini_batch; i++) {
        double sum = 0;
        for (int chain = 0; chain < s->batch * s->heads; chain++)
            sum += partial_lay(partials + chain * size, state, s).t[i];
        if (t[i] > 0) /* no gradient where the weight was clipped */
            d->token_idx[i] += (float)sum;
    }
}

#endif
