/* sample.h -- choose the next token from logits, the same for the same seed. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* How to choose. A plain value. */
struct sample_config {
    double temperature; /* logits are divided by it; 0 takes the largest */
    int64_t top_k;      /* only the k most likely; 0: all */
    double top_p;       /* only the fewest most likely that reach this probability; 1: all */
    double min_p;       /* only those at least so likely, relative to the likeliest; 0: all */
    /* The logits of ids that came before are divided by it where positive, else multiplied, before
       anything else; 0 or 1: none are. */
    double repetition_penalty;
};

/* Whether the numbers make sense; -1 with one sentence naming the flag. */
must_check int sample_check(const struct sample_config *c);

/* What all texts share. Zero means closed. */
struct sampler {
    struct sample_config config;
    int vocab;
    struct sample_choice *choices; /* [vocab], owned */
};

/* vocab: how many logits count, from the first. */
must_check int sample_open(struct sampler *s, const struct sample_config *c, int vocab);
void sample_close(struct sampler *s); /* harmless when closed */

/* One text. Zero is a text of seed 0 in which nothing repeats. */
struct sample_text {
    uint64_t seed, draws; /* draws made so far */
    uint64_t *seen;       /* a bit for each id; owned, or NULL where no penalty asks for it */
};

must_check int sample_begin(const struct sampler *s, struct sample_text *t, uint64_t seed);
void sample_end(struct sample_text *t); /* harmless when ended */

/* Whether it matters what came in the text before. */
bool sample_penalises(const struct sampler *s);

/* The id has come in the text, in its prompt too. */
void sample_note(struct sample_text *t, uint32_t id);

/* The chosen id in *id. Cuts to top_k first, then to top_p of what is left, then by min_p; among
   equals the lower id counts as more likely. Depends on the text's seed and draws alone, not on
   texts beside it. -1 with why() when a logit is not a number. */
must_check int sample_pick(struct sampler *s, struct sample_text *t, const float *logits,
                           int32_t *id);

/* Where nothing is penalised pick of kernels.h chooses the same from the text's next draw, at least
   0 and below 1. sample_take: it chose this id, and the draw is made. -1 as sample_pick. */
double sample_draw(const struct sample_text *t);
must_check int sample_take(const struct sampler *s, struct sample_text *t, int32_t id);

#endif
