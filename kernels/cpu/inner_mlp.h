/* inner_mlp.h -- the inner model of TTT-MLP: gelu(x W1 + b1) W2 + b2, and its gradient. */
#ifndef INNER_MLP_H
#define INNER_MLP_H

#include "inner.h"
#include "vec.h"

/* The parts of a state, which lie one after the other. */
struct mlp {
    float *w1, *b1, *w2, *b2; /* [f][4f], [4f], [4f][f], [f] */
};

INLINE struct mlp mlp_lay(float *state, const int f)
{
    struct mlp m = {.w1 = state, .b1 = state + 4 * f * f};
    m.w2 = m.b1 + 4 * f;
    m.b2 = m.w2 + 4 * f * f;
    return m;
}

/* The state that head h begins with. */
INLINE void mlp_begin(float *state, const struct ttt_params *p, int h, const int f)
{
    const size_t square = 4 * (size_t)f * f;
    struct mlp m = mlp_lay(state, f);
    memcpy(m.w1, p->w1 + h * square, sizeof *state * square);
    memcpy(m.b1, p->b1 + (size_t)h * 4 * f, sizeof *state * 4 * f);
    memcpy(m.w2, p->w2 + h * square, sizeof *state * square);
    memcpy(m.b2, p->b2 + (size_t)h * f, sizeof *state * f);
}

/* y [rows][n] = x [rows][m] W^T for W [n][m]. W is large, so it is x and y that are transposed: xt
   [m][rows] and yt [n][rows] are room. */
INLINE void layer_back(float *y, float *yt, float *xt, const float *x, const float *w, int rows,
                       const int m, const int n)
{
    transpose(xt, x, rows, m);
    product(yt, w, m, 1, xt, n, rows, m, false);
    transpose(y, yt, n, rows);
}

/* y [n] = x [m] W^T for W [n][m], one row. */
INLINE void layer_row_back(float *y, const float *x, const float *w, const int m, const int n)
{
    for (int i = 0; i < n; i++) {
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int c = 0; c < m; c++)
            dot += w[i * m + c] * x[c];
        y[i] = dot;
    }
}

/* What a mini-batch learns from. Rows of padding are 0 in g1 and g2, whatever in the others. */
struct mlp_learned {
    float *z1;         /* [padded][4f]: X W1 + b1, set before */
    float *x2;         /* [padded][4f]: gelu(Z1) */
    float *xh, *e, *r; /* [padded][f], [padded][f], [padded]: of the norm */
    float *g2;         /* [padded][f]; the padding is 0 before */
    float *h;          /* [padded][4f]: G2 W2^T */
};

/* yt [4f][padded] and gt [f][padded] are room. */
INLINE void mlp_learn(const struct mlp_learned *l, float *yt, float *gt, const float *x,
                      const float *v, const struct mlp *m, const float *scale, const float *bias,
                      float eps, int tokens, int padded, const int f)
{
#pragma omp simd
    for (int i = 0; i < padded * 4 * f; i++)
        l->x2[i] = vec_gelu(l->z1[i]);
    layer(l->xh, l->x2, m->w2, m->b2, padded, 4 * f, f);
    for (int j = 0; j < tokens; j++)
        l->r[j] = row_gradient(l->xh + j * f, l->e + j * f, l->g2 + j * f, x + j * f, v + j * f,
                               scale, bias, eps, f);
    layer_back(l->h, yt, gt, l->g2, m->w2, padded, f, 4 * f);
}

/* G1, from H: times gelu'(Z1). h and z1 [padded][4f] */
INLINE void mlp_slope(float *h, const float *z1, int padded, const int f)
{
#pragma omp simd
    for (int i = 0; i < padded * 4 * f; i++)
        h[i] *= gelu_first(z1[i], gelu_sigmoid(z1[i]));
}

/* The state learns: s are the tokens' step sizes, scaled [padded][f] is room. */
INLINE void mlp_update(const struct mlp *m, float *scaled, const float *x, const float *g1,
                       const float *x2, const float *g2, const float *s, int tokens, int padded,
                       const int f)
{
    layer_update(m->w1, m->b1, scaled, x, g1, s, tokens, padded, f, 4 * f);
    layer_update(m->w2, m->b2, scaled, x2, g2, s, tokens, padded, 4 * f, f);
}

#endif
