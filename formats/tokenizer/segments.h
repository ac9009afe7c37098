/* segments.h -- remembers the ids of segments of text: a flat cache, one thread's own.

   An entry is `words` words of key and as many of ids. The key is the segment's bytes, padded with
   zeros, and its length in the last byte, so that an empty entry equals no segment. The ids have 16
   bits each in vocabularies up to 65536 ("narrow") and 32 in others, and their number stands at
   the end. Two entries make a set; a new one takes the first place and moves the old one to the
   second, which is forgotten. A cache is small until it has been filled once, for most of its bytes
   would otherwise be cleared in vain by who encodes a word. The functions on the way of every
   segment are inline, and `words` is a constant to them. */
#ifndef SEGMENTS_H
#define SEGMENTS_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SEGMENT_WORDS_MAX 8
#define always_inline     static inline __attribute__((always_inline))

struct segments {
    uint64_t *sets; /* [1 << bits][2][2 * words], owned */
    unsigned bits, most_bits;
    size_t puts; /* since it has this size */
    bool narrow;
};

/* A cache that grows to 1 << most_bits sets. */
must_check int segments_open(struct segments *s, unsigned words, unsigned most_bits, bool narrow);
void segments_close(struct segments *s); /* harmless when closed */

/* Whether segments_grow is due: it forgets everything, and sets that were found are gone. */
static inline bool segments_full(const struct segments *s)
{
    return s->bits < s->most_bits && s->puts >> s->bits;
}
void segments_grow(struct segments *s, unsigned words);

/* Remember a segment's ids in its set; too many of them are not remembered. */
void segments_put(struct segments *s, uint64_t *set, const uint64_t *key, unsigned words,
                  const uint32_t *ids, size_t count);

/* The longest segment, and the most ids that a find may write. */
always_inline size_t segments_bytes(unsigned words)
{
    return 8 * words - 1;
}

always_inline size_t segments_ids(unsigned words)
{
    return 4 * words;
}

/* The key of text[0 .. bytes), bytes at most segments_bytes; `end` is where reading must end. */
always_inline void segments_key(uint64_t *key, unsigned words, const uint8_t *text, size_t bytes,
                                const uint8_t *end)
{
    static const uint8_t window[16 * SEGMENT_WORDS_MAX] = {
#define EIGHT_BYTES 255, 255, 255, 255, 255, 255, 255, 255
        EIGHT_BYTES, EIGHT_BYTES, EIGHT_BYTES, EIGHT_BYTES,
        EIGHT_BYTES, EIGHT_BYTES, EIGHT_BYTES, EIGHT_BYTES,
#undef EIGHT_BYTES
    };
    if ((size_t)(end - text) >= 8 * words) {
        uint64_t keep[SEGMENT_WORDS_MAX];
        memcpy(key, text, 8 * words);
        memcpy(keep, window + 8 * SEGMENT_WORDS_MAX - bytes, 8 * words);
        for (unsigned i = 0; i < words; i++)
            key[i] &= keep[i];
    } else {
        memset(key, 0, 8 * words);
        memcpy(key, text, bytes);
    }
    key[words - 1] |= (uint64_t)bytes << 56;
}

always_inline uint64_t *segments_set(const struct segments *s, const uint64_t *key, unsigned words)
{
    uint64_t hash = 0;
    for (unsigned i = 0; i < words; i += 2) {
        unsigned __int128 product = (unsigned __int128)(key[i] ^ 0x9E3779B97F4A7C15u) *
                                    (key[i + 1] ^ hash ^ 0xD1B54A32D192ED03u);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    hash = hash * 0x9E3779B97F4A7C15u >> (64 - s->bits);
    return s->sets + hash * 4 * words;
}

always_inline bool segments_same(const uint64_t *a, const uint64_t *b, unsigned words)
{
    uint64_t differ = 0;
    for (unsigned i = 0; i < words; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

/* Write a remembered segment's ids to `to`, which has room for segments_ids, and their number to
 *count. Returns whether the set has the segment. */
always_inline bool segments_find(const struct segments *s, const uint64_t *set, const uint64_t *key,
                                 unsigned words, uint32_t *to, size_t *count)
{
    const uint64_t *entry = set;
    if (!segments_same(entry, key, words)) {
        entry += 2 * words;
        if (!segments_same(entry, key, words))
            return false;
    }
    if (s->narrow) {
        uint16_t ids[4 * SEGMENT_WORDS_MAX];
        memcpy(ids, entry + words, 8 * words);
        for (unsigned i = 0; i < 4 * words; i++)
            to[i] = ids[i];
        *count = ids[4 * words - 1];
    } else {
        memcpy(to, entry + words, 8 * words);
        *count = to[2 * words - 1];
    }
    return true;
}

#endif
