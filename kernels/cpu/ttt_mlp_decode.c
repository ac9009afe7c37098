/* ttt_mlp_decode.c -- TTT-MLP one token at a time.

   The state of a sequence and head is W1, b1, W2, b2, then what the current mini-batch has learned:
   the rows k_j, g_j G1_j, X2_j and g_j G2_j, applied at its end. */
#include "inner_mlp.h"
#include "kernels.h"

static size_t decode_floats(int head_dim, int mini_batch)
{
    return ttt_mlp_state_floats(head_dim) + 10 * (size_t)mini_batch * head_dim;
}

size_t ttt_mlp_decode_bytes(int head_dim, int mini_batch)
{
    return sizeof(float) * decode_floats(head_dim, mini_batch);
}

void ttt_mlp_decode_begin(void *state, const float *last, const struct ttt_params *p,
                          const struct ttt_shape *s)
{
    size_t size = decode_floats(s->head_dim, s->mini_batch);
    size_t model = ttt_mlp_state_floats(s->head_dim);
    for (int chain = 0; chain < s->batch * s->heads; chain++) {
        float *to = (float *)state + chain * size;
        if (last)
            memcpy(to, last + chain * model, sizeof *to * model);
        else
            mlp_begin(to, p, chain % s->heads, s->head_dim);
        memset(to + model, 0, sizeof *to * (size - model));
    }
}

/* z -= sum over j <= at of t (x . rows_j + 1) learned_j; rows [][m], learned [][n] */
INLINE void read_learned(float *z, const float *x, const float *rows, const float *learned, float t,
                         int at, const int m, const int n)
{
    for (int j = 0; j <= at; j++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int c = 0; c < m; c++)
            dot += x[c] * rows[j * m + c];
        float weight = t * (dot + 1);
#pragma omp simd
        for (int c = 0; c < n; c++)
            z[c] -= weight * learned[j * n + c];
    }
}

/* W [m][n] -= t rows^T learned; b -= t times the sum of learned */
INLINE void apply_learned(float *w, float *b, const float *rows, const float *learned, float t,
                          int tokens, const int m, const int n)
{
    for (int j = 0; j < tokens; j++) {
        for (int i = 0; i < m; i++) {
            float weight = t * rows[j * m + i];
#pragma omp simd
            for (int c = 0; c < n; c++)
                w[i * n + c] -= weight * learned[j * n + c];
        }
#pragma omp simd
        for (int c = 0; c < n; c++)
            b[c] -= t * learned[j * n + c];
    }
}

INLINE void decode_head(const int f, real *out, float *state, const float *x, const float *q,
                        const float *v, float g, int at, const float *scale, const float *bias,
                        const struct ttt_params *p, const struct ttt_shape *s)
{
    const int hidden = 4 * f, tokens = s->mini_batch;
    const struct mlp m = mlp_lay(state, f);
    float *keys = state + ttt_mlp_state_floats(f), *learned1 = keys + tokens * f;
    float *x2s = learned1 + tokens * hidden, *learned2 = x2s + tokens * hidden;
    float *x2 = x2s + at * hidden, *g1 = learned1 + at * hidden, *g2 = learned2 + at * f;
    float z1[4 * 96], z[96], e[96], t[INNER_TOKENS_MAX];
    token_weights(t, p->token_idx, tokens);

    layer_row(z1, x, m.w1, m.b1, f, hidden);
#pragma omp simd
    for (int c = 0; c < hidden; c++)
        x2[c] = vec_gelu(z1[c]);
    layer_row(z, x2, m.w2, m.b2, hidden, f);
    row_gradient(z, e, g2, x, v, scale, bias, s->eps, f);
    layer_row_back(g1, g2, m.w2, f, hidden);
#pragma omp simd
    for (int c = 0; c < hidden; c++)
        g1[c] *= g * gelu_first(z1[c], gelu_sigmoid(z1[c]));
    for (int c = 0; c < f; c++) {
        keys[at * f + c] = x[c];
        g2[c] *= g;
    }

    layer_row(z1, q, m.w1, m.b1, f, hidden);
    read_learned(z1, q, keys, learned1, t[at], at, f, hidden);
#pragma omp simd
    for (int c = 0; c < hidden; c++)
        z1[c] = vec_gelu(z1[c]);
    layer_row(z, z1, m.w2, m.b2, hidden, f);
    read_learned(z, z1, x2s, learned2, t[at], at, hidden, f);
    row_normalise(z, s->eps, f);
    for (int c = 0; c < f; c++)
        out[c] = q[c] + scale[c] * z[c] + bias[c];
    if (at + 1 < tokens)
        return;
    apply_learned(m.w1, m.b1, keys, learned1, t[at], tokens, f, hidden);
    apply_learned(m.w2, m.b2, x2s, learned2, t[at], tokens, hidden, f);
}

void ttt_mlp_decode(real *out, void *state, const real *q, const real *k, const real *v,
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
        WITH_HEAD_DIM(s->head_dim, decode_head, out + row, (float *)state + chain * size, k + row,
                      q + row, v + row, s->rate * sigma[chain], at % s->mini_batch,
                      p->norm_scale + h * s->head_dim, p->norm_bias + h * s->head_dim, p, s);
    }
}
