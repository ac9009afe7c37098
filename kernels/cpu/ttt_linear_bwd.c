/* ttt_linear_bwd.c -- the inner loop of TTT-Linear, backward. */
#include "device.h"
#include "inner_bwd.h"
#include "kernels.h"

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

size_t ttt_linear_bwd_workspace_bytes(const struct ttt_shape *s)
{
    return backward_workspace_bytes(arena_floats(s), ttt_linear_state_floats(s->head_dim), s);
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
   Leaves dZb, p, dA (in a1) and the rows' part of dQ. */
INLINE void outputs_bwd(const int f, struct arena *a, const struct chain *n, size_t at,
                        const float *w, const float *g, const float *rate, float *dt, float *drate)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens), tile = padded * f;
    const float *b = w + f * f;
    float *queries = a->xq + tile, *dq = a->dxq + tile, *dzb = a->dz + tile;

    transpose(a->xt, a->xq, padded, f);
    product(a->a1, queries, f, 1, a->xt, padded, padded, f, false);
    pair_weights(a->p, a->a1, n->t, rate, padded);
    rows_fill(a->zb, b, padded, f);
    product(a->zb, queries, f, 1, w, padded, f, f, true);
    product(a->zb, a->p, padded, 1, g, padded, f, padded, true);
    outputs_rows_bwd(a->zb, dq, dzb, n, at, f);
    transpose(a->gt, g, padded, f);
    product(a->dp, dzb, f, 1, a->gt, padded, padded, f, false);
    pairs_bwd(a->a1, a->dp, n->t, rate, dt, drate, tokens, padded);
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
    update_rows_bwd(a->dg, sg, g, y, step, rate, n, drate, f);
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

void ttt_linear_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                    const real *dout, const float *dlast, const real *q, const real *k,
                    const real *v, const float *sigma, const float *kept,
                    const struct ttt_params *p, const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads, steps = s->seq / s->mini_batch;
    size_t arena = arena_floats(s), state = ttt_linear_state_floats(s->head_dim);
    size_t partial = partial_floats(state, s);
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    float *work = device_workspace(ttt_linear_bwd_workspace_bytes(s));
    float *partials = work + arena * omp_get_max_threads();
    memset(partials, 0, sizeof *partials * partial * chains);
#pragma omp parallel
    {
        struct arena a = arena_lay(work + arena * omp_get_thread_num(), s);
#pragma omp for schedule(dynamic)
        for (int i = 0; i < chains; i++) {
            struct chain n =
                chain_at(i, dq, dk, dv, dsigma, dout, q, k, v, sigma, partials, state, p, s);
            WITH_HEAD_DIM(s->head_dim, chain_bwd, &a, &n, kept + i * groups * state,
                          dlast ? dlast + i * state : NULL);
        }
    }
    parameters_add(d, partials, state, p, s);
}
