/* ttt_mlp_bwd.c -- the inner loop of TTT-MLP, backward. */
#include "device.h"
#include "inner_bwd.h"
#include "inner_mlp.h"
#include "kernels.h"

/* What the replay of a group leaves, per mini-batch; the rest is made again from it. */
struct replayed {
    float *state;           /* before it */
    float *z1, *h;          /* [padded][4f] */
    float *xh, *e, *g2, *r; /* [padded][f], r [padded] */
};

/* One thread's scratch. Tiles of several parts hold them one after the other: rows of keys, rows of
   queries, rows of the inner gradient. */
struct arena {
    float *dstate;                 /* gradient of the state, carried back */
    float *xq, *dxq;               /* [2 padded][f] */
    float *dz2;                    /* [3 padded][f]: dZ2, dZ2b, G2 */
    float *v, *zb, *dg2, *small;   /* [padded][f] */
    float *xt, *gt, *back;         /* [f][padded], back [f][2 padded] */
    float *x2;                     /* [3 padded][4f]: X2, X2b, dH */
    float *dz1;                    /* [2 padded][4f]: dZ1, dZ1b */
    float *dz1t;                   /* [4f][2 padded] */
    float *slope, *slope_b;        /* [padded][4f]: gelu'(Z1), gelu'(Z1b) */
    float *bend;                   /* [padded][4f]: H gelu''(Z1) */
    float *g1, *dg1, *dx2;         /* [padded][4f] */
    float *g1t, *wide;             /* [4f][padded] */
    float *a1, *p1, *a2, *p2, *dp; /* [padded][padded] */
    float *group;                  /* of replayed mini-batches */
};

static size_t group_count(const struct ttt_shape *s)
{
    int steps = s->seq / s->mini_batch;
    return s->keep_every < steps ? s->keep_every : steps;
}

static size_t replayed_floats(const struct ttt_shape *s)
{
    size_t tile = (size_t)inner_padded(s->mini_batch) * s->head_dim;
    return lines(ttt_mlp_state_floats(s->head_dim)) + 11 * tile + inner_padded(s->mini_batch);
}

/* The i-th of the group. */
INLINE struct replayed replayed_at(float *group, int i, int padded, const int f)
{
    const size_t state = lines(8 * (size_t)f * f + 5 * f), tile = (size_t)padded * f;
    struct replayed r;
    r.state = group + i * (state + 11 * tile + padded);
    r.z1 = r.state + state;
    r.h = r.z1 + 4 * tile;
    r.xh = r.h + 4 * tile;
    r.e = r.xh + tile;
    r.g2 = r.e + tile;
    r.r = r.g2 + tile;
    return r;
}

static size_t arena_floats(const struct ttt_shape *s)
{
    size_t padded = inner_padded(s->mini_batch), tile = padded * s->head_dim;
    return lines(ttt_mlp_state_floats(s->head_dim)) + (15 + 4 * 15) * tile + 5 * padded * padded +
           group_count(s) * replayed_floats(s);
}

size_t ttt_mlp_bwd_workspace_bytes(const struct ttt_shape *s)
{
    return backward_workspace_bytes(arena_floats(s), ttt_mlp_state_floats(s->head_dim), s);
}

static float *take(float **at, size_t floats)
{
    float *taken = *at;
    *at += floats;
    return taken;
}

static struct arena arena_lay(float *at, const struct ttt_shape *s)
{
    size_t padded = inner_padded(s->mini_batch), tile = padded * s->head_dim;
    struct arena a;
    memset(at, 0, sizeof *at * arena_floats(s));
    a.dstate = take(&at, lines(ttt_mlp_state_floats(s->head_dim)));
    a.xq = take(&at, 2 * tile);
    a.dxq = take(&at, 2 * tile);
    a.dz2 = take(&at, 3 * tile);
    a.v = take(&at, tile);
    a.zb = take(&at, tile);
    a.dg2 = take(&at, tile);
    a.small = take(&at, tile);
    a.xt = take(&at, tile);
    a.gt = take(&at, tile);
    a.back = take(&at, 2 * tile);
    a.x2 = take(&at, 12 * tile);
    a.dz1 = take(&at, 8 * tile);
    a.dz1t = take(&at, 8 * tile);
    a.slope = take(&at, 4 * tile);
    a.slope_b = take(&at, 4 * tile);
    a.bend = take(&at, 4 * tile);
    a.g1 = take(&at, 4 * tile);
    a.dg1 = take(&at, 4 * tile);
    a.dx2 = take(&at, 4 * tile);
    a.g1t = take(&at, 4 * tile);
    a.wide = take(&at, 4 * tile);
    a.a1 = take(&at, padded * padded);
    a.p1 = take(&at, padded * padded);
    a.a2 = take(&at, padded * padded);
    a.p2 = take(&at, padded * padded);
    a.dp = take(&at, padded * padded);
    a.group = at;
    return a;
}

/* Mini-batch c, the i-th of its group: its inner gradient, and the state of the next. */
INLINE void replay(const int f, struct arena *a, const struct chain *n, int c, int i, bool more)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens);
    const size_t stride = (size_t)s->heads * f, at = head_at(s, n->batch, c * tokens, n->h);
    const struct replayed to = replayed_at(a->group, i, padded, f);
    const struct mlp m = mlp_lay(to.state, f);
    const struct mlp_learned l = {
        .z1 = to.z1, .x2 = a->x2, .xh = to.xh, .e = to.e, .r = to.r, .g2 = to.g2, .h = to.h};
    if (more) {
        rows_prefetch(n->k + at + tokens * stride, stride, tokens, f);
        rows_prefetch(n->v + at + tokens * stride, stride, tokens, f);
    }
    rows_load(a->xq, n->k + at, stride, tokens, f);
    rows_load(a->v, n->v + at, stride, tokens, f);
    layer(to.z1, a->xq, m.w1, m.b1, padded, f, 4 * f);
    mlp_learn(&l, a->wide, a->gt, a->xq, a->v, &m, n->scale, n->bias, s->eps, tokens, padded, f);
    if (!more)
        return;
    float rate[INNER_TOKENS_MAX], step[INNER_TOKENS_MAX];
    step_sizes(rate, step, n, c);
#pragma omp simd
    for (int j = 0; j < padded * 4 * f; j++)
        a->g1[j] = to.h[j] * gelu_first(to.z1[j], gelu_sigmoid(to.z1[j]));
    const struct replayed next = replayed_at(a->group, i + 1, padded, f);
    memcpy(next.state, to.state, sizeof *next.state * ttt_mlp_state_floats(f));
    const struct mlp moved = mlp_lay(next.state, f);
    mlp_update(&moved, a->small, a->xq, a->g1, a->x2, to.g2, step, tokens, padded, f);
}

/* What the forward had: X2, gelu' and gelu'' at the keys, G1; then the outputs up to Zb with X2b
   and gelu' at the queries, and the pairs A1, P1, A2, P2. */
INLINE void forward_again(const int f, struct arena *a, const struct replayed *now, const float *t,
                          const float *rate, int padded)
{
    const int tile = padded * f, wide = padded * 4 * f;
    const struct mlp m = mlp_lay(now->state, f);
    float *queries = a->xq + tile, *x2b = a->x2 + wide;
#pragma omp simd
    for (int i = 0; i < wide; i++) {
        float z = now->z1[i], h = now->h[i];
        struct vec_sigmoid g = gelu_sigmoid(z);
        a->x2[i] = z * g.s;
        a->slope[i] = gelu_first(z, g);
        a->bend[i] = h * gelu_second(z, g);
        a->g1[i] = h * a->slope[i];
    }
    transpose(a->xt, a->xq, padded, f);
    product(a->a1, queries, f, 1, a->xt, padded, padded, f, false);
    pair_weights(a->p1, a->a1, t, rate, padded);
    layer(x2b, queries, m.w1, m.b1, padded, f, 4 * f);
    product(x2b, a->p1, padded, 1, a->g1, padded, 4 * f, padded, true);
#pragma omp simd
    for (int i = 0; i < wide; i++) {
        float z = x2b[i];
        struct vec_sigmoid g = gelu_sigmoid(z);
        x2b[i] = z * g.s;
        a->slope_b[i] = gelu_first(z, g);
    }
    transpose(a->wide, a->x2, padded, 4 * f);
    product(a->a2, x2b, 4 * f, 1, a->wide, padded, padded, 4 * f, false);
    pair_weights(a->p2, a->a2, t, rate, padded);
    layer(a->zb, x2b, m.w2, m.b2, padded, 4 * f, f);
    product(a->zb, a->p2, padded, 1, now->g2, padded, f, padded, true);
}

/* From the outputs back to Zb, Z1b and the pairs. Sets dZ2b, dZ1b, the pairs' parts of dX2, dG2,
   dG1 and dX, dA1 in a1, dQ but for dZ1b W1^T, and G1^T. */
INLINE void outputs_bwd(const int f, struct arena *a, const struct chain *n,
                        const struct replayed *now, size_t at, const float *rate, float *drate)
{
    const int tokens = n->s->mini_batch, padded = inner_padded(tokens);
    const int tile = padded * f, wide = padded * 4 * f;
    const struct mlp m = mlp_lay(now->state, f);
    float *keys = a->xq, *queries = keys + tile, *dx = a->dxq, *dq = dx + tile;
    float *x2b = a->x2 + wide, *dz2b = a->dz2 + tile, *dz1b = a->dz1 + wide;

    outputs_rows_bwd(a->zb, dq, dz2b, n, at, f);
    transpose(a->gt, now->g2, padded, f);
    product(a->dp, dz2b, f, 1, a->gt, padded, padded, f, false);
    pairs_bwd(a->a2, a->dp, n->t, rate, n->to.t, drate, tokens, padded);
    product(a->dg2, a->p2, 1, padded, dz2b, padded, f, padded, false);
    product(a->dx2, a->a2, 1, padded, x2b, padded, 4 * f, padded, false);
    layer_back(dz1b, a->wide, a->gt, dz2b, m.w2, padded, f, 4 * f);
    product(dz1b, a->a2, padded, 1, a->x2, padded, 4 * f, padded, true);
#pragma omp simd
    for (int i = 0; i < wide; i++)
        dz1b[i] *= a->slope_b[i];
    transpose(a->g1t, a->g1, padded, 4 * f);
    product(a->dp, dz1b, 4 * f, 1, a->g1t, padded, padded, 4 * f, false);
    pairs_bwd(a->a1, a->dp, n->t, rate, n->to.t, drate, tokens, padded);
    product(a->dg1, a->p1, 1, padded, dz1b, padded, 4 * f, padded, false);
    product(dq, a->a1, padded, 1, keys, padded, f, padded, true);
    product(dx, a->a1, 1, padded, queries, padded, f, padded, false);
}

/* The update of both layers. Adds to dG1 and dG2; leaves X's part in back [f][padded] and that of
   X2 in wide [4f][padded], both transposed. */
INLINE void update_bwd(const int f, struct arena *a, const struct chain *n,
                       const struct replayed *now, const float *step, const float *rate,
                       float *drate)
{
    const int padded = inner_padded(n->s->mini_batch);
    const struct mlp dm = mlp_lay(a->dstate, f);
    float *y1 = a->x2 + 2 * padded * 4 * f, *y2 = a->zb; /* where dH will be */
    layer(y1, a->xq, dm.w1, dm.b1, padded, f, 4 * f);
    update_rows_bwd(a->dg1, y1, a->g1, y1, step, rate, n, drate, 4 * f);
    transpose(a->g1t, y1, padded, 4 * f);
    product(a->back, dm.w1, 4 * f, 1, a->g1t, f, padded, 4 * f, false);
    layer(y2, a->x2, dm.w2, dm.b2, padded, 4 * f, f);
    update_rows_bwd(a->dg2, y2, now->g2, y2, step, rate, n, drate, f);
    transpose(a->gt, y2, padded, f);
    product(a->wide, dm.w2, f, 1, a->gt, 4 * f, padded, f, false);
}

/* Mini-batch c, the i-th of its replayed group. */
INLINE void step_bwd(const int f, struct arena *a, const struct chain *n, int c, int i)
{
    const struct ttt_shape *s = n->s;
    const int tokens = s->mini_batch, padded = inner_padded(tokens);
    const int tile = padded * f, wide = padded * 4 * f;
    const size_t stride = (size_t)s->heads * f, at = head_at(s, n->batch, c * tokens, n->h);
    const struct replayed now = replayed_at(a->group, i, padded, f);
    const struct mlp m = mlp_lay(now.state, f), dm = mlp_lay(a->dstate, f);
    float *keys = a->xq, *queries = keys + tile, *dx = a->dxq, *dq = dx + tile;
    float *dh = a->x2 + 2 * wide;
    float rate[INNER_TOKENS_MAX] = {0}, step[INNER_TOKENS_MAX], drate[INNER_TOKENS_MAX] = {0};

    if (c > 0) {
        size_t before = at - tokens * stride;
        rows_prefetch(n->q + before, stride, tokens, f);
        rows_prefetch(n->dout + before, stride, tokens, f);
    }
    rows_load(keys, n->k + at, stride, tokens, f);
    rows_load(queries, n->q + at, stride, tokens, f);
    step_sizes(rate, step, n, c);
    forward_again(f, a, &now, n->t, rate, padded);
    outputs_bwd(f, a, n, &now, at, rate, drate);
    update_bwd(f, a, n, &now, step, rate, drate);

    /* G1 = (G2 W2^T) gelu'(Z1) */
#pragma omp simd
    for (int x = 0; x < wide; x++) {
        dh[x] = a->dg1[x] * a->slope[x];
        a->dz1[x] = a->dg1[x] * a->bend[x];
    }
    product(a->dg2, dh, 4 * f, 1, m.w2, padded, f, 4 * f, true);
    for (int j = 0; j < tokens; j++) {
        float *de = a->dg2 + j * f;
        row_gradient_bwd(a->dz2 + j * f, de, n->to.scale, n->to.bias, now.g2 + j * f,
                         now.xh + j * f, now.r[j], now.e + j * f, n->scale, f);
        real *dv = n->dv + at + j * stride;
#pragma omp simd
        for (int x = 0; x < f; x++) {
            dv[x] = -de[x];
            dx[j * f + x] += de[x];
        }
        n->dsigma[c * tokens + j] = s->rate * drate[j];
    }

    /* Through the layers: X2, Z1, and the rows of keys and queries. */
    transpose(a->gt, a->dz2, padded, f);
    product(a->wide, m.w2, f, 1, a->gt, 4 * f, padded, f, true);
    float *more = a->g1; /* G1 has been used */
    transpose(more, a->wide, 4 * f, padded);
#pragma omp simd
    for (int x = 0; x < wide; x++)
        a->dz1[x] += (a->dx2[x] + more[x]) * a->slope[x];
    transpose(a->xt, a->back, f, padded);
    for (int x = 0; x < tile; x++)
        dx[x] += a->xt[x];
    transpose(a->dz1t, a->dz1, 2 * padded, 4 * f);
    product(a->back, m.w1, 4 * f, 1, a->dz1t, f, 2 * padded, 4 * f, false);
    float *both = a->dz1t; /* used as well */
    transpose(both, a->back, f, 2 * padded);
    for (int j = 0; j < tokens; j++)
        for (int x = 0; x < f; x++) {
            n->dk[at + j * stride + x] = dx[j * f + x] + both[j * f + x];
            n->dq[at + j * stride + x] = dq[j * f + x] + both[tile + j * f + x];
        }

    /* The state before. */
    memcpy(a->dz2 + 2 * tile, now.g2, sizeof *now.g2 * tile);
    product(dm.w1, keys, 1, f, a->dz1, f, 4 * f, 2 * padded, true);
    product(dm.w2, a->x2, 1, 4 * f, a->dz2, 4 * f, f, 3 * padded, true);
    for (int j = 0; j < 2 * padded; j++) {
        for (int x = 0; x < 4 * f; x++)
            dm.b1[x] += a->dz1[j * 4 * f + x];
        for (int x = 0; x < f; x++)
            dm.b2[x] += a->dz2[j * f + x];
    }
}

INLINE void chain_bwd(const int f, struct arena *a, const struct chain *n, const float *kept,
                      const float *dlast)
{
    const struct ttt_shape *s = n->s;
    const int steps = s->seq / s->mini_batch, every = group_count(s);
    const size_t state = ttt_mlp_state_floats(f);
    if (dlast)
        memcpy(a->dstate, dlast, sizeof *dlast * state);
    else
        memset(a->dstate, 0, sizeof *a->dstate * state);
    for (int group = (steps - 1) / every; group >= 0; group--) {
        int begin = group * every, count = steps - begin < every ? steps - begin : every;
        memcpy(a->group, kept + group * state, sizeof *kept * state);
        for (int i = 0; i < count; i++)
            replay(f, a, n, begin + i, i, i + 1 < count);
        for (int i = count - 1; i >= 0; i--)
            step_bwd(f, a, n, begin + i, i);
    }
    memcpy(n->to.state, a->dstate, sizeof *a->dstate * state);
}

void ttt_mlp_bwd(real *dq, real *dk, real *dv, float *dsigma, const struct ttt_params *d,
                 const real *dout, const float *dlast, const real *q, const real *k, const real *v,
                 const float *sigma, const float *kept, const struct ttt_params *p,
                 const struct ttt_shape *s)
{
    shape_check(s);
    int chains = s->batch * s->heads, steps = s->seq / s->mini_batch;
    size_t arena = arena_floats(s), state = ttt_mlp_state_floats(s->head_dim);
    size_t partial = partial_floats(state, s);
    size_t groups = (steps + s->keep_every - 1) / s->keep_every;
    float *work = device_workspace(ttt_mlp_bwd_workspace_bytes(s));
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
