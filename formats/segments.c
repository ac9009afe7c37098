/* segments.c -- the cache's slow side: making it, and remembering. */
#include "segments.h"

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)1 << 21)

int segments_open(struct segments *s, unsigned words, unsigned bits, bool narrow)
{
    size_t bytes = (size_t)32 * words << bits, page = bytes < HUGE_PAGE ? 64 : HUGE_PAGE;
    *s = (struct segments){.sets = aligned_alloc(page, bytes), .bits = bits, .narrow = narrow};
    if (!s->sets)
        return fail("no memory for a cache of %zu bytes", bytes);
    if (page == HUGE_PAGE)
        madvise(s->sets, bytes, MADV_HUGEPAGE); /* if there are none, it is only slower */
    memset(s->sets, 0, bytes);
    return 0;
}

void segments_close(struct segments *s)
{
    free(s->sets);
    *s = (struct segments){0};
}

void segments_put(const struct segments *s, uint64_t *set, const uint64_t *key, unsigned words,
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
    memcpy(set + 2 * words, set, 16 * words);
    memcpy(set, key, 8 * words);
    memcpy(set + words, s->narrow ? (const void *)narrow : (const void *)wide, 8 * words);
}
