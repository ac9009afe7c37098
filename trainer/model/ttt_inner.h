/* ttt_inner.h -- the inner model of a TTT layer: an MLP where its second layer is given, else
   linear. Each function is the operation of kernels.h of that name. */
#ifndef TTT_INNER_H
#define TTT_INNER_H

#include "kernels.h"

static inline size_t ttt_inner_state_floats(bool mlp, int head_dim)
{
    return mlp ? ttt_mlp_state_floats(head_dim) : ttt_linear_state_floats(head_dim);
}

static inline size_t ttt_inner_kept_floats(bool mlp, const struct ttt_shape *s)
{
    return mlp ? ttt_mlp_kept_floats(s) : ttt_linear_kept_floats(s);
}

static inline size_t ttt_inner_bwd_workspace_bytes(bool mlp, const struct ttt_shape *s)
{
    return mlp ? ttt_mlp_bwd_workspace_bytes(s) : ttt_linear_bwd_workspace_bytes(s);
}

static inline size_t ttt_inner_decode_bytes(bool mlp, const struct ttt_shape *s)
{
    return mlp ? ttt_mlp_decode_bytes(s->head_dim, s->mini_batch)
               : ttt_linear_decode_bytes(s->head_dim, s->mini_batch);
}

static inline void ttt_inner_fwd(real *out, float *kept, float *last, const real *q, const real *k,
                                 const real *v, const float *sigma, const struct ttt_params *p,
                                 const struct ttt_shape *s)
{
    if (p->w2)
        ttt_mlp_fwd(out, kept, last, q, k, v, sigma, p, s);
    else
        ttt_linear_fwd(out, kept, last, q, k, v, sigma, p, s);
}

static inline void ttt_inner_bwd(real *dq, real *dk, real *dv, float *dsigma,
                                 const struct ttt_params *d, const real *dout, const real *q,
                                 const real *k, const real *v, const float *sigma,
                                 const float *kept, const struct ttt_params *p,
                                 const struct ttt_shape *s)
{
    if (p->w2)
        ttt_mlp_bwd(dq, dk, dv, dsigma, d, dout, NULL, q, k, v, sigma, kept, p, s);
    else
        ttt_linear_bwd(dq, dk, dv, dsigma, d, dout, NULL, q, k, v, sigma, kept, p, s);
}

static inline void ttt_inner_stats(float *curve, const real *k, const real *v, const float *sigma,
                                   const struct ttt_params *p, const struct ttt_shape *s)
{
    if (p->w2)
        ttt_mlp_stats(curve, k, v, sigma, p, s);
    else
        ttt_linear_stats(curve, k, v, sigma, p, s);
}

static inline void ttt_inner_decode_begin(void *state, const float *last,
                                          const struct ttt_params *p, const struct ttt_shape *s)
{
    if (p->w2)
        ttt_mlp_decode_begin(state, last, p, s);
    else
        ttt_linear_decode_begin(state, last, p, s);
}

static inline void ttt_inner_decode(real *out, void *state, const real *q, const real *k,
                                    const real *v, const float *sigma, const int32_t *position,
                                    const struct ttt_params *p, const struct ttt_shape *s)
{
    if (p->w2)
        ttt_mlp_decode(out, state, q, k, v, sigma, position, p, s);
    else
        ttt_linear_decode(out, state, q, k, v, sigma, position, p, s);
}

#endif
