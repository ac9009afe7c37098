/* inner_model.h -- the definition of the TTT operations, written token by token in double.

   There are no mini-batch matrices here: token i of a mini-batch learns from its key at the
   mini-batch's first state, and reads with that state less t_i times everything learned so far. */
#ifndef INNER_MODEL_H
#define INNER_MODEL_H

#include "numbers.h"

enum { MAX_F = 96, MAX_K = 200, MAX_STATE = 8 * MAX_F * MAX_F + 5 * MAX_F };

/* Host arrays of one layer; sizes as in kernels.h. */
enum { Q, K, V, SIGMA, TOKEN_IDX, SCALE, BIAS, W1, B1, W2, B2, INPUTS };
static const char *const input_names[] = {"q",    "k",  "v",  "sigma", "token_idx", "scale",
                                          "bias", "w1", "b1", "w2",    "b2"};

struct layer {
    struct ttt_shape s;
    bool mlp;
    int hidden; /* columns of w1 */
    size_t state;
    size_t count[INPUTS];
    double *in[INPUTS];
};

struct result {
    double *out;   /* as q */
    double *last;  /* [batch][heads][state] */
    double *curve; /* [3][steps], or NULL */
};

/* What a state makes of one row. */
struct reading {
    double z1[4 * MAX_F], x2[4 * MAX_F]; /* of the MLP */
    double y[MAX_F], xh[MAX_F], r;
};

static inline double gelu_tanh(double x)
{
    return tanh(0.79788456 * x * (1 + 0.044715 * x * x));
}

static inline double gelu_slope(double x)
{
    double th = gelu_tanh(x);
    return 0.5 * (1 + th) + 0.5 * x * (1 - th * th) * 0.79788456 * (1 + 3 * 0.044715 * x * x);
}

static inline void affine(double *y, const double *x, const double *w, const double *b, int m,
                          int n)
{
    memcpy(y, b, sizeof *y * n);
    for (int i = 0; i < m; i++)
        for (int c = 0; c < n; c++)
            y[c] += x[i] * w[i * n + c];
}

/* y = scale * norm(model(x)) + bias for head h */
static inline void read_row(struct reading *to, const struct layer *l, const double *x,
                            const double *state, int h)
{
    int f = l->s.head_dim, n = l->hidden;
    double z[MAX_F], mean = 0, variance = 0;
    if (l->mlp) {
        affine(to->z1, x, state, state + f * n, f, n);
        for (int c = 0; c < n; c++)
            to->x2[c] = 0.5 * to->z1[c] * (1 + gelu_tanh(to->z1[c]));
        affine(z, to->x2, state + f * n + n, state + 2 * f * n + n, n, f);
    } else {
        affine(z, x, state, state + f * f, f, f);
    }
    for (int c = 0; c < f; c++)
        mean += z[c] / f;
    for (int c = 0; c < f; c++)
        variance += (z[c] - mean) * (z[c] - mean) / f;
    to->r = 1 / sqrt(variance + l->s.eps);
    for (int c = 0; c < f; c++) {
        to->xh[c] = (z[c] - mean) * to->r;
        to->y[c] = l->in[SCALE][h * f + c] * to->xh[c] + l->in[BIAS][h * f + c];
    }
}

/* mean over the head of (model(k) - (v - k))^2 */
static inline double misfit(const struct layer *l, const double *k, const double *v,
                            const double *state, int h)
{
    struct reading r;
    double sum = 0;
    read_row(&r, l, k, state, h);
    for (int c = 0; c < l->s.head_dim; c++)
        sum += pow(r.y[c] - v[c] + k[c], 2) / l->s.head_dim;
    return sum;
}

/* w [m][n] += g x^T d; b += g d */
static inline void learn_layer(double *w, double *b, const double *x, const double *d, double g,
                               int m, int n)
{
    for (int c = 0; c < n; c++) {
        b[c] += g * d[c];
        for (int i = 0; i < m; i++)
            w[i * n + c] += g * x[i] * d[c];
    }
}

/* learned += g times the gradient of half the squared misfit, as a state. */
static inline void learn_row(double *learned, const struct layer *l, const double *k,
                             const double *v, const double *state, double g, int h)
{
    int f = l->s.head_dim, n = l->hidden;
    struct reading r;
    double u[MAX_F], d[MAX_F], mean = 0, dot = 0;
    read_row(&r, l, k, state, h);
    for (int c = 0; c < f; c++) {
        u[c] = l->in[SCALE][h * f + c] * (r.y[c] - v[c] + k[c]);
        mean += u[c] / f;
        dot += u[c] * r.xh[c] / f;
    }
    for (int c = 0; c < f; c++)
        d[c] = r.r * (u[c] - mean - r.xh[c] * dot);
    if (!l->mlp) {
        learn_layer(learned, learned + f * f, k, d, g, f, f);
        return;
    }
    const double *w2 = state + f * n + n;
    double d1[4 * MAX_F];
    for (int i = 0; i < n; i++) {
        d1[i] = 0;
        for (int c = 0; c < f; c++)
            d1[i] += d[c] * w2[i * f + c];
        d1[i] *= gelu_slope(r.z1[i]);
    }
    learn_layer(learned, learned + f * n, k, d1, g, f, n);
    learn_layer(learned + f * n + n, learned + 2 * f * n + n, r.x2, d, g, n, f);
}

/* The state that head h begins with. */
static inline void first_state(double *state, const struct layer *l, int h)
{
    size_t f = l->s.head_dim, n = l->hidden;
    memcpy(state, l->in[W1] + h * f * n, sizeof *state * f * n);
    memcpy(state + f * n, l->in[B1] + h * n, sizeof *state * n);
    if (l->mlp) {
        memcpy(state + f * n + n, l->in[W2] + h * n * f, sizeof *state * n * f);
        memcpy(state + 2 * f * n + n, l->in[B2] + h * f, sizeof *state * f);
    }
}

static inline void define_chain(const struct layer *l, const struct result *to, int b, int h)
{
    static double state[MAX_STATE], learned[MAX_STATE], first[MAX_STATE], now[MAX_STATE];
    const struct ttt_shape *s = &l->s;
    int f = s->head_dim, tokens = s->mini_batch, steps = s->seq / tokens;
    size_t bytes = sizeof *state * l->state, chain = (size_t)b * s->heads + h;
    double share = 1.0 / (s->batch * s->heads);
    first_state(first, l, h);
    memcpy(state, first, bytes);
    for (int at = 0; at < s->seq; at++) {
        int i = at % tokens, c = at / tokens;
        size_t row = (((size_t)b * s->seq + at) * s->heads + h) * f;
        const double *q = l->in[Q] + row, *k = l->in[K] + row, *v = l->in[V] + row;
        double t = fmax(0, l->in[TOKEN_IDX][i] + 1.0 / (i + 1));
        struct reading r;
        if (i == 0)
            memset(learned, 0, bytes);
        learn_row(learned, l, k, v, state, s->rate * l->in[SIGMA][chain * s->seq + at], h);
        for (size_t x = 0; x < l->state; x++)
            now[x] = state[x] - t * learned[x];
        read_row(&r, l, q, now, h);
        for (int x = 0; x < f; x++)
            to->out[row + x] = q[x] + r.y[x];
        if (i < tokens - 1)
            continue;
        if (to->curve) {
            to->curve[c] += share * misfit(l, k, v, first, h);
            to->curve[steps + c] += share * misfit(l, k, v, state, h);
            to->curve[2 * steps + c] += share * misfit(l, k, v, now, h);
        }
        memcpy(state, now, bytes);
    }
    memcpy(to->last + chain * l->state, state, bytes);
}

static inline void define(const struct layer *l, const struct result *to)
{
    for (int b = 0; b < l->s.batch; b++)
        for (int h = 0; h < l->s.heads; h++)
            define_chain(l, to, b, h);
}

/* ---- a layer on both sides ----------------------------------------------------------------- */

/* The same numbers on the device. */
struct on_device {
    real *q, *k, *v;
    float *sigma;
    struct ttt_params p;
};

static inline struct ttt_shape shape(int batch, int seq, int heads, int f, int mini_batch,
                                     int keep_every)
{
    return (struct ttt_shape){.batch = batch,
                              .seq = seq,
                              .heads = heads,
                              .head_dim = f,
                              .mini_batch = mini_batch,
                              .keep_every = keep_every,
                              .rate = 1.0f / (float)f,
                              .eps = 1e-6f};
}

/* A layer of random inputs; some token_idx are so low that their weight is clipped. */
static inline void make_layer(struct layer *l, struct on_device *d, struct ttt_shape s, bool mlp)
{
    size_t width = (size_t)s.heads * s.head_dim, n = (size_t)s.batch * s.seq * width;
    size_t hidden = mlp ? 4 * width : width, square = hidden * s.head_dim;
    const float *host[INPUTS] = {0};
    assert(s.head_dim <= MAX_F && s.mini_batch <= MAX_K);
    l->s = s;
    l->mlp = mlp;
    l->hidden = hidden / s.heads;
    l->state = mlp ? ttt_mlp_state_floats(s.head_dim) : ttt_linear_state_floats(s.head_dim);
    d->q = random_reals(&host[Q], n);
    d->k = random_reals(&host[K], n);
    d->v = random_reals(&host[V], n);
    d->sigma = random_floats(&host[SIGMA], n / s.head_dim, 0.5f, 0.4f);
    float *idx = lot_malloc(sizeof *idx * s.mini_batch);
    for (int i = 0; i < s.mini_batch; i++)
        idx[i] = i % 4 == 2 ? -1 : 0.3f * number();
    host[TOKEN_IDX] = idx;
    d->p.token_idx = put_floats(idx, s.mini_batch);
    d->p.norm_scale = random_floats(&host[SCALE], width, 1, 0.3f);
    d->p.norm_bias = random_floats(&host[BIAS], width, 0, 0.3f);
    d->p.w1 = random_floats(&host[W1], square, 0, 0.3f);
    d->p.b1 = random_floats(&host[B1], hidden, 0, 0.3f);
    d->p.w2 = mlp ? random_floats(&host[W2], square, 0, 0.3f) : NULL;
    d->p.b2 = mlp ? random_floats(&host[B2], width, 0, 0.3f) : NULL;
    const size_t counts[INPUTS] = {n,     n,      n,      n / s.head_dim,   s.mini_batch,   width,
                                   width, square, hidden, mlp ? square : 0, mlp ? width : 0};
    for (int i = 0; i < INPUTS; i++) {
        l->count[i] = counts[i];
        l->in[i] = doubles(host[i], counts[i]);
    }
}

static inline size_t last_floats(const struct layer *l)
{
    return (size_t)l->s.batch * l->s.heads * l->state;
}

static inline struct result result_room(const struct layer *l)
{
    struct result r;
    r.out = lot_malloc(sizeof(double) * l->count[Q]);
    r.last = lot_malloc(sizeof(double) * last_floats(l));
    r.curve = lot_malloc(sizeof(double) * 3 * (l->s.seq / l->s.mini_batch));
    return r;
}

/* ---- the operations of either model -------------------------------------------------------- */

static inline float *kept_room(const struct layer *l)
{
    return lot_alloc(sizeof(float) *
                     (l->mlp ? ttt_mlp_kept_floats(&l->s) : ttt_linear_kept_floats(&l->s)));
}

static inline void inner_fwd(real *out, float *kept, float *last, const struct layer *l,
                             const struct on_device *d)
{
    (l->mlp ? ttt_mlp_fwd : ttt_linear_fwd)(out, kept, last, d->q, d->k, d->v, d->sigma, &d->p,
                                            &l->s);
}

#endif
