/* ttt_linear_bwd.c -- the inner loop of TTT-Linear, backward.

   A chain is one head of one sequence. It walks its kept groups from the last to the first: replay
   the group's states from the kept one, then go back through its mini-batches. */
#include "chunk.h"
#include "device.h"
#include "inner.h"
#include "kernels.h"

#include <omp.h>

/* One thread's scratch. Rows of keys come first in a tile of 2 padded rows, then those of queries.
 */
struct arena {
    float *dw, *db;           /* [f][f], [f]: gradient of the state, carried back */
    float *wt;                /* [f][f]: a transposed matrix */
    float *xq, *dxq, *dz;     /* [2 padded][f] */
    float *v, *zb, *dg, *tmp; /* [padded][f] */
    float *xt, *gt;           /* [f][padded] */
    float *a1, *p, *dp;       /* [padded][padded] */
    /* What the replay of a group leaves, per mini-batch: */
    float *state; /* W and b before it */
    float *xh, *e, *g, *r;
};

/* Gradients of the parameters from one chain, in the workspace until they are summed. */
struct partial {
    float *state, *scale, *bias, *t;
};

static size_t group_floats(const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch);
    return lines(f * f + f) + 3 * padded * f + lines(padded);
}

static size_t arena_floats(const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch);
    return lines(f * f + f) + lines(f * f) + 12 * padded * f + 3 * padded * padded +
           group_floats(s) * s->keep_every;
}

static size_t partial_floats(const struct ttt_shape *s)
{
    return lines(ttt_linear_state_floats(s->head_dim) + 2 * (size_t)s->head_dim + s->mini_batch);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Also enough for the two that can need more where the model is small: the sums of a convolution's
   gradients, and the errors that ttt_linear_stats collects over a long sequence. */
size_t ttt_linear_bwd_workspace_bytes(const struct ttt_shape *s)
{
    size_t chains = (size_t)s->batch * s->heads, width = (size_t)s->heads * s->head_dim;
    size_t arenas = sizeof(float) * arena_floats(s) * omp_get_max_threads();
    size_t partials = sizeof(float) * partial_floats(s) * chains;
    size_t errors = 3 * sizeof(double) * (s->seq / s->mini_batch) * chains;
    size_t sums = sizeof(float) * CHUNKS * (CONV_WIDTH + 1) * width;
    return larger(arenas + larger(partials, errors), sums);
}

static struct arena arena_lay(float *at, const struct ttt_shape *s)
{
    size_t f = s->head_dim, padded = inner_padded(s->mini_batch), tile = padded * f;
    size_t square = padded * padded, group = s->keep_every;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s));
    a.dw = at;
    a.db = a.dw + f * f;
    a.wt = at + lines(f * f + f);
    a.xq = a.wt + lines(f * f);
    a.dxq = a.xq + 2 * tile;
    a.dz = a.dxq + 2 * tile;
    a.v = a.dz + 2 * tile;
    a.zb = a.v + tile;
    a.dg = a.zb + tile;
    a.tmp = a.dg + tile;
    a.xt = a.tmp + tile;
    a.gt = a.xt + tile;
    a.a1 = a.gt + tile;
    a.p = a.a1 + square;
    a.dp = a.p + square;
    a.state = a.dp + square;
    a.xh = a.state + lines(f * f + f) * group;
    a.e = a.xh + tile * group;
    a.g = a.e + tile * group;
    a.r = a.g + tile * group;
    return a;
}

static struct partial partial_lay(float *at, const struct ttt_shape *s)
{
    struct partial p;
    p.state = at;
    p.scale = at + ttt_linear_state_floats(s->head_dim);
    p.bias = p.scale + s->head_dim;
    p.t = p.bias + s->head_dim;
    return p;
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

/* Mini-batch c, the i-th of its group: xh, e, G, r from its state, and the state of the next. */
INLINE void replay(const int f, struct arena *a, const struct chain *n, int c, int i, bool more)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens), tile = padded * f;
    const size_t stride = (size_t)s->heads * f, at = head_at(s, n->batch, c * tokens, n->h);
    float *w = a->state + lines(f * f + f) * i, *b = w + f * f;
    float *xh = a->xh + tile * i, *e = a->e + tile * i, *g = a->g + tile * i;
    float *r = a->r + lines(padded) * i;
    if (more) {
        rows_prefetch(n->k + at + tokens * stride, stride, tokens, f);
        rows_prefetch(n->v + at + tokens * stride, stride, tokens, f);
    }
    rows_load(a->xq, n->k + at, stride, tokens, f);
    rows_load(a->v, n->v + at, stride, tokens, f);
    rows_fill(xh, b, padded, f);
    product(xh, a->xq, f, 1, w, padded, f, f, true);
    for (int j = 0; j < tokens; j++)
        r[j] = row_gradient(xh + j * f, e + j * f, g + j * f, a->xq + j * f, a->v + j * f, n->scale,
                            n->bias, s->eps, f);
    if (!more)
        return;
    float rate[INNER_TOKENS_MAX], step[INNER_TOKENS_MAX];
    step_sizes(rate, step, n, c);
    float *next = w + lines(f * f + f);
    memcpy(next, w, sizeof *w * (f * f + f));
    state_update(next, next + f * f, a->tmp, a->xq, g, step, tokens, padded, f);
}

/* Read one mini-batch's outputs again and take their gradient back to Zb and to the pairs (i, j).
   Leaves dZb, p, a1, dp = dE and dA (in a1), and the rows' part of dQ. */
INLINE void outputs_bwd(const int f, struct arena *a, const struct chain *n, size_t at,
                        const float *w, const float *g, const float *rate, float *dt, float *drate)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens), tile = padded * f;
    const size_t stride = (size_t)s->heads * f;
    const float *b = w + f * f;
    float *queries = a->xq + tile, *dq = a->dxq + tile, *dzb = a->dz + tile;

    transpose(a->xt, a->xq, padded, f);
    product(a->a1, queries, f, 1, a->xt, padded, padded, f, false);
    pair_weights(a->p, a->a1, n->t, rate, padded);
    rows_fill(a->zb, b, padded, f);
    product(a->zb, queries, f, 1, w, padded, f, f, true);
    product(a->zb, a->p, padded, 1, g, padded, f, padded, true);
    for (int i = 0; i < tokens; i++) {
        float *xb = a->zb + i * f, u[96];
        const real *dout = n->dout + at + i * stride;
        float r = row_normalise(xb, s->eps, f);
#pragma omp simd
        for (int c = 0; c < f; c++) {
            dq[i * f + c] = dout[c];
            n->to.scale[c] += dout[c] * xb[c];
            n->to.bias[c] += dout[c];
            u[c] = n->scale[c] * dout[c];
        }
        row_lnv(dzb + i * f, u, xb, r, f);
    }
    transpose(a->gt, g, padded, f);
    product(a->dp, dzb, f, 1, a->gt, padded, padded, f, false);
    /* Outside the pairs j <= i of real tokens all of this is 0. */
    for (int i = 0; i < padded; i++) {
        float *de = a->dp + i * padded, *da = a->a1 + i * padded, sum = 0, ti = n->t[i];
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < padded; j++) {
            float dp = j <= i ? -de[j] : 0;
            de[j] = dp * (da[j] + 1);
            da[j] = dp * ti * rate[j];
            drate[j] += de[j] * ti;
            sum += de[j] * rate[j];
        }
        if (i < tokens)
            dt[i] += sum;
    }
}

/* Mini-batch c, the i-th of its replayed group. */
INLINE void step_bwd(const int f, struct arena *a, const struct chain *n, int c, int i)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens), tile = padded * f;
    const size_t stride = (size_t)s->heads * f, at = head_at(s, n->batch, c * tokens, n->h);
    const float *w = a->state + lines(f * f + f) * i;
    const float *xh = a->xh + tile * i, *e = a->e + tile * i, *g = a->g + tile * i;
    const float *r = a->r + lines(padded) * i;
    float *keys = a->xq, *queries = keys + tile, *dx = a->dxq, *dq = dx + tile;
    float *dz = a->dz, *dzb = dz + tile;
    float rate[INNER_TOKENS_MAX] = {0}, step[INNER_TOKENS_MAX], drate[INNER_TOKENS_MAX] = {0};

    if (c > 0) {
        size_t before = at - tokens * stride;
        rows_prefetch(n->q + before, stride, tokens, f);
        rows_prefetch(n->dout + before, stride, tokens, f);
    }
    rows_load(keys, n->k + at, stride, tokens, f);
    rows_load(queries, n->q + at, stride, tokens, f);
    step_sizes(rate, step, n, c);
    outputs_bwd(f, a, n, at, w, g, rate, n->to.t, drate);
    product(a->dg, a->p, 1, padded, dzb, padded, f, padded, false);
    product(dq, a->a1, padded, 1, keys, padded, f, padded, true);
    product(dx, a->a1, 1, padded, queries, padded, f, padded, false);

    /* The update of the state: Y = X dW' + db'. */
    float *y = a->zb, *sg = a->tmp;
    rows_fill(y, a->db, padded, f);
    product(y, keys, f, 1, a->dw, padded, f, f, true);
    for (int j = 0; j < tokens; j++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int x = 0; x < f; x++) {
            dot += g[j * f + x] * y[j * f + x];
            a->dg[j * f + x] -= step[j] * y[j * f + x];
            sg[j * f + x] = -step[j] * g[j * f + x];
        }
        drate[j] -= dot * n->t[tokens - 1];
        n->to.t[tokens - 1] -= dot * rate[j];
    }
    memset(sg + tokens * f, 0, sizeof *sg * (padded - tokens) * f);
    transpose(a->wt, a->dw, f, f);
    product(dx, sg, f, 1, a->wt, padded, f, f, true);

    for (int j = 0; j < tokens; j++) {
        float *de = a->dg + j * f;
        row_gradient_bwd(dz + j * f, de, n->to.scale, n->to.bias, g + j * f, xh + j * f, r[j],
                         e + j * f, n->scale, f);
        real *dv = n->dv + at + j * stride;
#pragma omp simd
        for (int x = 0; x < f; x++) {
            dv[x] = -de[x];
            dx[j * f + x] += de[x];
            a->db[x] += dz[j * f + x] + dzb[j * f + x];
        }
        n->dsigma[c * tokens + j] = s->rate * drate[j];
    }
    transpose(a->wt, w, f, f);
    product(dx, dz, f, 1, a->wt, 2 * padded, f, f, true);
    product(a->dw, keys, 1, f, dz, f, f, 2 * padded, true);
    for (int j = 0; j < tokens; j++)
        for (int x = 0; x < f; x++) {
            n->dk[at + j * stride + x] = dx[j * f + x];
            n->dq[at + j * stride + x] = dq[j * f + x];
        }
}

INLINE void chain_bwd(const int f, struct arena *a, const struct chain *n, const float *kept,
                      const float *dlast)
{
    const struct ttt_shape *s = n->s;
    const int steps = s->seq / s->mini_batch, every = s->keep_every;
    const size_t state = (size_t)f * f + f;
    if (dlast)
        memcpy(a->dw, dlast, sizeof *dlast * state);
    else
        memset(a->dw, 0, sizeof *a->dw * state);
    for (int group = (steps - 1) / every; group >= 0; group--) {
        int begin = group * every, count = steps - begin < every ? steps - begin : every;
        memcpy(a->state, kept + group * state, sizeof *kept * state);
        for (int i = 0; i < count; i++)
            replay(f, a, n, begin + i, i, i + 1 < count);
        for (int i = count - 1; i >= 0; i--)
            step_bwd(f, a, n, begin + i, i);
    }
    memcpy(n->to.state, a->dw, sizeof *a->dw * state);
}

/* Add the chains' gradients, sequence by sequence. */
static void parameters_add(const struct ttt_params *d, float *partials, const struct ttt_params *p,
                           const struct ttt_shape *s)
{
    int f = s->head_dim, tokens = s->mini_batch;
    size_t size = partial_floats(s);
#pragma omp parallel for schedule(static)
    for (int h = 0; h < s->heads; h++)
        for (int b = 0; b < s->batch; b++) {
            struct partial from = partial_lay(partials + ((size_t)b * s->heads + h) * size, s);
            for (int i = 0; i < f * f; i++)
                d->w1[(size_t)h * f * f + i] += from.state[i];
            for (int i = 0; i < f; i++) {
                d->b1[h * f + i] += from.state[f * f + i];
                d->norm_scale[h * f + i] += from.scale[i];
                d->norm_bias[h * f + i] += from.bias[i];
            }
        }
    float t[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, tokens);
    for (int i = 0; i < tokens; i++) {
        double sum = 0;
        for (int chain = 0; chain < s->batch * s->heads; chain++)
            sum += partial_lay(partials + chain * size, s).t[i];
        if (t[i] > 0) /* no gradient where the weight was clipped */
            d->token_idx[i] += (float)sum;
    }
}

void ttt_linear_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                    const real *dout, const float *dlast, const real *q, const real *k,
                    const real *v, const float *sigma, const float *kept,
                    const struct ttt_params *p, const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads, steps = s->seq / s->mini_batch;
    size_t arena = arena_floats(s), partial = partial_floats(s);
    size_t state = ttt_linear_state_floats(s->head_dim);
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    float *work = device_workspace(ttt_linear_bwd_workspace_bytes(s));
    float *partials = work + arena * omp_get_max_threads();
    memset(partials, 0, sizeof *partials * partial * chains);
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), s);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < chains; i++) {
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
                              .to = partial_lay(partials + i * partial, s),
                              .s = s};
            token_weights(n.t, p->token_idx, s->mini_batch);
            WITH_HEAD_DIM(s->head_dim, chain_bwd, &a, &n, kept + i * groups * state,
                          dlast ? dlast + i * state : NULL);
        }
    }
    parameters_add(d, partials, p, s);
}
