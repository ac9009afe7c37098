/* bpe.h -- the tables of a BPE vocabulary: which characters it knows, which neighbours stand
   together inside some piece, and which two symbols merge into which piece.

   A symbol is a piece, or one character: ids below piece_count are pieces; the ids from there on
   are characters that occur inside pieces without being pieces themselves. A text has both ' ' and
   U+2581 as its blank; here the blank has the code ' ' for either. */
#ifndef BPE_H
#define BPE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum piece_kind {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN,
    PIECE_CONTROL,
    PIECE_USER,
    PIECE_UNUSED,
    PIECE_BYTE,
};

struct piece {
    uint32_t at, bytes;             /* its spelling in the model's text */
    uint32_t shown_at, shown_bytes; /* what it decodes to */
    float score;                    /* the better merges first */
    uint32_t kind;                  /* enum piece_kind */
};

/* A pair and what comes of it; an empty slot has left == UINT32_MAX. */
struct pair {
    uint32_t left, right; /* symbols */
    uint32_t piece, rank; /* the piece they merge into; rank 0 merges first; equals share a rank */
};

/* Open addressing, at most half full. */
struct pair_table {
    struct pair *slots; /* [1 << bits], owned */
    unsigned bits;
};

/* Merges in 8 bytes, where symbols and ranks are below 65535: left, right, rank, piece from the top
   down, all ones when empty. They are looked up where nothing is remembered, and half the bytes are
   half the misses of the processor's caches. */
struct narrow_table {
    uint64_t *slots; /* [1 << bits], owned; NULL: there are too many symbols */
    uint64_t *maybe; /* [1 << MAYBE_BITS bits], owned: the hashes that occur, for most do not */
    unsigned bits;
};
#define MAYBE_BITS 20
#define JOIN_BITS  19

/* What two neighbours merge into; rank RANK_NONE: nothing. */
struct bpe_result {
    uint32_t rank, piece;
};

#define BLANK_MARK    0x2581u    /* how models write a blank */
#define CHAR_LEFT     (1u << 31) /* stands before another character inside some piece */
#define CHAR_RIGHT    (1u << 30) /* stands after one */
#define CHAR_SYMBOL   (CHAR_RIGHT - 1)
#define NO_SYMBOL     CHAR_SYMBOL
#define RANK_NONE     INT32_MAX /* of two symbols that do not merge */
#define PIECE_MAX     1024      /* bytes of the longest piece that is read */
#define CHAR_PAGES    0x1100
#define CHARS_IN_PAGE 256

struct bpe {
    uint32_t piece_count;
    uint32_t ranks;                /* every merge's rank is below this */
    uint32_t *page_at;             /* [CHAR_PAGES], owned: where in chars a page of codes begins */
    uint32_t *chars;               /* owned: CHAR_LEFT | CHAR_RIGHT | symbol of each code */
    uint32_t *codes;               /* owned: the code of the symbol piece_count + i */
    uint8_t ascii_joins[128][128]; /* [x][y] is 1: some piece holds x y */
    uint64_t *joins; /* [1 << JOIN_BITS bits], owned: the same by hash for other characters */
    struct narrow_table narrow;      /* merges of symbols, if they fit */
    struct pair_table merges;        /* else here */
    struct bpe_result (*ascii)[128]; /* [128], owned: what two ASCII characters merge into */
};

/* Two pieces that merge into the piece spelled like both. */
struct bpe_merge {
    uint32_t left, right;
};

/* Build the tables of `count` pieces, whose spellings lie in text; only normal ones merge. With
   merges NULL every way to cut a piece into two symbols is a merge, ranked by the piece's score;
   else merges[0 .. merge_count) are all there are, the first merges first. Fails, with a sentence
   that names the piece, on spellings that are empty, too long, not UTF-8 or used twice, on scores
   that are not numbers, and on merges of or into what is no normal piece. On failure b is closed.
 */
must_check int bpe_open(struct bpe *b, const struct piece *pieces, uint32_t count,
                        const uint8_t *text, const struct bpe_merge *merges, size_t merge_count);
void bpe_close(struct bpe *b); /* harmless when closed */

/* The pair's slot, or NULL. */
static inline const struct pair *pair_find(const struct pair_table *t, uint32_t left,
                                           uint32_t right)
{
    uint64_t hash = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    size_t mask = ((size_t)1 << t->bits) - 1, at = hash >> (64 - t->bits);
    for (;; at = (at + 1) & mask) {
        const struct pair *s = &t->slots[at];
        if (s->left == left && s->right == right)
            return s;
        if (s->left == UINT32_MAX)
            return NULL;
    }
}

static inline struct bpe_result bpe_merged(const struct bpe *b, uint32_t left, uint32_t right)
{
    const struct bpe_result none = {RANK_NONE, 0};
    if (!b->narrow.slots) {
        const struct pair *p = pair_find(&b->merges, left, right);
        return p ? (struct bpe_result){p->rank, p->piece} : none;
    }
    uint32_t key = left << 16 | right;
    uint64_t hash = key * 0x9E3779B97F4A7C15u, bit = hash >> (64 - MAYBE_BITS);
    if (!(b->narrow.maybe[bit >> 6] >> (bit & 63) & 1))
        return none;
    size_t mask = ((size_t)1 << b->narrow.bits) - 1;
    size_t at = hash >> (64 - b->narrow.bits);
    for (;; at = (at + 1) & mask) {
        uint64_t s = b->narrow.slots[at];
        if (s == UINT64_MAX)
            return none;
        if (s >> 32 == key)
            return (struct bpe_result){s >> 16 & 0xFFFF, s & 0xFFFF};
    }
}

/* The entry of a character; codes that are none (UTF8_BAD) are unknown. */
static inline uint32_t bpe_char(const struct bpe *b, uint32_t code)
{
    return code < CHAR_PAGES * CHARS_IN_PAGE
               ? b->chars[b->page_at[code / CHARS_IN_PAGE] + code % CHARS_IN_PAGE]
               : NO_SYMBOL;
}

static inline uint64_t bpe_join_bit(uint32_t x, uint32_t y)
{
    return ((uint64_t)x << 32 | y) * 0x9E3779B97F4A7C15u >> (64 - JOIN_BITS);
}

/* Whether some piece holds the characters x y in this order. Where none does, a text may be cut
   between them: a merge across the cut would make such a piece, so there is none, and the merges on
   either side do not look at each other. Now and then the answer is yes where none does, for a
   hash stays in the processor's cache and a table does not: a cut that is not made changes no id.
 */
static inline bool bpe_joins(const struct bpe *b, uint32_t x, uint32_t y)
{
    if ((x | y) < 128)
        return b->ascii_joins[x][y];
    return bpe_char(b, x) & CHAR_LEFT && bpe_char(b, y) & CHAR_RIGHT &&
           b->joins[bpe_join_bit(x, y) >> 6] >> (bpe_join_bit(x, y) & 63) & 1;
}

#endif
