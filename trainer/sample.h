/* sample.h -- choose the next token from logits, the same for the same seed. */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "err.h"

#include <stdint.h>

/* How to choose. A plain value. */
struct sample_config {
    double temperature; /* logits are divided by it; 0 takes the largest */
    int64_t top_k;      /* only the k most likely; 0: all */
    double top_p;       /* only the fewest most likely that reach this probability; 1: all */
    int64_t seed;
};

/* Whether the numbers make sense; -1 with one sentence naming the flag. */
must_check int sample_check(const struct sample_config *c);

/* Zero means closed. */
struct sampler {
    struct sample_config config;
    int vocab;
    uint64_t draws;                /* made so far */
    struct sample_choice *choices; /* [vocab], owned */
};

/* vocab: how many logits count, from the first. */
must_check int sample_open(struct sampler *s, const struct sample_config *c, int vocab);
void sample_close(struct sampler *s); /* harmless when closed */

/* The chosen id in *id. Cuts to top_k first, then to top_p of what is left; among equals the
   lower id counts as more likely. -1 with why() when a logit is not a number. */
must_check int sample_pick(struct sampler *s, const float *logits, int32_t *id);

#endif
