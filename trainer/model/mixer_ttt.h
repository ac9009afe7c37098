/* mixer_ttt.h -- the TTT mixer around its inner loop: projections, convolutions, positions, step
   sizes, inner loop, norm, gate. Its output goes through wo, which is the block's.

     u = h wq;  q = rope(conv_q(u));  k = rope(conv_k(u));  v = h wv      (base: q = rope(h wq),
     sigma = sigmoid(h w_lr + b_lr)                                        k = rope(h wk))
     y = gelu(h wg) * layernorm(inner(q, k, v, sigma))                    (base: no gate) */
#ifndef MIXER_TTT_H
#define MIXER_TTT_H

#include "config.h"
#include "kernels.h"
#include "params.h"
#include "plan.h"

/* Indices into params->list; -1 where the mixer has none. */
struct mixer_ttt_ids {
    int wq, wk, wv, wg;
    int conv_q_kernel, conv_q_bias, conv_k_kernel, conv_k_bias;
    int token_idx, lr_kernel, lr_bias;
    int inner_scale, inner_bias, post_scale, post_bias;
    int w1, b1, w2, b2; /* the initial inner model */
};

/* What a sequence is remembered by while it is decoded: as long after a million tokens as after
   one. */
struct mixer_ttt_memory {
    real *history_q, *history_k; /* [batch][3][width], the last u; NULL for base */
    void *inner;                 /* [batch][heads] inner models and their mini-batch so far */
};

/* What the forward keeps; [rows][width] unless said. */
struct mixer_ttt_acts {
    real *u;             /* h wq before the convolutions; NULL for base */
    real *q, *k, *v;     /* as the inner loop reads them */
    real *inner;         /* what it wrote */
    real *normed, *gate; /* factors of y; gate NULL for base, and then normed is y */
    real *y;
    float *sigma;          /* [batch][heads][seq] */
    float *mean, *inv_std; /* [rows], of post_norm */
    float *parts;          /* [mp + 1][rows][2], sums of post_norm; NULL without mp */
    float *kept;           /* inner states, or NULL without a backward */
    float *last;           /* [batch][heads] the last inner state, or NULL unless it is wanted */
    float *start;          /* [heads] inner states matrix by matrix, of a sequence that goes on */
    int32_t *zero;         /* [1] on the device; as start NULL unless reading */
    struct mixer_ttt_memory
        past; /* of that sequence; inner NULL: sequences begin with the forward */
};

/* Scratch of the backward, shared by all layers; [rows][width] unless said. */
struct mixer_ttt_scratch {
    real *dgate, *dq, *dk, *dv, *du;
    float *dsigma; /* [batch][heads][seq] */
};

/* Find the parameters of layer l; the list has them all. */
void mixer_ttt_find(struct mixer_ttt_ids *ids, const struct params *p, int l);

/* Sizes and constants for the inner loop. */
struct ttt_shape mixer_ttt_shape(const struct config *c, int batch, int seq, float ttt_lr_mult);

/* Take a layer's arrays, or the scratch, from an arena. training: a backward follows; reading: the
   sequences will be decoded on. */
void mixer_ttt_take_acts(struct mixer_ttt_acts *a, const struct config *c,
                         const struct ttt_shape *s, bool training, bool reading,
                         struct arena *from);
void mixer_ttt_take_scratch(struct mixer_ttt_scratch *t, const struct config *c,
                            const struct ttt_shape *s, struct arena *from);

/* The forward that follows is of one sequence, which goes on from that of place b in a memory,
   after whole mini-batches; or, where m is NULL, of sequences that begin. Acts were taken for
   reading. */
void mixer_ttt_go_on(struct mixer_ttt_acts *a, const struct mixer_ttt_memory *m, int b, bool mlp,
                     const struct ttt_shape *s);

/* acts->y from h [rows][width]. curves: NULL, or [4][seq / mini_batch] on the device to set. */
void mixer_ttt_fwd(struct mixer_ttt_acts *a, const real *h, const struct mixer_ttt_ids *ids,
                   const struct params *p, const struct config *c, const struct ttt_shape *s,
                   float *curves);

/* dh is set, gradients of the mixer's parameters are added to. dy is overwritten. */
void mixer_ttt_bwd(real *dh, real *dy, const real *h, struct mixer_ttt_acts *a,
                   struct mixer_ttt_scratch *t, const struct mixer_ttt_ids *ids, struct params *p,
                   const struct config *c, const struct ttt_shape *s);

/* ---- one token ---------------------------------------------------------------------------- */

/* Here shape has seq 1, and acts were taken with it, not for training. */
void mixer_ttt_take_memory(struct mixer_ttt_memory *m, const struct config *c,
                           const struct ttt_shape *s, struct arena *from);

/* Sequences first..first+batch-1 start anew; or, where `read` is not NULL, after the seq tokens of
   each that mixer_ttt_fwd has read into it. */
void mixer_ttt_begin(struct mixer_ttt_memory *m, int first, const struct mixer_ttt_acts *read,
                     const struct mixer_ttt_ids *ids, const struct params *p,
                     const struct ttt_shape *s);

/* acts->y from h [batch][width] of the tokens at position [batch] on the device, which may be taken
   mod mini_batch; negative: the sequence rests. Positions of a sequence come in order. Equal to
   mixer_ttt_fwd at those tokens, up to rounding. */
void mixer_ttt_step(struct mixer_ttt_acts *a, struct mixer_ttt_memory *m, const real *h,
                    const int32_t *position, const struct mixer_ttt_ids *ids,
                    const struct params *p, const struct config *c, const struct ttt_shape *s);

#endif
