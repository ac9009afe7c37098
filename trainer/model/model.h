/* model.h -- the language model: embedding, blocks, head; forward and backward, block by block.

   A block:   x += conv(rms(x))            when pre_conv
              x += mixer(rms(x)) wo
              x += (silu(h w1) * (h w3)) w2,   h = rms(x)
   Head:      logits = rms(x) wte^T, or rms(x) lm_head when untied.
   Formulas and their sources: docs/model.md.

   A model works on one micro-batch of [batch][seq] tokens at a time and keeps what the backward
   needs: of every block, or where config_recomputes_blocks of the last one and the inputs of the
   others, whose forward the backward does again, to the same bits. Logits exist for a chunk of rows
   at a time. Everything is allocated by model_open. */
#ifndef MODEL_H
#define MODEL_H

#include "config.h"
#include "device.h"
#include "flight.h"
#include "mixer.h"
#include "params.h"
#include "plan.h"
#include "real.h"
#include "shard.h"

/* Indices into params->list; -1 where the model has none. */
struct block_ids {
    int conv_norm, conv_kernel, conv_bias;
    int seq_norm, ffn_norm, wo, w1, w2, w3;
    struct mixer_ids mixer;
};

/* What a block keeps for its backward; rows = batch * seq. */
struct block_acts {
    real *x;                       /* [rows][width], the block's input */
    real *conv_in;                 /* [rows][width] */
    real *x_mixer, *h_mixer;       /* [rows][width], the stream and its norm before the mixer */
    real *x_ffn, *h_ffn;           /* [rows][width], before the feed-forward */
    real *w1_out, *w3_out, *gated; /* [rows][intermediate] */
    float *rms_conv, *rms_mixer, *rms_ffn; /* [rows], inverse */
    struct mixer_acts mixer;
    real *past; /* [3][width], of a sequence that goes on: what conv_in was before; or NULL */
};

/* Zero means closed. */
struct model {
    struct config config;
    struct params *params; /* borrowed */
    int batch, seq, rows, chunk_rows;
    int inner, vocab; /* columns of the feed-forward and ids that are this rank's: all without mp */
    bool training;
    bool recomputing;        /* while training, as config_recomputes_blocks */
    bool reading;            /* keeps what decoding goes on from, and has no logits */
    int wte, ln_f, lm_head;  /* indices into params->list; lm_head -1 when tied */
    struct block_ids *ids;   /* [layers], owned */
    struct block_acts *acts; /* [layers], owned; shared unless training, but x where recomputing */
    char *memory;            /* on the device, owned: all that follows and all acts */
    struct flight flight;    /* input, target, weight, loss and correct of the rows */
    real *x_out, *h_out;     /* [rows][width], before and after ln_f */
    float *rms_out;          /* [rows] */
    float *logits;           /* [chunk_rows][vocab] */
    float *sums;        /* of rows of logits, [mp + 1][chunk_rows][4]; where mp is more than 1 */
    real *dlogits;      /* [chunk_rows][vocab]; the logits themselves where real is float */
    real *dx, *dh, *dy; /* [rows][width], as the rest while training only */
    struct mixer_scratch mixer;
    struct shard shard; /* with the other ranks */
    bool last;          /* the step's last micro-batch comes next: its gradients go to the others */
    float *curves;      /* [4][seq / mini_batch] */
    struct device_recording training_ops, scoring_ops;
};

/* Add to a plan everything that params_alloc and model_open will take; p is listed. -1 with why()
   when the configuration cannot run or a micro-batch of this size cannot be counted. */
must_check int model_plan(struct plan *plan, const struct config *c, struct params *p, int batch,
                          int seq, bool training);

/* params are listed and allocated. training: keep activations and be able to run backward;
   otherwise all blocks share one set. -1 with why(). */
must_check int model_open(struct model *m, const struct config *c, struct params *p, int batch,
                          int seq, bool training);
/* A model that reads texts which will be decoded on: [batch][seq] tokens at most. */
must_check int model_open_reader(struct model *m, const struct config *c, struct params *p,
                                 int batch, int seq);
void model_close(struct model *m); /* harmless when closed */

/* Zero the gradients: a step begins. */
void model_zero_grad(struct model *m);

/* Forward and backward of one micro-batch. Adds share times its scores to *score, and share times
   its gradient to params->grad (share: 1 / accum_steps). curves: NULL, or [layers][4][seq /
   mini_batch] on the host to which share times the four TTT statistics are added, in the order
   of docs/model.md; nothing is added by attention. -1 with why() when the device broke. */
must_check int model_train(struct model *m, const struct tokens *t, float ttt_lr_mult, double share,
                           struct score *score, double *curves);

/* The same without waiting for the device, so that it always has work:

     model_send     begin to move a micro-batch to the device; its weights get the share
     model_queue    queue the forward and backward of the first one that was sent and not yet queued
     model_collect  wait for all of them, and add their scores in that order

   At most FLIGHT_AHEAD between two collections, and at most one sent and not yet queued: it may be
   when the others are collected, and is the first of the next. model_forget waits and drops
   whatever has not been collected. */
must_check int model_send(struct model *m, const struct tokens *t, double share);
void model_queue(struct model *m, float ttt_lr_mult);
must_check int model_collect(struct model *m, struct score *score);
void model_forget(struct model *m);

/* Forward only, ttt_lr_mult 1. Adds share times the scores to *score. */
must_check int model_score(struct model *m, const struct tokens *t, double share,
                           struct score *score);

/* Of the micro-batch last scored: the loss of each row, and 1 where the likeliest token was the
   target, else 0; [rows] each, on the host, until the model is next used. A row that does not
   count has any. */
void model_row_scores(const struct model *m, const float **loss, const float **correct);

/* What is done before each block, where a sequence that goes on is told what it was (past, and
   mixer_go_on), and after it, where the block's acts tell what decoding goes on from: input and
   output of its convolutions and of its mixer, until the next block. The forward ends where
   `before` returns false. */
struct model_reader {
    bool (*before)(void *arg, int l, struct block_acts *a, const struct ttt_shape *s);
    void (*after)(void *arg, int l, const struct block_acts *a, const struct ttt_shape *s);
    void *arg;
};

/* Forward of ids [batch][seq] through the blocks, without the head; at most what
   model_open_reader was told. On a rank of mp they are places in its part of the embedding, -1 for
   others. -1 with why() when the device broke. */
must_check int model_read(struct model *m, const int32_t *ids, int batch, int seq,
                          const struct model_reader *r);

/* ---- a look inside, for tests and evaluation ---------------------------------------------- */

/* Logits of the micro-batch last run, rows first..first+count-1, into logits [count][vocab] on the
   host. */
void model_logits(struct model *m, float *logits, int first, int count);

/* The input of block l, or the output of ln_f for l = layers, into hidden [rows][width] on the
   host. Blocks: of a training model only. */
void model_hidden(struct model *m, float *hidden, int l);

#endif
