/* decode.h -- the model one token at a time. With TTT, memory does not grow with the text.

   Sequences are decoded side by side, each at a place of its own. Equal to the forward of model.h
   at every position, up to rounding, also where the text ends inside a mini-batch.

   On a mesh the sequences are shared out among the ranks that read different rows, and mp splits
   each; logits come to every rank. All ranks make the same calls. Parameters are not shared out
   along fsdp: a token needs them all. */
#ifndef DECODE_H
#define DECODE_H

#include "model.h"

#include <signal.h>

/* What a block remembers of its sequences. */
struct decode_memory {
    real *history; /* [batch][3][width], of the convolution before the mixer; NULL without */
    struct mixer_memory mixer;
};

/* Zero means closed. */
struct decode {
    struct config config;
    struct params *params; /* borrowed */
    int batch, capacity;   /* capacity: tokens that attention remembers; 0 with TTT */
    int first, own;        /* of the batch, first..first+own-1 are this rank's; beyond it none is */
    int vocab;             /* ids whose logits are this rank's: all without mp */
    int read_tokens;       /* that decode_read reads together, or somewhat more; READ_TOKENS */
    const volatile sig_atomic_t *interrupt; /* or NULL; when true decode_read ends; one rank only */
    int64_t *position;     /* [batch] on the host, owned: tokens read since each began */
    int32_t *host;         /* [2][own] on the host, owned: ids, then places; -1 rests */
    int32_t *chosen;       /* [own] on the host, owned, as is draw */
    double *draw;          /* [own] */
    struct pick_rule rule; /* how decode_pick chooses, */
    int choices;           /* and from how many of the ids */
    struct device_recording recording[3]; /* a token's ops: alone, with logits, with a choice */
    int wte, ln_f, lm_head;
    struct block_ids *ids;        /* [layers], owned */
    struct decode_memory *memory; /* [layers], owned */
    char *arrays;                 /* on the device, owned: all that follows, and the memories */
    int32_t *input;               /* [2][own], as host */
    int32_t *picked;              /* [own] */
    double *draws;                /* [own] */
    real *x, *h, *w1_out, *w3_out;
    float *rms;              /* [own] */
    float *all_logits;       /* [ranks][own][vocab] */
    float *logits;           /* [own][vocab], this rank's place there */
    float *gathered;         /* all_logits on the host, owned; NULL with one rank */
    struct mixer_acts mixer; /* shared by all layers */
};

/* params are listed, allocated and filled. batch sequences are decoded side by side. capacity: the
   tokens that attention can remember of each; with TTT it is not read. Every sequence has begun.
   -1 with why(). */
must_check int decode_open(struct decode *d, const struct config *c, struct params *p, int batch,
                           int64_t capacity);
void decode_close(struct decode *d); /* harmless when closed */

/* Forget all sequences: the next token of each is its first. */
void decode_begin(struct decode *d);

/* What a sequence reads, on the host: borrowed. */
struct decode_prompt {
    const int32_t *ids;
    int64_t count;
};

/* Every sequence reads on, each its own of prompts [batch], of any lengths; where count is 0 it
   rests. Whole mini-batches are read by the forward over many tokens at once, up to read_tokens, so
   that memory is bounded whatever the length (attention: all, of a sequence that has just begun,
   and else none); what comes before them and the last tokens, one at least, one at a time. logits
   as decode_step's, of the token after each prompt; rows of sequences without one are left alone.
   Interrupted, it returns 0 as ever: position then tells how far each sequence came, from where
   another call can go on, and logits are anything. -1 with why() when memory is short, a prompt
   outgrows what attention can remember, or the device broke. */
must_check int decode_read(struct decode *d, const struct decode_prompt *prompts, float *logits);

/* Read the next token of every sequence, ids [batch] on the host, each below vocab_size; a sequence
   whose id is negative rests. logits: [batch][vocab] on the host for the token after it, anything
   in the rows of those that rest, or NULL when they are not wanted, which is cheaper. -1 with why()
   when the device broke or a sequence outgrows what attention can remember. */
must_check int decode_step(struct decode *d, const int32_t *ids, float *logits);

/* Whether decode_pick can be called: has_pick(), one rank alone, and no more ids than it takes. */
bool decode_picks(const struct decode *d);

/* How decode_pick chooses from now on, from the first `choices` ids. */
void decode_rule(struct decode *d, const struct pick_rule *rule, int choices);

/* decode_step that lets the device choose the token after it, so that no logits travel. draw
   [batch]: at least 0 and below 1. chosen [batch]: as pick's ids, anything for those that rest. */
must_check int decode_pick(struct decode *d, const int32_t *ids, const double *draw,
                           int32_t *chosen);

/* The logits of the last step that had any, [batch][vocab]. */
void decode_logits(const struct decode *d, float *logits);

#endif
