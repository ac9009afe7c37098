/* plain_model.h -- the loss of a model in double, straight from the definitions.

   Written for reading, not for speed, and without looking at how the trainer does it: tokens of a
   TTT layer read the state that the definition gives them, W - t_i sum_j g_j x_j^T G_j, one by one.
   Parameters are a host copy with the offsets of params.h. */
#ifndef PLAIN_MODEL_H
#define PLAIN_MODEL_H

#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct plain {
    struct config config;
    const struct params *params;
    double *value; /* [params->floats] */
    double ttt_lr_mult;
    int batch, seq;
};

static inline double *plain_alloc(size_t count)
{
    double *x = calloc(count, sizeof *x);
    if (!x)
        abort();
    return x;
}

/* A parameter of layer l, or of none for l < 0; NULL when the model has no such. */
static inline const double *plain_param(const struct plain *m, int l, const char *name)
{
    char path[PARAM_NAME_BYTES];
    if (l < 0)
        snprintf(path, sizeof path, "%s", name);
    else
        snprintf(path, sizeof path, "model/h/%d/%s", l, name);
    int i = params_find(m->params, path);
    return i < 0 ? NULL : m->value + m->params->list[i].offset;
}

/* ---- parts -------------------------------------------------------------------------------- */

/* y [n][out] (+)= x [n][in] w [in][out] */
static inline void plain_times(double *y, const double *x, const double *w, int n, int in, int out,
                               double keep)
{
    for (int t = 0; t < n; t++)
        for (int o = 0; o < out; o++) {
            double sum = keep * y[t * out + o];
            for (int i = 0; i < in; i++)
                sum += x[t * in + i] * w[i * out + o];
            y[t * out + o] = sum;
        }
}

static inline void plain_rms(double *y, const double *x, const double *gain, int n, int d,
                             double eps)
{
    for (int t = 0; t < n; t++) {
        double square = 0;
        for (int i = 0; i < d; i++)
            square += x[t * d + i] * x[t * d + i];
        for (int i = 0; i < d; i++)
            y[t * d + i] = x[t * d + i] / sqrt(square / d + eps) * gain[i];
    }
}

/* xh = (x - mean) / deviation of one row; returns 1 / deviation. */
static inline double plain_normalise(double *xh, const double *x, int d)
{
    double mean = 0, variance = 0;
    for (int i = 0; i < d; i++)
        mean += x[i] / d;
    for (int i = 0; i < d; i++)
        variance += (x[i] - mean) * (x[i] - mean) / d;
    double r = 1 / sqrt(variance + 1e-6);
    for (int i = 0; i < d; i++)
        xh[i] = (x[i] - mean) * r;
    return r;
}

static inline void plain_conv(double *y, const double *x, const double *kernel, const double *bias,
                              int n, int d)
{
    for (int t = 0; t < n; t++)
        for (int i = 0; i < d; i++) {
            double sum = bias[i];
            for (int j = 0; j < 4; j++)
                if (t - 3 + j >= 0)
                    sum += kernel[j * d + i] * x[(t - 3 + j) * d + i];
            y[t * d + i] = sum;
        }
}

static inline void plain_rope(double *x, int n, int d, int f, int period, double theta)
{
    for (int t = 0; t < n; t++)
        for (int i = 0; i < d; i += 2) {
            double angle = (period ? t % period : t) * pow(theta, -(double)(i % f) / f);
            double a = x[t * d + i], b = x[t * d + i + 1];
            x[t * d + i] = a * cos(angle) - b * sin(angle);
            x[t * d + i + 1] = a * sin(angle) + b * cos(angle);
        }
}

static inline double plain_gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static inline double plain_gelu_slope(double x)
{
    double c = sqrt(2 / M_PI), t = tanh(c * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}

/* ---- attention ---------------------------------------------------------------------------- */

static inline void plain_attention(double *y, const double *q, const double *k, const double *v,
                                   int n, int d, int f)
{
    double *p = plain_alloc((size_t)n);
    for (int a = 0; a < d; a += f)
        for (int t = 0; t < n; t++) {
            double sum = 0;
            for (int u = 0; u <= t; u++) {
                double dot = 0;
                for (int i = a; i < a + f; i++)
                    dot += q[t * d + i] * k[u * d + i];
                p[u] = exp(dot / sqrt(f));
                sum += p[u];
            }
            for (int i = a; i < a + f; i++) {
                y[t * d + i] = 0;
                for (int u = 0; u <= t; u++)
                    y[t * d + i] += p[u] / sum * v[u * d + i];
            }
        }
    free(p);
}

/* ---- the inner loop ----------------------------------------------------------------------- */

/* One layer of an inner model: y = x w + b, and what the mini-batch has learnt so far. */
struct plain_layer {
    int in, out;
    double *w, *b, *dw, *db; /* [in][out], [out] */
};

static inline struct plain_layer plain_layer_open(const double *w, const double *b, int in, int out)
{
    struct plain_layer l = {in,
                            out,
                            plain_alloc((size_t)(in * out)),
                            plain_alloc((size_t)out),
                            plain_alloc((size_t)(in * out)),
                            plain_alloc((size_t)out)};
    memcpy(l.w, w, sizeof *w * (size_t)(in * out));
    memcpy(l.b, b, sizeof *b * (size_t)out);
    return l;
}

static inline void plain_layer_close(struct plain_layer *l)
{
    free(l->w);
    free(l->b);
    free(l->dw);
    free(l->db);
}

/* y = x (w - step dw) + b - step db */
static inline void plain_layer_read(double *y, const struct plain_layer *l, const double *x,
                                    double step)
{
    for (int o = 0; o < l->out; o++) {
        y[o] = l->b[o] - step * l->db[o];
        for (int i = 0; i < l->in; i++)
            y[o] += x[i] * (l->w[i * l->out + o] - step * l->dw[i * l->out + o]);
    }
}

/* One token more, with the gradient g of its y. */
static inline void plain_layer_learn(struct plain_layer *l, const double *x, const double *g,
                                     double rate)
{
    for (int o = 0; o < l->out; o++) {
        l->db[o] += rate * g[o];
        for (int i = 0; i < l->in; i++)
            l->dw[i * l->out + o] += rate * x[i] * g[o];
    }
}

/* The mini-batch is over. */
static inline void plain_layer_step(struct plain_layer *l, double step)
{
    for (int i = 0; i < l->in * l->out; i++)
        l->w[i] -= step * l->dw[i];
    for (int o = 0; o < l->out; o++)
        l->b[o] -= step * l->db[o];
    memset(l->dw, 0, sizeof *l->dw * (size_t)(l->in * l->out));
    memset(l->db, 0, sizeof *l->db * (size_t)l->out);
}

/* Head a of a row. q, k, v, y begin at the head's columns, d apart; sigma at the row's. */
static inline void plain_ttt_head(const struct plain *m, int l, int a, double *y, const double *q,
                                  const double *k, const double *v, const double *sigma)
{
    enum { MOST = 96 };
    const struct config *c = &m->config;
    int d = c->hidden_size, h = c->num_attention_heads, f = d / h, mini = c->mini_batch_size;
    bool mlp = plain_param(m, l, "seq_modeling_block/ttt_dense_1") != NULL;
    int wide = mlp ? 4 * f : f;
    const double *idx = plain_param(m, l, "seq_modeling_block/learnable_token_idx");
    const double *ga = plain_param(m, l, "seq_modeling_block/ttt_norm/scale") + a * f;
    const double *be = plain_param(m, l, "seq_modeling_block/ttt_norm/bias") + a * f;
    struct plain_layer one =
        plain_layer_open(plain_param(m, l, "seq_modeling_block/ttt_dense_0") + (size_t)a * f * wide,
                         plain_param(m, l, "seq_modeling_block/ttt_bias_0") + (size_t)a * wide, f,
                         wide);
    struct plain_layer two = {0};
    if (mlp)
        two = plain_layer_open(plain_param(m, l, "seq_modeling_block/ttt_dense_1") +
                                   (size_t)a * f * wide,
                               plain_param(m, l, "seq_modeling_block/ttt_bias_1") + (size_t)a * f,
                               wide, f);
    double z1[4 * MOST], x2[4 * MOST], z2[MOST], xh[MOST], u[MOST], g1[4 * MOST], g2[MOST];
    double t_i = 0;
    for (int t = 0; t < m->seq; t++) {
        int i = t % mini;
        const double *x = k + t * d;
        t_i = fmax(0, idx[i] + 1.0 / (i + 1));

        /* What this token teaches, at the state before the mini-batch. */
        plain_layer_read(z1, &one, x, 0);
        for (int j = 0; j < wide; j++)
            x2[j] = mlp ? plain_gelu(z1[j]) : z1[j];
        if (mlp)
            plain_layer_read(z2, &two, x2, 0);
        else
            memcpy(z2, z1, sizeof *z2 * (size_t)f);
        double r = plain_normalise(xh, z2, f), mean = 0, along = 0;
        for (int j = 0; j < f; j++) {
            u[j] = ga[j] * (ga[j] * xh[j] + be[j] - (v[t * d + j] - x[j]));
            mean += u[j] / f;
            along += u[j] * xh[j] / f;
        }
        for (int j = 0; j < f; j++)
            g2[j] = r * (u[j] - mean - xh[j] * along);
        for (int j = 0; j < wide; j++) {
            g1[j] = mlp ? 0 : g2[j];
            for (int o = 0; mlp && o < f; o++)
                g1[j] += g2[o] * two.w[j * f + o] * plain_gelu_slope(z1[j]);
        }
        double rate = m->ttt_lr_mult * c->ttt_base_lr * sigma[t * h + a] / f;
        plain_layer_learn(&one, x, g1, rate);
        if (mlp)
            plain_layer_learn(&two, x2, g2, rate);

        /* What it reads, from the state that it and those before it have taught. */
        plain_layer_read(z1, &one, q + t * d, t_i);
        for (int j = 0; j < wide; j++)
            x2[j] = mlp ? plain_gelu(z1[j]) : z1[j];
        if (mlp)
            plain_layer_read(z2, &two, x2, t_i);
        else
            memcpy(z2, z1, sizeof *z2 * (size_t)f);
        plain_normalise(xh, z2, f);
        for (int j = 0; j < f; j++)
            y[t * d + j] = q[t * d + j] + ga[j] * xh[j] + be[j];
        if (i == mini - 1) {
            plain_layer_step(&one, t_i);
            if (mlp)
                plain_layer_step(&two, t_i);
        }
    }
    plain_layer_close(&one);
    plain_layer_close(&two);
}

/* ---- a block ------------------------------------------------------------------------------ */

/* y = mixer(h) before wo */
static inline void plain_mixer(const struct plain *m, int l, double *y, const double *h)
{
#define MINE(name) plain_param(m, l, "seq_modeling_block/" name)
    const struct config *c = &m->config;
    int n = m->seq, d = c->hidden_size, heads = c->num_attention_heads, f = d / heads;
    bool ttt = mixer_is_ttt(c->seq_modeling_block);
    size_t wide = (size_t)(n * d);
    double *q = plain_alloc(wide), *k = plain_alloc(wide), *v = plain_alloc(wide);
    double *u = plain_alloc(wide), *sigma = plain_alloc((size_t)(n * heads));
    plain_times(v, h, MINE("wv/kernel"), n, d, d, 0);
    plain_times(u, h, MINE("wq/kernel"), n, d, d, 0);
    if (MINE("wk/kernel")) {
        memcpy(q, u, sizeof *q * wide);
        plain_times(k, h, MINE("wk/kernel"), n, d, d, 0);
    } else {
        plain_conv(q, u, MINE("conv_q/kernel"), MINE("conv_q/bias"), n, d);
        plain_conv(k, u, MINE("conv_k/kernel"), MINE("conv_k/bias"), n, d);
    }
    plain_rope(q, n, d, f, ttt ? c->mini_batch_size : 0, c->rope_theta);
    plain_rope(k, n, d, f, ttt ? c->mini_batch_size : 0, c->rope_theta);
    if (!ttt) {
        plain_attention(y, q, k, v, n, d, f);
    } else {
        for (int t = 0; t < n; t++)
            for (int a = 0; a < heads; a++) {
                double z = MINE("learnable_ttt_lr/bias")[a];
                for (int i = 0; i < d; i++)
                    z += h[t * d + i] * MINE("learnable_ttt_lr/kernel")[a * d + i];
                sigma[t * heads + a] = 1 / (1 + exp(-z));
            }
        for (int a = 0; a < heads; a++)
            plain_ttt_head(m, l, a, u + a * f, q + a * f, k + a * f, v + a * f, sigma);
        for (int t = 0; t < n; t++) {
            plain_normalise(y + t * d, u + t * d, d);
            for (int i = 0; i < d; i++)
                y[t * d + i] =
                    y[t * d + i] * MINE("post_norm/scale")[i] + MINE("post_norm/bias")[i];
        }
        if (MINE("wg/kernel")) {
            plain_times(u, h, MINE("wg/kernel"), n, d, d, 0);
            for (size_t i = 0; i < wide; i++)
                y[i] *= plain_gelu(u[i]);
        }
    }
    free(sigma);
    free(u);
    free(v);
    free(k);
    free(q);
#undef MINE
}

static inline void plain_block(const struct plain *m, int l, double *x)
{
    const struct config *c = &m->config;
    int n = m->seq, d = c->hidden_size, inner = c->intermediate_size;
    size_t wide = (size_t)(n * d), wider = (size_t)(n * inner);
    double *h = plain_alloc(wide), *y = plain_alloc(wide);
    double *up = plain_alloc(wider), *gate = plain_alloc(wider);
    if (c->pre_conv) {
        plain_rms(h, x, plain_param(m, l, "conv/conv_norm/kernel"), n, d, c->rms_norm_eps);
        plain_conv(y, h, plain_param(m, l, "conv/conv1/kernel"),
                   plain_param(m, l, "conv/conv1/bias"), n, d);
        for (size_t i = 0; i < wide; i++)
            x[i] += y[i];
    }
    plain_rms(h, x, plain_param(m, l, "seq_norm/kernel"), n, d, c->rms_norm_eps);
    plain_mixer(m, l, y, h);
    plain_times(x, y, plain_param(m, l, "seq_modeling_block/wo/kernel"), n, d, d, 1);
    plain_rms(h, x, plain_param(m, l, "ffn_norm/kernel"), n, d, c->rms_norm_eps);
    plain_times(gate, h, plain_param(m, l, "feed_forward/w1/kernel"), n, d, inner, 0);
    plain_times(up, h, plain_param(m, l, "feed_forward/w3/kernel"), n, d, inner, 0);
    for (size_t i = 0; i < wider; i++)
        up[i] *= gate[i] / (1 + exp(-gate[i]));
    plain_times(x, up, plain_param(m, l, "feed_forward/w2/kernel"), n, inner, d, 1);
    free(gate);
    free(up);
    free(y);
    free(h);
}

/* ---- the loss ----------------------------------------------------------------------------- */

static inline double plain_row_loss(const struct plain *m, const int32_t *input,
                                    const int32_t *target, const float *mask)
{
    const struct config *c = &m->config;
    int n = m->seq, d = c->hidden_size, vocab = c->vocab_size;
    const double *table = plain_param(m, -1, "model/wte/embedding");
    const double *head = plain_param(m, -1, "lm_head/kernel");
    double *x = plain_alloc((size_t)(n * d)), loss = 0, counted = 0;
    for (int t = 0; t < n; t++)
        memcpy(x + t * d, table + input[t] * d, sizeof *x * (size_t)d);
    for (int l = 0; l < c->num_hidden_layers; l++)
        plain_block(m, l, x);
    plain_rms(x, x, plain_param(m, -1, "model/ln_f/kernel"), n, d, c->rms_norm_eps);
    for (int t = 0; t < n; t++) {
        double sum = 0, of_target = 0;
        for (int o = 0; o < vocab; o++) {
            double logit = 0;
            for (int i = 0; i < d; i++)
                logit += x[t * d + i] * (head ? head[i * vocab + o] : table[o * d + i]);
            sum += exp(logit);
            of_target = o == target[t] ? logit : of_target;
        }
        loss += mask[t] > 0 ? log(sum) - of_target : 0;
        counted += mask[t];
    }
    free(x);
    return loss / counted;
}

static inline double plain_loss(const struct plain *m, const struct tokens *t)
{
    double loss = 0;
    for (int b = 0; b < m->batch; b++) {
        size_t at = (size_t)b * m->seq;
        loss += plain_row_loss(m, t->input + at, t->target + at, t->mask + at) / m->batch;
    }
    return loss;
}

#endif
