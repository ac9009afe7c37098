/* bpe.c -- builds the tables of a BPE vocabulary. */
#include "bpe.h"

#include "utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* What is needed while building only. */
struct build {
    const struct piece *pieces;
    const uint8_t *text;
    uint32_t count;
    uint64_t *by_text; /* [1 << bits]: half a hash of a spelling and its piece; all ones is empty */
    unsigned bits;
    uint32_t *rank;     /* [count] */
    struct pair *pairs; /* [pair_room]: merges found so far */
    size_t pair_count, pair_room;
    uint32_t pages, codes;
};

static int out_of_memory(void)
{
    return fail("no memory for the tables of its vocabulary");
}

/* Slots for twice `count` entries: the exponent of two. */
static unsigned table_bits(size_t count)
{
    unsigned bits = 4;
    while ((size_t)1 << bits < 2 * count)
        bits++;
    return bits;
}

static int pair_table_open(struct pair_table *t, size_t count)
{
    t->bits = table_bits(count);
    size_t bytes = sizeof *t->slots << t->bits;
    t->slots = aligned_alloc(64, bytes);
    if (!t->slots)
        return out_of_memory();
    memset(t->slots, 0xFF, bytes);
    return 0;
}

static void pair_put(struct pair_table *t, struct pair pair)
{
    struct pair *s = (struct pair *)pair_find(t, pair.left, pair.right);
    if (s)
        return;
    uint64_t hash = ((uint64_t)pair.left << 32 | pair.right) * 0x9E3779B97F4A7C15u;
    size_t mask = ((size_t)1 << t->bits) - 1, at = hash >> (64 - t->bits);
    while (t->slots[at].left != UINT32_MAX)
        at = (at + 1) & mask;
    t->slots[at] = pair;
}

/* ---- spellings ---------------------------------------------------------------------------- */

/* The slot in by_text of a spelling, or the empty one where it would go; *tag is its upper half. */
static uint64_t *slot_of(const struct build *w, const uint8_t *text, size_t bytes, uint64_t *tag)
{
    uint64_t hash = XXH3_64bits(text, bytes);
    size_t mask = ((size_t)1 << w->bits) - 1, at = hash & mask;
    *tag = hash >> 32;
    for (;; at = (at + 1) & mask) {
        uint64_t slot = w->by_text[at];
        const struct piece *p = &w->pieces[(uint32_t)slot];
        if (slot == UINT64_MAX ||
            (slot >> 32 == *tag && p->bytes == bytes && !memcmp(w->text + p->at, text, bytes)))
            return &w->by_text[at];
    }
}

/* The piece spelled so, or UINT32_MAX. */
static uint32_t spelled(const struct build *w, const uint8_t *text, size_t bytes)
{
    uint64_t tag;
    return (uint32_t)*slot_of(w, text, bytes, &tag);
}

static int index_spellings(struct build *w)
{
    w->bits = table_bits(w->count);
    w->by_text = malloc(sizeof *w->by_text << w->bits);
    if (!w->by_text)
        return out_of_memory();
    memset(w->by_text, 0xFF, sizeof *w->by_text << w->bits);
    for (uint32_t id = 0; id < w->count; id++) {
        const struct piece *p = &w->pieces[id];
        const uint8_t *text = w->text + p->at;
        uint64_t tag;
        if (p->bytes == 0 || p->bytes > PIECE_MAX)
            return fail("piece %u has %u bytes, not 1 to %d", id, p->bytes, PIECE_MAX);
        if (!utf8_valid(text, p->bytes, NULL))
            return fail("piece %u is not UTF-8", id);
        if (!isfinite(p->score))
            return fail("piece %u has a score that is not a number", id);
        uint64_t *slot = slot_of(w, text, p->bytes, &tag);
        if (*slot != UINT64_MAX)
            return fail("pieces %u and %u are spelled alike", (uint32_t)*slot, id);
        *slot = tag << 32 | id;
    }
    return 0;
}

/* A normal piece with a raw blank is never met: texts have U+2581 by then. */
static bool merges_in(const struct build *w, uint32_t id)
{
    const struct piece *p = &w->pieces[id];
    return p->kind == PIECE_NORMAL && !memchr(w->text + p->at, ' ', p->bytes);
}

/* ---- ranks -------------------------------------------------------------------------------- */

struct scored {
    float score;
    uint32_t id;
};

static int better_first(const void *a, const void *b)
{
    float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
    return (x < y) - (x > y);
}

static int rank_scores(struct build *w)
{
    struct scored *order = malloc(sizeof *order * w->count);
    w->rank = malloc(sizeof *w->rank * w->count);
    if (!order || !w->rank) {
        free(order);
        return out_of_memory();
    }
    for (uint32_t i = 0; i < w->count; i++)
        order[i] = (struct scored){w->pieces[i].score, i};
    qsort(order, w->count, sizeof *order, better_first);
    uint32_t rank = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        rank += i > 0 && order[i].score < order[i - 1].score;
        w->rank[order[i].id] = rank;
    }
    free(order);
    return 0;
}

/* ---- characters --------------------------------------------------------------------------- */

static uint32_t next_code(const uint8_t **p, const uint8_t *end)
{
    uint32_t code;
    *p += utf8_next(*p, end, &code);
    return code == BLANK_MARK ? ' ' : code;
}

static uint32_t *char_at(const struct bpe *b, uint32_t code)
{
    return &b->chars[b->page_at[code / CHARS_IN_PAGE] + code % CHARS_IN_PAGE];
}

/* Give each page of codes in use its place, and count what the later tables will hold. */
static int lay_out_chars(struct bpe *b, struct build *w)
{
    b->page_at = calloc(CHAR_PAGES, sizeof *b->page_at);
    if (!b->page_at)
        return out_of_memory();
    w->pages = 1; /* page 0 of chars belongs to the codes nobody uses */
    size_t char_count = 0;
    for (uint32_t id = 0; id < w->count; id++) {
        const uint8_t *p = w->text + w->pieces[id].at, *end = p + w->pieces[id].bytes;
        for (; merges_in(w, id) && p < end; char_count++) {
            uint32_t *at = &b->page_at[next_code(&p, end) / CHARS_IN_PAGE];
            if (!*at)
                *at = w->pages++ * CHARS_IN_PAGE;
        }
    }
    b->chars = malloc(sizeof *b->chars * w->pages * CHARS_IN_PAGE);
    b->codes = malloc(sizeof *b->codes * (char_count + 1));
    if (!b->chars || !b->codes)
        return out_of_memory();
    for (uint32_t i = 0; i < w->pages * CHARS_IN_PAGE; i++)
        b->chars[i] = NO_SYMBOL;
    return 0;
}

static void name_char(struct bpe *b, uint32_t code, uint32_t symbol)
{
    uint32_t *c = char_at(b, code);
    *c = (*c & ~CHAR_SYMBOL) | symbol;
}

static int read_chars(struct bpe *b, struct build *w)
{
    if (lay_out_chars(b, w))
        return -1;
    b->joins = calloc((size_t)1 << JOIN_BITS >> 6, sizeof *b->joins);
    if (!b->joins)
        return out_of_memory();
    for (uint32_t id = 0; id < w->count; id++) {
        const uint8_t *p = w->text + w->pieces[id].at, *end = p + w->pieces[id].bytes;
        if (!merges_in(w, id))
            continue;
        uint32_t x = next_code(&p, end);
        if (p == end)
            name_char(b, x, id);
        for (uint32_t y; p < end; x = y) {
            y = next_code(&p, end);
            *char_at(b, x) |= CHAR_LEFT;
            *char_at(b, y) |= CHAR_RIGHT;
            if ((x | y) < 128)
                b->ascii_joins[x][y] = 1;
            else
                b->joins[bpe_join_bit(x, y) >> 6] |= (uint64_t)1 << (bpe_join_bit(x, y) & 63);
        }
    }
    for (uint32_t id = 0; id < w->count; id++) {
        const uint8_t *p = w->text + w->pieces[id].at, *end = p + w->pieces[id].bytes;
        while (merges_in(w, id) && p < end) {
            uint32_t code = next_code(&p, end);
            if ((*char_at(b, code) & CHAR_SYMBOL) != NO_SYMBOL)
                continue;
            b->codes[w->codes] = code;
            name_char(b, code, w->count + w->codes++);
        }
    }
    return 0;
}

/* ---- merges ------------------------------------------------------------------------------- */

/* The symbol spelled so, or NO_SYMBOL. */
static uint32_t symbol(const struct bpe *b, const struct build *w, const uint8_t *text,
                       const uint8_t *end)
{
    const uint8_t *p = text;
    uint32_t code = next_code(&p, end);
    if (p == end)
        return *char_at(b, code) & CHAR_SYMBOL;
    uint32_t id = spelled(w, text, (size_t)(end - text));
    return id != UINT32_MAX && merges_in(w, id) ? id : NO_SYMBOL;
}

static int note_pair(struct build *w, struct pair pair)
{
    if (w->pair_count == w->pair_room) {
        size_t room = w->pair_room ? 2 * w->pair_room : 4096;
        struct pair *more = realloc(w->pairs, sizeof *more * room);
        if (!more)
            return out_of_memory();
        w->pairs = more;
        w->pair_room = room;
    }
    w->pairs[w->pair_count++] = pair;
    return 0;
}

/* The merges that are given. */
static int take_merges(struct build *w, const struct bpe_merge *merges, size_t count)
{
    uint8_t whole[2 * PIECE_MAX];
    if (count > RANK_NONE)
        return fail("%zu merges are too many", count);
    for (size_t i = 0; i < count; i++) {
        struct bpe_merge m = merges[i];
        const struct piece *left = &w->pieces[m.left], *right = &w->pieces[m.right];
        memcpy(whole, w->text + left->at, left->bytes);
        memcpy(whole + left->bytes, w->text + right->at, right->bytes);
        uint32_t id = spelled(w, whole, left->bytes + right->bytes);
        if (id == UINT32_MAX || !merges_in(w, id) || !merges_in(w, m.left) ||
            !merges_in(w, m.right))
            return fail("merge %zu, of pieces %u and %u, gives no piece", i, m.left, m.right);
        if (note_pair(w, (struct pair){m.left, m.right, .piece = id, .rank = (uint32_t)i}))
            return -1;
    }
    return 0;
}

/* Every way to cut a piece into two symbols is a merge that makes it. */
static int find_merges(struct bpe *b, struct build *w)
{
    for (uint32_t id = 0; id < w->count; id++) {
        const uint8_t *begin = w->text + w->pieces[id].at, *end = begin + w->pieces[id].bytes;
        if (!merges_in(w, id))
            continue;
        const uint8_t *cut = begin;
        for (next_code(&cut, end); cut < end; next_code(&cut, end)) {
            uint32_t left = symbol(b, w, begin, cut);
            uint32_t right = left == NO_SYMBOL ? NO_SYMBOL : symbol(b, w, cut, end);
            if (right != NO_SYMBOL &&
                note_pair(w, (struct pair){left, right, .piece = id, .rank = w->rank[id]}))
                return -1;
        }
    }
    return 0;
}

static int merges_twice(const struct pair *p)
{
    return fail("pieces %u and %u merge twice", p->left, p->right);
}

static int index_wide(struct bpe *b, const struct build *w)
{
    if (pair_table_open(&b->merges, w->pair_count))
        return -1;
    for (size_t i = 0; i < w->pair_count; i++) {
        if (pair_find(&b->merges, w->pairs[i].left, w->pairs[i].right))
            return merges_twice(&w->pairs[i]);
        pair_put(&b->merges, w->pairs[i]);
    }
    return 0;
}

static int index_narrow(struct bpe *b, const struct build *w)
{
    struct narrow_table *t = &b->narrow;
    t->bits = table_bits(w->pair_count);
    size_t mask = ((size_t)1 << t->bits) - 1;
    t->slots = malloc(sizeof *t->slots << t->bits);
    t->maybe = calloc((size_t)1 << MAYBE_BITS >> 6, sizeof *t->maybe);
    if (!t->slots || !t->maybe)
        return out_of_memory();
    memset(t->slots, 0xFF, sizeof *t->slots << t->bits);
    for (size_t i = 0; i < w->pair_count; i++) {
        const struct pair *p = &w->pairs[i];
        uint32_t key = p->left << 16 | p->right;
        uint64_t hash = key * 0x9E3779B97F4A7C15u, bit = hash >> (64 - MAYBE_BITS);
        size_t at = hash >> (64 - t->bits);
        t->maybe[bit >> 6] |= (uint64_t)1 << (bit & 63);
        for (; t->slots[at] != UINT64_MAX; at = (at + 1) & mask)
            if (t->slots[at] >> 32 == key)
                return merges_twice(p);
        t->slots[at] = (uint64_t)key << 32 | p->rank << 16 | p->piece;
    }
    return 0;
}

/* As small as they can be. */
static int index_merges(struct bpe *b, const struct build *w)
{
    for (size_t i = 0; i < w->pair_count; i++)
        if (w->pairs[i].rank >= b->ranks)
            b->ranks = w->pairs[i].rank + 1;
    bool fits = b->piece_count + w->codes < 65535 && b->ranks < 65535;
    return fits ? index_narrow(b, w) : index_wide(b, w);
}

static int ascii_merges(struct bpe *b)
{
    struct bpe_result none[128];
    b->ascii = malloc(sizeof *b->ascii * 128);
    if (!b->ascii)
        return out_of_memory();
    for (uint32_t y = 0; y < 128; y++)
        none[y] = (struct bpe_result){RANK_NONE, 0};
    for (uint32_t x = 0; x < 128; x++) {
        uint32_t left = *char_at(b, x);
        memcpy(b->ascii[x], none, sizeof none);
        for (uint32_t y = 0; left & CHAR_LEFT && y < 128; y++)
            if (b->ascii_joins[x][y])
                b->ascii[x][y] = bpe_merged(b, left & CHAR_SYMBOL, *char_at(b, y) & CHAR_SYMBOL);
    }
    return 0;
}

int bpe_open(struct bpe *b, const struct piece *pieces, uint32_t count, const uint8_t *text,
             const struct bpe_merge *merges, size_t merge_count)
{
    *b = (struct bpe){.piece_count = count};
    struct build w = {.pieces = pieces, .text = text, .count = count};
    int bad = index_spellings(&w) || rank_scores(&w) || read_chars(b, &w) ||
              (merges ? take_merges(&w, merges, merge_count) : find_merges(b, &w)) ||
              index_merges(b, &w) || ascii_merges(b);
    free(w.by_text);
    free(w.rank);
    free(w.pairs);
    if (!bad)
        return 0;
    bpe_close(b);
    return -1;
}

void bpe_close(struct bpe *b)
{
    free(b->page_at);
    free(b->chars);
    free(b->codes);
    free(b->joins);
    free(b->merges.slots);
    free(b->narrow.slots);
    free(b->narrow.maybe);
    free(b->ascii);
    *b = (struct bpe){0};
}
