/* merger.c -- the merge loop: an array for short stretches, a tree for long ones.

   The tree holds the rank of each symbol with its right neighbour, and above every 16 entries their
   minimum, up to one root. Going down to the first entry that equals the minimum finds the leftmost
   of the best pairs; a change climbs only as far as minima change. Symbols stay where they began:
   a merged pair lives on in its left place, and a bit says which places are alive. */
#include "merger.h"

#include <stdlib.h>
#include <string.h>

#define FAN          16
#define LEVELS       9 /* FAN ^ LEVELS is beyond LONGEST */
#define LONGEST      ((size_t)INT32_MAX)
#define KEEP_AT_MOST ((size_t)1 << 22)

static int out_of_memory(size_t count)
{
    return fail("no memory to merge %zu characters without a place to cut", count);
}

int merger_room(struct merger *m, size_t count)
{
    if (count <= m->symbol_room)
        return 0;
    if (count > LONGEST)
        return fail("%zu characters without a place to cut are more than the %zu that can be "
                    "merged: split the text",
                    count, LONGEST);
    size_t room = count < 1024 ? 1024 : count + count / 2;
    uint32_t *more = realloc(m->symbols, sizeof *more * room);
    if (!more)
        return out_of_memory(count);
    m->symbols = more;
    m->symbol_room = room;
    return 0;
}

void merger_close(struct merger *m)
{
    free(m->symbols);
    free(m->ranks);
    free(m->live);
    *m = (struct merger){0};
}

void merger_trim(struct merger *m)
{
    if (m->symbol_room > KEEP_AT_MOST || m->tree_symbols > KEEP_AT_MOST)
        merger_close(m);
}

static int32_t rank_of(const struct bpe *b, uint32_t left, uint32_t right)
{
    return (int32_t)bpe_merged(b, left, right).rank;
}

/* ---- short -------------------------------------------------------------------------------- */

/* A rank and a place in one number, so that the least is the leftmost of the best. */
static inline uint64_t keyed(uint32_t rank, size_t place)
{
    return rank == RANK_NONE ? UINT64_MAX : (uint64_t)rank << 8 | place;
}

static inline uint64_t least(const uint64_t *key, size_t count)
{
    uint64_t min = key[0];
    for (size_t i = 1; i < count; i++)
        min = key[i] < min ? key[i] : min;
    return min;
}

size_t merger_short(const struct bpe *b, uint32_t *symbols, struct bpe_result *pairs, size_t count)
{
    uint64_t key[MERGER_SHORT], best;
    uint8_t next[MERGER_SHORT], before[MERGER_SHORT];
    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        key[i] = i + 1 < count ? keyed(pairs[i].rank, i) : UINT64_MAX;
        next[i] = (uint8_t)(i + 1);
        before[i] = (uint8_t)(i - 1);
    }
    while ((best = least(key, count)) != UINT64_MAX) {
        size_t at = best & 0xFF, gone = next[at], right = next[gone];
        symbols[at] = pairs[at].piece;
        next[at] = (uint8_t)right;
        key[gone] = key[at] = UINT64_MAX;
        if (right < count) {
            before[right] = (uint8_t)at;
            pairs[at] = bpe_merged(b, symbols[at], symbols[right]);
            key[at] = keyed(pairs[at].rank, at);
        }
        if (at > 0) {
            size_t left = before[at];
            pairs[left] = bpe_merged(b, symbols[left], symbols[at]);
            key[left] = keyed(pairs[left].rank, left);
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i = next[i])
        symbols[kept++] = symbols[i];
    return kept;
}

/* ---- long --------------------------------------------------------------------------------- */

struct tree {
    int32_t *level[LEVELS]; /* level[0] are the pairs' ranks; each padded to whole groups */
    int levels;             /* the last is one group */
};

/* Entries of a level of `count`, in whole groups. */
static size_t padded(size_t count)
{
    return (count + FAN - 1) / FAN * FAN;
}

static int32_t group_min(const int32_t *group)
{
    int32_t min = group[0];
    for (int i = 1; i < FAN; i++)
        min = group[i] < min ? group[i] : min;
    return min;
}

static int tree_room(struct merger *m, size_t count)
{
    if (count <= m->tree_symbols)
        return 0;
    free(m->ranks);
    free(m->live);
    size_t entries = 0;
    for (size_t n = count;; n = padded(n) / FAN) {
        entries += padded(n);
        if (n <= FAN)
            break;
    }
    m->tree_symbols = 0;
    m->ranks = malloc(sizeof *m->ranks * entries);
    m->live = malloc(sizeof *m->live * (count / 64 + 1));
    if (!m->ranks || !m->live)
        return out_of_memory(count);
    m->tree_symbols = count;
    return 0;
}

static struct tree tree_build(struct merger *m, const struct bpe *b, size_t count)
{
    struct tree t = {.level[0] = m->ranks};
    for (size_t i = 0; i + 1 < count; i++)
        t.level[0][i] = rank_of(b, m->symbols[i], m->symbols[i + 1]);
    for (size_t i = count - 1; i < padded(count); i++)
        t.level[0][i] = RANK_NONE;
    for (t.levels = 1; count > FAN; t.levels++) {
        int32_t *below = t.level[t.levels - 1], *here = below + padded(count);
        count = padded(count) / FAN;
        for (size_t i = 0; i < count; i++)
            here[i] = group_min(below + i * FAN);
        for (size_t i = count; i < padded(count); i++)
            here[i] = RANK_NONE;
        t.level[t.levels] = here;
    }
    return t;
}

static void tree_set(struct tree *t, size_t at, int32_t rank)
{
    for (int l = 0;; l++) {
        if (t->level[l][at] == rank)
            return;
        t->level[l][at] = rank;
        if (l + 1 == t->levels)
            return;
        rank = group_min(t->level[l] + at / FAN * FAN);
        at /= FAN;
    }
}

/* The leftmost place of the best rank, which is returned. */
static int32_t tree_best(const struct tree *t, size_t *at)
{
    int32_t min = group_min(t->level[t->levels - 1]);
    size_t group = 0;
    for (int l = t->levels - 1; l >= 0; l--) {
        const int32_t *entry = t->level[l] + group * FAN;
        size_t i = 0;
        while (i < FAN - 1 && entry[i] != min)
            i++;
        group = group * FAN + i;
    }
    *at = group;
    return min;
}

/* The first living place from `at` on, or `count`. */
static size_t live_from(const uint64_t *live, size_t at, size_t count)
{
    for (uint64_t word; at < count; at = (at | 63) + 1)
        if ((word = live[at / 64] >> (at & 63)))
            return at + (size_t)__builtin_ctzll(word);
    return count;
}

/* The last living place before `at`, or SIZE_MAX. */
static size_t live_before(const uint64_t *live, size_t at)
{
    while (at-- > 0) {
        uint64_t word = live[at / 64] << (63 - (at & 63));
        if (word)
            return at - (size_t)__builtin_clzll(word);
        at &= ~(size_t)63;
    }
    return SIZE_MAX;
}

int merger_run(struct merger *m, const struct bpe *b, size_t *count)
{
    size_t n = *count, at;
    if (n == 0)
        return 0;
    if (tree_room(m, n))
        return -1;
    uint32_t *symbols = m->symbols;
    memset(m->live, 0, sizeof *m->live * (n / 64 + 1));
    for (size_t i = 0; i < n; i++)
        m->live[i / 64] |= (uint64_t)1 << (i & 63);

    struct tree t = tree_build(m, b, n);
    while (tree_best(&t, &at) != RANK_NONE) {
        size_t gone = live_from(m->live, at + 1, n);
        symbols[at] = bpe_merged(b, symbols[at], symbols[gone]).piece;
        m->live[gone / 64] &= ~((uint64_t)1 << (gone & 63));
        tree_set(&t, gone, RANK_NONE);
        size_t right = live_from(m->live, gone + 1, n), left = live_before(m->live, at);
        tree_set(&t, at, right < n ? rank_of(b, symbols[at], symbols[right]) : RANK_NONE);
        if (left != SIZE_MAX)
            tree_set(&t, left, rank_of(b, symbols[left], symbols[at]));
    }

    size_t kept = 0;
    for (size_t i = live_from(m->live, 0, n); i < n; i = live_from(m->live, i + 1, n))
        symbols[kept++] = symbols[i];
    *count = kept;
    return 0;
}
