/* decode.h -- the model one token at a time. With TTT, memory does not grow with the text.

   Equal to the forward of model.h at every position, up to rounding, also where the text ends
   inside a mini-batch. */
#ifndef DECODE_H
#define DECODE_H

#include "model.h"

/* What a block remembers of its sequences. */
struct decode_memory {
    real *history; /* [batch][3][width], of the convolution before the mixer; NULL without */
    struct mixer_memory mixer;
};

/* Zero means closed. */
struct decode {
    struct config config;
    struct params *params; /* borrowed */
    int batch, capacity;
    int64_t position; /* tokens read since decode_begin */
    int wte, ln_f, lm_head;
    struct block_ids *ids;        /* [layers], owned */
    struct decode_memory *memory; /* [layers], owned */
    char *arrays;                 /* on the device, owned: all that follows, and the memories */
    int32_t *input;               /* [batch] */
    real *x, *h, *w1_out, *w3_out;
    float *rms;              /* [batch] */
    float *logits;           /* [batch][vocab] */
    struct mixer_acts mixer; /* shared by all layers */
};

/* params are listed, allocated and filled. batch sequences are decoded side by side. capacity: the
   tokens that attention can remember of each; with TTT it is not read. Every sequence has begun.
   -1 with why(). */
must_check int decode_open(struct decode *d, const struct config *c, struct params *p, int batch,
                           int64_t capacity);
void decode_close(struct decode *d); /* harmless when closed */

/* Forget all sequences: the next token is the first. */
void decode_begin(struct decode *d);

/* Read the next token of every sequence, ids [batch] on the host, each below vocab_size. logits:
   [batch][vocab] on the host for the token after it, or NULL when they are not wanted, which is
   cheaper. -1 with why() when the device broke or a sequence outgrows what attention can remember.
 */
must_check int decode_step(struct decode *d, const int32_t *ids, float *logits);

#endif
