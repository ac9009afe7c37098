/* mixer_attention.h -- the Transformer's mixer: projections, positions, causal attention. Its
   output goes through wo, which is the block's.

     q = rope(h wq);  k = rope(h wk);  v = h wv;  y = attention(q, k, v)

   Of a ttt_shape only batch, seq, heads and head_dim are read. */
#ifndef MIXER_ATTENTION_H
#define MIXER_ATTENTION_H

#include "config.h"
#include "kernels.h"
#include "params.h"
#include "plan.h"

/* Indices into params->list. */
struct mixer_attention_ids {
    int wq, wk, wv;
};

/* What the forward keeps. */
struct mixer_attention_acts {
    real *q, *k, *v, *y; /* [rows][width] */
    float *lse;          /* [batch][heads][seq] */
};

/* Scratch of the backward, shared by all layers. */
struct mixer_attention_scratch {
    real *dq, *dk, *dv; /* [rows][width] */
};

/* What a sequence is remembered by while it is decoded: every token's key and value. */
struct mixer_attention_memory {
    real *k, *v; /* [batch][capacity][width] */
    int capacity;
};

/* Find the parameters of layer l; the list has them all. */
void mixer_attention_find(struct mixer_attention_ids *ids, const struct params *p, int l);

/* Take a layer's arrays, or the scratch, from an arena. */
void mixer_attention_take_acts(struct mixer_attention_acts *a, const struct ttt_shape *s,
                               struct arena *from);
void mixer_attention_take_scratch(struct mixer_attention_scratch *t, const struct ttt_shape *s,
                                  struct arena *from);

/* acts->y from h [rows][width]. */
void mixer_attention_fwd(struct mixer_attention_acts *a, const real *h,
                         const struct mixer_attention_ids *ids, const struct params *p,
                         const struct config *c, const struct ttt_shape *s);

/* dh is set, gradients of the mixer's parameters are added to. */
void mixer_attention_bwd(real *dh, const real *dy, const real *h,
                         const struct mixer_attention_acts *a, struct mixer_attention_scratch *t,
                         const struct mixer_attention_ids *ids, struct params *p,
                         const struct config *c, const struct ttt_shape *s);

/* ---- one token ---------------------------------------------------------------------------- */

/* Here shape has seq 1, and acts were taken with it. capacity: tokens that can be remembered. */
void mixer_attention_take_memory(struct mixer_attention_memory *m, const struct ttt_shape *s,
                                 int capacity, struct arena *from);

/* Sequences first..first+batch-1 start after the seq tokens of each, at most capacity, that
   mixer_attention_fwd has read into `read`. To start anew nothing is needed: a position reads
   what was written before it. */
void mixer_attention_begin(struct mixer_attention_memory *m, int first,
                           const struct mixer_attention_acts *read, const struct ttt_shape *s);

/* acts->y from h [batch][width] of the tokens at position [batch] on the device, below capacity;
   negative: the sequence rests. Positions of a sequence come in order. Equal to mixer_attention_fwd
   at those tokens, up to rounding. */
void mixer_attention_step(struct mixer_attention_acts *a, struct mixer_attention_memory *m,
                          const real *h, const int32_t *position,
                          const struct mixer_attention_ids *ids, const struct params *p,
                          const struct config *c, const struct ttt_shape *s);

#endif
