/* cuts.h -- the places where a text may be cut: between two characters that no piece holds side by
   side. No merge crosses such a place, so that what lies between two of them, a segment, has the
   same ids wherever it stands. */
#ifndef CUTS_H
#define CUTS_H

#include "bpe.h"

/* A walk over a text. Up to 64 bytes are looked at in one go, since asking them one by one costs a
   misguessed branch a segment. Fields are private. */
struct cuts {
    const struct bpe *b; /* borrowed */
    const uint8_t *block, *after, *end;
    uint64_t mask; /* bit i: the text may be cut behind block[i], and this was not said yet */
};

/* From `text` to before `end`, which is behind it. */
static inline void cuts_begin(struct cuts *c, const struct bpe *b, const uint8_t *text,
                              const uint8_t *end)
{
    *c = (struct cuts){.b = b, .block = text, .after = text, .end = end};
}

/* Look at the bytes from c->after on, of which there are some. */
void cuts_look(struct cuts *c);

/* The end of the next segment; the last one ends where the text does. */
static inline const uint8_t *cuts_next(struct cuts *c)
{
    while (!c->mask)
        cuts_look(c);
    const uint8_t *cut = c->block + __builtin_ctzll(c->mask) + 1;
    c->mask &= c->mask - 1;
    return cut;
}

#endif
