/* order.h -- which place of a new order each document takes: a function of seed and count. */
#ifndef ORDER_H
#define ORDER_H

#include "err.h"
#include "permute.h"

#include <stdint.h>

enum order_kind {
    ORDER_SAME,  /* every document stays in its place */
    ORDER_TTT,   /* ours: permute.h, nothing in memory */
    ORDER_NUMPY, /* numpy.random.default_rng(seed).permutation(n): four bytes a document */
};

/* Zero means closed. */
struct order {
    enum order_kind kind;
    uint64_t n;
    struct permute ttt;
    uint32_t *places; /* [n] with ORDER_NUMPY, owned */
};

/* Bytes that an order of n documents holds in memory. */
uint64_t order_bytes(enum order_kind kind, uint64_t n);

/* -1 with why() when there is no memory, or too many documents for numpy's order: 2^31 and more. */
must_check int order_begin(struct order *o, enum order_kind kind, uint64_t seed, uint64_t n);
void order_end(struct order *o); /* harmless when closed */

/* The place that document number d takes, both below n. */
static inline uint64_t order_place(const struct order *o, uint64_t d)
{
    return o->kind == ORDER_SAME  ? d
           : o->kind == ORDER_TTT ? permute_find(&o->ttt, d)
                                  : o->places[d];
}

#endif
