/* encoder.c -- cuts a text where no merge can cross, and looks the cuts up. */
#include "encoder.h"

#include "cuts.h"
#include "utf8.h"

#include <stdlib.h>
#include <string.h>

/* Sets in the caches of segments up to 15, 31 and 63 bytes: 8, 2 and 1/2 MB. */
#define SHORT_BITS   17
#define LONG_BITS    14
#define LONGEST_BITS 11

#define LONG_IDS ((size_t)16 << 20) /* from here on memory for ids grows by eighths */

/* ---- ids that grow ------------------------------------------------------------------------ */

static int grow(struct ids *ids, size_t more)
{
    size_t share = ids->room < LONG_IDS ? ids->room / 2 : ids->room / 8;
    size_t room = ids->room + share + more + 1024;
    uint32_t *id = realloc(ids->id, sizeof *id * room);
    if (!id)
        return fail("no memory for %zu ids", room);
    ids->id = id;
    ids->room = room;
    return 0;
}

static inline int make_room(struct ids *ids, size_t more)
{
    return ids->room - ids->count >= more ? 0 : grow(ids, more);
}

static inline int append(struct ids *ids, uint32_t id)
{
    if (make_room(ids, 1))
        return -1;
    ids->id[ids->count++] = id;
    return 0;
}

void ids_free(struct ids *ids)
{
    free(ids->id);
    *ids = (struct ids){0};
}

/* ---- one segment -------------------------------------------------------------------------- */

/* A character that is no piece: its bytes, or the unknown id. `raw` is what stands for UTF8_BAD. */
static int append_unknown(const struct tokenizer *t, uint32_t code, uint8_t raw, struct ids *out)
{
    if (!t->byte_fallback)
        return append(out, t->unk_id);
    uint8_t bytes[4] = {raw};
    unsigned n = code == UTF8_BAD ? 1 : utf8_put(code == ' ' ? BLANK_MARK : code, bytes);
    for (unsigned i = 0; i < n; i++)
        if (append(out, t->byte_id[bytes[i]]))
            return -1;
    return 0;
}

static inline uint32_t next_code(const uint8_t **p, const uint8_t *end)
{
    uint32_t code;
    *p += utf8_next(*p, end, &code);
    return code == BLANK_MARK ? ' ' : code;
}

/* Append what is left of a stretch of symbols. */
static int append_symbols(const struct tokenizer *t, const uint32_t *symbols, size_t count,
                          struct ids *out)
{
    if (make_room(out, count))
        return -1;
    for (size_t i = 0; i < count; i++) {
        if (symbols[i] < t->vocab_size)
            append(out, symbols[i]);
        else if (append_unknown(t, t->bpe.codes[symbols[i] - t->vocab_size], 0, out))
            return -1;
    }
    return 0;
}

/* A segment of at most MERGER_SHORT characters, its dummy blank among them. */
static int merge_short(const struct tokenizer *t, bool blank, const uint8_t *text, size_t bytes,
                       struct ids *out)
{
    const struct bpe *b = &t->bpe;
    const uint8_t *p = text, *end = text + bytes;
    uint32_t symbols[MERGER_SHORT], before = ' ', code = ' ';
    struct bpe_result pairs[MERGER_SHORT];
    size_t count = 0;
    if (blank)
        symbols[count++] = bpe_char(b, ' ') & CHAR_SYMBOL;
    for (; p < end; before = code) {
        code = next_code(&p, end);
        symbols[count] = bpe_char(b, code) & CHAR_SYMBOL;
        if (count > 0)
            pairs[count - 1] = (before | code) < 128
                                   ? b->ascii[before][code]
                                   : bpe_merged(b, symbols[count - 1], symbols[count]);
        count++;
    }
    /* A character that no piece holds joins no other: it is a segment of its own. */
    if (symbols[0] == NO_SYMBOL)
        return append_unknown(t, code, bytes ? text[0] : 0, out);
    return append_symbols(t, symbols, merger_short(b, symbols, pairs, count), out);
}

/* Append the ids of text, which holds no place to cut, after a dummy blank if there is one. */
static int merge_segment(struct encoder *e, bool blank, const uint8_t *text, size_t bytes,
                         struct ids *out)
{
    const struct tokenizer *t = e->t;
    const uint8_t *p = text, *end = text + bytes;
    struct merger *m = &e->merger;
    size_t count = 0;
    if (bytes + blank <= MERGER_SHORT)
        return merge_short(t, blank, text, bytes, out);
    if (merger_room(m, 1))
        return -1;
    if (blank)
        m->symbols[count++] = bpe_char(&t->bpe, ' ') & CHAR_SYMBOL;
    while (p < end) {
        uint32_t code = next_code(&p, end);
        if (count == m->symbol_room && merger_room(m, count + 1))
            return -1;
        m->symbols[count++] = bpe_char(&t->bpe, code) & CHAR_SYMBOL;
    }
    if (merger_run(m, &t->bpe, &count) || append_symbols(t, m->symbols, count, out))
        return -1;
    merger_trim(m);
    return 0;
}

/* ---- segments on their way ------------------------------------------------------------------ */

/* A segment that is cut off, and where memory would know it: AHEAD of them are cut before the first
   is looked up, so that the memory's answers arrive together. */
struct cut {
    const uint8_t *text;
    size_t bytes;
    uint32_t symbol; /* a single character that is a piece, else NO_SYMBOL */
    uint64_t *set;
    uint64_t key[2]; /* of a short one */
};

#define AHEAD 16

always_inline uint64_t *find_set(struct segments *cache, unsigned words, const struct cut *c,
                                 const uint8_t *end)
{
    uint64_t key[SEGMENT_WORDS_MAX];
    segments_key(key, words, c->text, c->bytes, end);
    return segments_set(cache, key, words);
}

/* The piece that a segment of a single character is, or NO_SYMBOL. */
static inline uint32_t lone_piece(const struct tokenizer *t, const uint8_t *text, size_t bytes)
{
    const uint8_t *p = text, *end = text + bytes;
    if (bytes > 4)
        return NO_SYMBOL;
    uint32_t symbol = bpe_char(&t->bpe, next_code(&p, end)) & CHAR_SYMBOL;
    return p == end && symbol < t->vocab_size ? symbol : NO_SYMBOL;
}

/* Cut the next segment off at *p, and have its place in memory fetched. */
static inline void cut_next(struct encoder *e, struct cut *c, struct cuts *cuts, const uint8_t **p,
                            const uint8_t *end)
{
    c->text = *p;
    *p = cuts_next(cuts);
    c->bytes = (size_t)(*p - c->text);
    c->symbol = lone_piece(e->t, c->text, c->bytes);
    c->set = NULL;
    if (c->symbol != NO_SYMBOL)
        return;
    if (c->bytes <= segments_bytes(2)) {
        segments_key(c->key, 2, c->text, c->bytes, end);
        c->set = segments_set(&e->cache[0], c->key, 2);
    } else if (c->bytes <= segments_bytes(4))
        c->set = find_set(&e->cache[1], 4, c, end);
    else if (c->bytes <= segments_bytes(8))
        c->set = find_set(&e->cache[2], 8, c, end);
    else
        return;
    __builtin_prefetch(c->set);
    if (c->bytes > segments_bytes(2))
        __builtin_prefetch(c->set + 8);
}

/* Append the segment's ids, from memory or for it. */
always_inline int recall(struct encoder *e, struct segments *cache, unsigned words,
                         const struct cut *c, const uint64_t *key, struct ids *out)
{
    size_t count;
    if (segments_find(cache, c->set, key, words, out->id + out->count, &count)) {
        out->count += count;
        return 0;
    }
    size_t before = out->count;
    if (merge_segment(e, false, c->text, c->bytes, out))
        return -1;
    segments_put(cache, c->set, key, words, out->id + before, out->count - before);
    return make_room(out, AHEAD * segments_ids(SEGMENT_WORDS_MAX));
}

always_inline int recall_long(struct encoder *e, struct segments *cache, unsigned words,
                              const struct cut *c, const uint8_t *end, struct ids *out)
{
    uint64_t key[SEGMENT_WORDS_MAX];
    segments_key(key, words, c->text, c->bytes, end);
    return recall(e, cache, words, c, key, out);
}

/* `end` is where reading must end. There is room for what memory may give for AHEAD segments. */
static inline int append_cut(struct encoder *e, const struct cut *c, const uint8_t *end,
                             struct ids *out)
{
    if (c->symbol != NO_SYMBOL) {
        out->id[out->count++] = c->symbol;
        return 0;
    }
    if (c->bytes <= segments_bytes(2))
        return recall(e, &e->cache[0], 2, c, c->key, out);
    if (c->bytes <= segments_bytes(4))
        return recall_long(e, &e->cache[1], 4, c, end, out);
    if (c->bytes <= segments_bytes(8))
        return recall_long(e, &e->cache[2], 8, c, end, out);
    return merge_segment(e, false, c->text, c->bytes, out) ||
                   make_room(out, AHEAD * segments_ids(SEGMENT_WORDS_MAX))
               ? -1
               : 0;
}

/* Append the first segment's ids, after a dummy blank: what a written one would give. */
static int append_first(struct encoder *e, const uint8_t *text, size_t bytes, struct ids *out)
{
    uint8_t written[16] = {' '};
    struct cut c = {.text = written, .bytes = bytes + 1};
    if (c.bytes > segments_bytes(2))
        return merge_segment(e, true, text, bytes, out);
    if (make_room(out, AHEAD * segments_ids(SEGMENT_WORDS_MAX)))
        return -1;
    memcpy(written + 1, text, bytes);
    segments_key(c.key, 2, c.text, c.bytes, written + sizeof written);
    c.set = segments_set(&e->cache[0], c.key, 2);
    return recall(e, &e->cache[0], 2, &c, c.key, out);
}

/* ---- a text ------------------------------------------------------------------------------- */

/* Without byte pieces a run of unknown characters is one unknown id. */
static void fuse_unknown(const struct tokenizer *t, struct ids *out, size_t from)
{
    size_t kept = from;
    for (size_t i = from; i < out->count; i++)
        if (i == from || out->id[i] != t->unk_id || out->id[i - 1] != t->unk_id)
            out->id[kept++] = out->id[i];
    out->count = kept;
}

/* Cut by cut, after a dummy blank if there is one. */
static int encode_cuts(struct encoder *e, bool blank, const uint8_t *text, size_t bytes,
                       struct ids *out)
{
    const struct tokenizer *t = e->t;
    const uint8_t *p = text, *end = text + bytes, *second = text;
    struct cuts places;
    cuts_begin(&places, &t->bpe, text, end);
    if (blank) {
        if (p < end && bpe_joins(&t->bpe, ' ', next_code(&second, end)))
            p = cuts_next(&places);
        if (append_first(e, text, (size_t)(p - text), out))
            return -1;
    }
    struct cut cuts[AHEAD];
    while (p < end) {
        size_t count = 0;
        for (unsigned i = 0; i < 3; i++)
            if (segments_full(&e->cache[i]))
                segments_grow(&e->cache[i], 2u << i);
        while (count < AHEAD && p < end)
            cut_next(e, &cuts[count++], &places, &p, end);
        if (make_room(out, AHEAD * segments_ids(SEGMENT_WORDS_MAX)))
            return -1;
        for (size_t i = 0; i < count; i++)
            if (append_cut(e, &cuts[i], end, out))
                return -1;
    }
    return 0;
}

static int text_room(uint8_t **text, size_t *room, size_t bytes)
{
    if (*room >= bytes)
        return 0;
    uint8_t *more = realloc(*text, bytes);
    if (!more)
        return fail("no memory for a text of %zu bytes", bytes);
    *text = more;
    *room = bytes;
    return 0;
}

/* The same where user-defined pieces stand first: from left to right the longest that fits, which
   merges with nothing. */
static int encode_around_users(struct encoder *e, bool blank, const uint8_t *text, size_t bytes,
                               struct ids *out)
{
    const struct tokenizer *t = e->t;
    if (text_room(&e->spaced, &e->spaced_room, bytes + 1))
        return -1;
    uint8_t *end = e->spaced;
    if (blank)
        *end++ = ' ';
    for (size_t i = 0; i < bytes;) {
        bool mark = bytes - i >= 3 && !memcmp(text + i, "\u2581", 3);
        *end++ = mark ? ' ' : text[i];
        i += mark ? 3 : 1;
    }
    const uint8_t *part = e->spaced, *p = part;
    while (p < end) {
        size_t n;
        uint32_t code, id = tokenizer_user(t, p, (size_t)(end - p), &n);
        if (id == TOKENIZER_NONE) {
            p += utf8_next(p, end, &code);
            continue;
        }
        if (encode_cuts(e, false, part, (size_t)(p - part), out) || append(out, id))
            return -1;
        part = p += n;
    }
    return encode_cuts(e, false, part, (size_t)(end - part), out);
}

/* A text without special strings, or a part between two, after a dummy blank if there is one. */
static int encode_plain(struct encoder *e, bool blank, const uint8_t *text, size_t bytes,
                        struct ids *out)
{
    size_t from = out->count;
    if (bytes == 0)
        return 0;
    if (e->t->user_at ? encode_around_users(e, blank, text, bytes, out)
                      : encode_cuts(e, blank, text, bytes, out))
        return -1;
    if (!e->t->byte_fallback)
        fuse_unknown(e->t, out, from);
    return 0;
}

/* ---- special strings ---------------------------------------------------------------------- */

/* The special id whose name begins at p, the longest if several do, or TOKENIZER_NONE. */
static uint32_t special_at(const struct tokenizer *t, const uint8_t *p, const uint8_t *end,
                           size_t *length)
{
    uint32_t ids[3] = {t->unk_id, t->bos_id, t->eos_id}, found = TOKENIZER_NONE;
    *length = 0;
    for (int i = 0; i < 3; i++) {
        if (ids[i] == TOKENIZER_NONE)
            continue;
        size_t n;
        const uint8_t *name = tokenizer_piece(t, ids[i], &n);
        if (n > *length && n <= (size_t)(end - p) && !memcmp(name, p, n)) {
            *length = n;
            found = ids[i];
        }
    }
    return found;
}

/* Mark the bytes that special names begin with; returns the length of the longest name. */
static size_t open_specials(const struct tokenizer *t, bool opens[256])
{
    uint32_t ids[3] = {t->unk_id, t->bos_id, t->eos_id};
    size_t longest = 0, n;
    for (int i = 0; i < 3; i++)
        if (ids[i] != TOKENIZER_NONE) {
            opens[*tokenizer_piece(t, ids[i], &n)] = true;
            longest = n > longest ? n : longest;
        }
    return longest;
}

/* The next byte from p on that a special name begins with, or end. */
static const uint8_t *next_opening(const struct encoder *e, const uint8_t *p, const uint8_t *end)
{
    if (e->only >= 0) {
        p = memchr(p, e->only, (size_t)(end - p));
        return p ? p : end;
    }
    while (p < end && !e->opens[*p])
        p++;
    return p;
}

static int encode_literal(struct encoder *e, bool blank, const uint8_t *text, size_t bytes,
                          struct ids *out)
{
    const uint8_t *end = text + bytes, *part = text, *p = text;
    while ((p = next_opening(e, p, end)) < end) {
        size_t n = 0;
        uint32_t id = special_at(e->t, p, end, &n);
        if (id == TOKENIZER_NONE) {
            p++;
            continue;
        }
        if (encode_plain(e, blank, part, (size_t)(p - part), out) || append(out, id))
            return -1;
        blank = e->t->dummy_prefix && !e->t->dummy_first;
        part = p += n;
    }
    return encode_plain(e, blank, part, (size_t)(end - part), out);
}

/* A text, or with blank false what follows another part of it. */
static int encode_part(struct encoder *e, bool blank, const void *text, size_t bytes,
                       enum special special, struct ids *out)
{
    if (bytes == 0)
        return 0;
    return special == SPECIAL_LITERAL ? encode_literal(e, blank, text, bytes, out)
                                      : encode_plain(e, blank, text, bytes, out);
}

int encoder_encode(struct encoder *e, const void *text, size_t bytes, enum special special,
                   struct ids *out)
{
    return encode_part(e, e->t->dummy_prefix, text, bytes, special, out);
}

/* The text and EOS's name behind it as one text, for models where a special name may begin in the
   one and end in the other. */
static int encode_with_eos(struct encoder *e, bool blank, const void *text, size_t bytes,
                           struct ids *out)
{
    size_t n;
    const uint8_t *name = tokenizer_piece(e->t, e->t->eos_id, &n);
    if (text_room(&e->joined, &e->joined_room, bytes + n))
        return -1;
    memcpy(e->joined, text, bytes);
    memcpy(e->joined + bytes, name, n);
    return encode_literal(e, blank, e->joined, bytes + n, out);
}

/* Whether a special name may begin in a text and end in the EOS that follows it: some name's end,
   but not the whole of it, begins EOS's name or is begun by it. */
static bool runs_into_eos(const struct tokenizer *t)
{
    uint32_t ids[3] = {t->unk_id, t->bos_id, t->eos_id};
    size_t eos_bytes;
    const uint8_t *eos = tokenizer_piece(t, t->eos_id, &eos_bytes);
    for (int i = 0; i < 3; i++) {
        size_t n = 0;
        const uint8_t *name = ids[i] != TOKENIZER_NONE ? tokenizer_piece(t, ids[i], &n) : NULL;
        for (size_t cut = 1; cut < n; cut++)
            if (!memcmp(name + cut, eos, n - cut < eos_bytes ? n - cut : eos_bytes))
                return true;
    }
    return false;
}

int encoder_part(struct encoder *e, const void *text, size_t bytes, struct framing framing,
                 bool first, bool last, struct ids *out)
{
    const struct tokenizer *t = e->t;
    bool blank = first && t->dummy_prefix, eos = framing.eos && last && bytes;
    if ((framing.bos && t->bos_id == TOKENIZER_NONE) ||
        (framing.eos && t->eos_id == TOKENIZER_NONE))
        return fail("the tokenizer has no %s piece: leave it away",
                    framing.bos && t->bos_id == TOKENIZER_NONE ? "BOS" : "EOS");
    if (framing.bos && first && append(out, t->bos_id))
        return -1;
    if (eos && framing.special == SPECIAL_LITERAL && runs_into_eos(t))
        return encode_with_eos(e, blank, text, bytes, out);
    if (encode_part(e, blank, text, bytes, framing.special, out))
        return -1;
    return eos ? append(out, t->eos_id) : 0;
}

int encoder_document(struct encoder *e, const void *text, size_t bytes, struct framing framing,
                     struct ids *out)
{
    return encoder_part(e, text, bytes, framing, true, true, out);
}

/* ---- parts -------------------------------------------------------------------------------- */

/* Which bytes begin a special name or a user-defined piece; returns how many bytes of a text one
   may take. */
static size_t find_openings(const struct tokenizer *t, enum special special, bool opens[256])
{
    size_t n;
    memset(opens, 0, 256 * sizeof *opens);
    size_t reach = special == SPECIAL_LITERAL ? open_specials(t, opens) : 0;
    for (uint32_t i = 0; t->user_at && i < t->user_at[256]; i++) {
        opens[*tokenizer_bytes(t, t->user[i], &n)] = true;
        reach = 3 * n > reach ? 3 * n : reach; /* a text may have U+2581 for a blank */
    }
    opens[0xE2] |= opens[' '];
    return reach;
}

size_t encoder_cut(const struct tokenizer *t, enum special special, const void *text, size_t bytes)
{
    bool opens[256];
    const uint8_t *begin = text, *end = begin + bytes, *p = end, *before;
    size_t reach = find_openings(t, special, opens);
    uint32_t x, y = UTF8_BAD;
    for (; p > begin; p = before, y = x) {
        before = p - 1;
        while (before > begin && p - before < 4 && (*before & 0xC0) == 0x80)
            before--;
        const uint8_t *from = before;
        x = next_code(&from, p);
        if (from != p)
            x = UTF8_BAD;
        /* Runs of unknown characters that become one id stay together. */
        bool known = t->byte_fallback || (bpe_char(&t->bpe, x) & CHAR_SYMBOL) < t->vocab_size;
        if (x == UTF8_BAD || y == UTF8_BAD || !known || bpe_joins(&t->bpe, x, y))
            continue;
        size_t around = (size_t)(p - begin) < reach ? (size_t)(p - begin) : reach;
        for (from = p - around; from <= p && !opens[*from];)
            from++;
        if (from > p)
            return (size_t)(p - begin);
    }
    return 0;
}

/* ---- open and close ----------------------------------------------------------------------- */

int encoder_open(struct encoder *e, const struct tokenizer *t)
{
    *e = (struct encoder){.t = t, .only = -1};
    int openings = 0;
    open_specials(t, e->opens);
    for (int c = 0; c < 256; c++)
        if (e->opens[c])
            e->only = openings++ ? -1 : c;
    bool narrow = t->vocab_size <= 65536;
    if (!segments_open(&e->cache[0], 2, SHORT_BITS, narrow) &&
        !segments_open(&e->cache[1], 4, LONG_BITS, narrow) &&
        !segments_open(&e->cache[2], 8, LONGEST_BITS, narrow))
        return 0;
    encoder_close(e);
    return -1;
}

void encoder_close(struct encoder *e)
{
    for (int i = 0; i < 3; i++)
        segments_close(&e->cache[i]);
    merger_close(&e->merger);
    free(e->joined);
    free(e->spaced);
    *e = (struct encoder){0};
}
