/* pcg.h -- numpy's default_rng(seed).permutation(n), exactly: SeedSequence, PCG64, its shuffle.

   Equal to numpy 1.20 to 2.x. The reference's train_test_split draws its rows with it. */
#ifndef PCG_H
#define PCG_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PCG64 XSL-RR, seeded as numpy.random.default_rng does. */
struct pcg {
    unsigned __int128 state, step;
    uint32_t held; /* the high half of a draw, for the next 32-bit request */
    bool has_held;
};

void pcg_seed(struct pcg *g, uint64_t seed);
/* The seed as a whole number of any size, 32-bit words, the lowest first; at least one word. */
void pcg_seed_words(struct pcg *g, const uint32_t *words, size_t count);

/* A number from 0 to most, as numpy's shuffle draws it: masked, drawn again while too large. */
uint64_t pcg_interval(struct pcg *g, uint64_t most);

/* order[0..n) becomes Generator.permutation(n), continuing g. */
void pcg_permutation(struct pcg *g, uint64_t *order, size_t n);

/* How many of n rows the reference's split gives to test: ceil(ratio * n) in doubles. -1 with
   why() when it would leave none for training, which it refuses too. 0 < ratio < 1. */
must_check int pcg_split(uint64_t *test_rows, double ratio, uint64_t n);

#endif
