/* ttt_linear_decode.c -- TTT-Linear one token at a time.

   The state of a sequence and head is W, b, then the keys and the weighted gradients g_j G_j of the
   current mini-batch: W is read once a token and written once a mini-batch. */
#include "inner.h"
#include "kernels.h"

static size_t decode_floats(int head_dim, int mini_batch)
{
    return ttt_linear_state_floats(head_dim) + 2 * (size_t)mini_batch * head_dim;
}

size_t ttt_linear_decode_bytes(int head_dim, int mini_batch)
{
    return sizeof(float) * decode_floats(head_dim, mini_batch);
}

void ttt_linear_decode_begin(void *state, const float *last, const struct ttt_params *p,
                             const struct ttt_shape *s)
{
    size_t f = s->head_dim, size = decode_floats(s->head_dim, s->mini_batch);
    for (int chain = 0; chain < s->batch * s->heads; chain++) {
        float *to = (float *)state + chain * size;
        size_t h = chain % s->heads;
        if (last) {
            memcpy(to, last + chain * (f * f + f), sizeof *to * (f * f + f));
        } else {
            memcpy(to, p->w1 + h * f * f, sizeof *to * f * f);
            memcpy(to + f * f, p->b1 + h * f, sizeof *to * f);
        }
        memset(to + f * f + f, 0, sizeof *to * (size - f * f - f));
    }
}

/* y = x W + b */
INLINE void row_model(float *y, const float *x, const float *w, const float *b, const int f)
{
    for (int c = 0; c < f; c++)
        y[c] = b[c];
    for (int i = 0; i < f; i++)
#pragma omp simd
        for (int c = 0; c < f; c++)
            y[c] += x[i] * w[i * f + c];
}

INLINE void decode_head(const int f, real *out, float *w, const float *x, const float *q,
                        const float *v, float g, int at, const float *scale, const float *bias,
                        const struct ttt_params *p, const struct ttt_shape *s)
{
    float *b = w + f * f, *keys = b + f, *grads = keys + s->mini_batch * f;
    float z[96], e[96], t[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, s->mini_batch);
    row_model(z, x, w, b, f);
    row_gradient(z, e, grads + at * f, x, v, scale, bias, s->eps, f);
    for (int c = 0; c < f; c++) {
        keys[at * f + c] = x[c];
        grads[at * f + c] *= g;
    }
    row_model(z, q, w, b, f);
    for (int j = 0; j <= at; j++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int c = 0; c < f; c++)
            dot += q[c] * keys[j * f + c];
        float weight = t[at] * (dot + 1);
#pragma omp simd
        for (int c = 0; c < f; c++)
            z[c] -= weight * grads[j * f + c];
    }
    row_normalise(z, s->eps, f);
    for (int c = 0; c < f; c++)
        out[c] = q[c] + scale[c] * z[c] + bias[c];
    if (at + 1 < s->mini_batch)
        return;
    for (int j = 0; j <= at; j++) {
        for (int i = 0; i < f; i++) {
            float weight = t[at] * keys[j * f + i];
#pragma omp simd
            for (int c = 0; c < f; c++)
                w[i * f + c] -= weight * grads[j * f + c];
        }
        for (int c = 0; c < f; c++)
            b[c] -= t[at] * grads[j * f + c];
    }
}

void ttt_linear_decode(real *out, void *state, const real *q, const real *k, const real *v,
                       const float *sigma, const int32_t *position, const struct ttt_params *p,
                       const struct ttt_shape *s)
{
    size_t size = decode_floats(s->head_dim, s->mini_batch);
#pragma omp parallel for schedule(static)
    for (int chain = 0; chain < s->batch * s->heads; chain++) {
        int h = chain % s->heads, at = position[chain / s->heads];
        if (at < 0)
            continue;
        size_t row = (size_t)chain * s->head_dim;
        float *w = (float *)state + chain * size;
        WITH_HEAD_DIM(s->head_dim, decode_head, out + row, w, k + row, q + row, v + row,
                      s->rate * sigma[chain], at % s->mini_batch, p->norm_scale + h * s->head_dim,
                      p->norm_bias + h * s->head_dim, p, s);
    }
}
