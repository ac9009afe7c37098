/* placing.c -- which place of a new order each document takes. */
#include "placing.h"
#include "pcg.h"

#include <stdlib.h>

enum { SEEN = 1u << 31 }; /* numbers are below it */

uint64_t placing_bytes(enum placing_kind kind, uint64_t n)
{
    return kind == PLACING_NUMPY ? 4 * n : 0;
}

/* As pcg_permutation, in four bytes a number. */
static void permutation(uint32_t *p, uint32_t n, uint64_t seed)
{
    struct pcg g;
    pcg_seed(&g, seed);
    for (uint32_t i = 0; i < n; i++)
        p[i] = i;
    for (uint32_t i = n; i-- > 1;) {
        uint32_t j = (uint32_t)pcg_interval(&g, i), held = p[i];
        p[i] = p[j];
        p[j] = held;
    }
}

/* p[place] = document becomes p[document] = place, cycle by cycle. */
static void invert(uint32_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] & SEEN)
            continue;
        uint32_t place = i, document = p[i];
        do {
            uint32_t next = p[document];
            p[document] = place | SEEN;
            place = document;
            document = next;
        } while (place != i);
    }
    for (uint32_t i = 0; i < n; i++)
        p[i] &= ~SEEN;
}

int placing_begin(struct placing *o, enum placing_kind kind, uint64_t seed, uint64_t n)
{
    *o = (struct placing){.kind = kind, .n = n};
    if (kind == PLACING_TTT)
        permute_begin(&o->ttt, seed, n);
    if (kind != PLACING_NUMPY || n == 0)
        return 0;
    if (n >= SEEN)
        return fail("%llu documents: numpy's order is drawn for at most %u here",
                    (unsigned long long)n, SEEN - 1);
    o->places = malloc(n * sizeof *o->places);
    if (!o->places)
        return fail("no memory for the order of %llu documents", (unsigned long long)n);
    permutation(o->places, (uint32_t)n, seed);
    invert(o->places, (uint32_t)n);
    return 0;
}

void placing_end(struct placing *o)
{
    free(o->places);
    *o = (struct placing){0};
}
