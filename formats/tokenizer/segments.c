/* segments.c -- the cache's slow side: making it, and remembering. */
#include "segments.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE  ((size_t)1 << 21)
#define FIRST_BITS 9

static uint64_t *empty_sets(unsigned words, unsigned bits)
{
    size_t bytes = (size_t)32 * words << bits, page = bytes < HUGE_PAGE ? 64 : HUGE_PAGE;
    uint64_t *sets = aligned_alloc(page, bytes);
    if (!sets)
        return NULL;
    if (page == HUGE_PAGE)
        madvise(sets, bytes, MADV_HUGEPAGE); /* if there are none, it is only slower */
    memset(sets, 0, bytes);
    return sets;
}

int segments_open(struct segments *s, unsigned words, unsigned most_bits, bool narrow)
{
    unsigned bits = most_bits < FIRST_BITS ? most_bits : FIRST_BITS;
    *s = (struct segments){.bits = bits, .most_bits = most_bits, .narrow = narrow};
    s->sets = empty_sets(words, bits);
    return s->sets ? 0 : fail("no memory for a cache of segments");
}

void segments_grow(struct segments *s, unsigned words)
{
    uint64_t *sets = empty_sets(words, s->most_bits);
    if (sets) {
        free(s->sets);
        s->sets = sets;
        s->bits = s->most_bits;
        s->puts = 0;
    } else
        s->most_bits = s->bits; /* a small one does as well */
}

void segments_close(struct segments *s)
{
    free(s->sets);
    *s = (struct segments){0};
}

void segments_put(struct segments *s, uint64_t *set, const uint64_t *key, unsigned words,
                  const uint32_t *ids, size_t count)
{
    size_t room = s->narrow ? 4 * words - 1 : 2 * words - 1;
    if (count > room)
        return;
    uint16_t narrow[4 * SEGMENT_WORDS_MAX] = {0};
    uint32_t wide[2 * SEGMENT_WORDS_MAX] = {0};
    for (size_t i = 0; i < count; i++) {
        if (s->narrow)
            narrow[i] = (uint16_t)ids[i];
        else
            wide[i] = ids[i];
    }
    narrow[4 * words - 1] = (uint16_t)count;
    wide[2 * words - 1] = (uint32_t)count;
    s->puts++;
    memcpy(set + 2 * words, set, 16 * words);
    memcpy(set, key, 8 * words);
    memcpy(set + words, s->narrow ? (const void *)narrow : (const void *)wide, 8 * words);
}
