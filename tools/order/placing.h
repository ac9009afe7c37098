/* placing.h -- which place of a new order each document takes: a function of seed and count. */
#ifndef PLACING_H
#define PLACING_H

#include "err.h"
#include "permute.h"

#include <stdint.h>

enum placing_kind {
    PLACING_SAME,  /* every document stays in its place */
    PLACING_TTT,   /* ours: permute.h, nothing in memory */
    PLACING_NUMPY, /* numpy.random.default_rng(seed).permutation(n): four bytes a document */
};

/* Zero means closed. */
struct placing {
    enum placing_kind kind;
    uint64_t n;
    struct permute ttt;
    uint32_t *places; /* [n] with PLACING_NUMPY, owned */
};

/* Bytes that an order of n documents holds in memory. */
uint64_t placing_bytes(enum placing_kind kind, uint64_t n);

/* -1 with why() when there is no memory, or too many documents for numpy's order: 2^31 and more. */
must_check int placing_begin(struct placing *o, enum placing_kind kind, uint64_t seed, uint64_t n);
void placing_end(struct placing *o); /* harmless when closed */

/* The place that document number d takes, both below n. */
static inline uint64_t placing_of(const struct placing *o, uint64_t d)
{
    return o->kind == PLACING_SAME  ? d
           : o->kind == PLACING_TTT ? permute_find(&o->ttt, d)
                                    : o->places[d];
}

/* The same for documents in their order, some at a time. Begin with all of it zero. */
struct placing_run {
    uint64_t from, count;
    uint64_t places[64];
};

static inline uint64_t placing_next(const struct placing *o, struct placing_run *r, uint64_t d)
{
    if (o->kind != PLACING_TTT)
        return placing_of(o, d);
    if (d - r->from >= r->count) {
        r->from = d;
        r->count = o->n - d < 64 ? o->n - d : 64;
        permute_find_run(&o->ttt, d, r->count, r->places);
    }
    return r->places[d - r->from];
}

#endif
