/* merger.c -- the merge loop: an array for short stretches, a queue by rank for long ones.

   In a long stretch symbols stay where they began: a merged pair lives on in its left place, and a
   bit says which places are alive. The queue may hold places whose pair has changed since: what
   counts is the rank that is written down for the place. */
#include "merger.h"

#include <stdlib.h>
#include <string.h>

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
    rank_queue_close(&m->queue);
    *m = (struct merger){0};
}

void merger_trim(struct merger *m)
{
    if (m->symbol_room > KEEP_AT_MOST || m->room > KEEP_AT_MOST)
        merger_close(m);
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

static int long_room(struct merger *m, const struct bpe *b, size_t count)
{
    if (!m->queue.lines && rank_queue_open(&m->queue, b->ranks))
        return -1;
    if (count <= m->room)
        return 0;
    free(m->ranks);
    free(m->live);
    m->room = 0;
    m->ranks = malloc(sizeof *m->ranks * count);
    m->live = malloc(sizeof *m->live * (count / 64 + 1));
    if (!m->ranks || !m->live)
        return out_of_memory(count);
    m->room = count;
    return 0;
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

/* Write down what the symbols at `left` and `right` merge as, and queue for it. */
static inline int note(struct merger *m, const struct bpe *b, size_t left, size_t right,
                       size_t count)
{
    uint32_t rank =
        right < count ? bpe_merged(b, m->symbols[left], m->symbols[right]).rank : RANK_NONE;
    m->ranks[left] = rank;
    return rank == RANK_NONE ? 0 : rank_queue_put(&m->queue, rank, (uint32_t)left);
}

static int run_long(struct merger *m, const struct bpe *b, size_t *count)
{
    size_t n = *count;
    if (long_room(m, b, n))
        return -1;
    uint32_t *symbols = m->symbols, rank, at;
    memset(m->live, 0xFF, sizeof *m->live * (n / 64 + 1));
    for (size_t i = 0; i < n; i++)
        if (note(m, b, i, i + 1, n))
            return -1;
    while (rank_queue_take(&m->queue, &rank, &at)) {
        if (m->ranks[at] != rank)
            continue;
        size_t gone = live_from(m->live, at + 1, n);
        symbols[at] = bpe_merged(b, symbols[at], symbols[gone]).piece;
        m->live[gone / 64] &= ~((uint64_t)1 << (gone & 63));
        m->ranks[gone] = RANK_NONE;
        size_t right = live_from(m->live, gone + 1, n), left = live_before(m->live, at);
        if (note(m, b, at, right, n) || (left != SIZE_MAX && note(m, b, left, at, n)))
            return -1;
    }
    size_t kept = 0;
    for (size_t i = 0; i < n; i = live_from(m->live, i + 1, n))
        symbols[kept++] = symbols[i];
    *count = kept;
    return 0;
}

int merger_run(struct merger *m, const struct bpe *b, size_t *count)
{
    int status = run_long(m, b, count);
    if (status)
        merger_close(m); /* what still waits in the queue belongs to this stretch */
    return status;
}
