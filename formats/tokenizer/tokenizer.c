/* tokenizer.c -- reads a SentencePiece model, and turns ids back into bytes. */
#include "tokenizer.h"

#include "file.h"
#include "protobuf.h"
#include "tokenizer_json.h"
#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB_MAX   (1u << 24)
#define MODEL_MAX   ((size_t)1 << 30) /* bytes; spellings are addressed by 32 bits */
#define BLANK_BYTES 3                 /* of U+2581 */

/* The field numbers of sentencepiece_model.proto that matter here. */
enum { MODEL_PIECE = 1, MODEL_TRAINER, MODEL_NORMALIZER, MODEL_DENORMALIZER = 5 };
enum { PIECE_SPELLING = 1, PIECE_SCORE, PIECE_KIND };
enum { TRAINER_TYPE = 3, TRAINER_SUFFIX = 24, TRAINER_BYTE_FALLBACK = 35 };
enum { TRAINER_UNK_MARK = 44, TRAINER_BOS = 46, TRAINER_EOS };
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_PREFIX, NORMALIZER_TRIM, NORMALIZER_ESCAPE };
enum { TYPE_UNIGRAM = 1, TYPE_BPE, TYPE_WORD, TYPE_CHAR };

struct span {
    const uint8_t *at;
    size_t bytes;
};

/* What the model says beside its pieces, with the format's defaults. */
struct settings {
    bool has_trainer, has_normalizer;
    uint64_t type;
    bool blank_suffix, byte_fallback;
    bool charsmap, dummy_prefix, trim_blanks, escape_blanks;
    struct span unk_mark, bos, eos;
};

#define SPAN(literal)                                   \
    {                                                   \
        (const uint8_t *)(literal), sizeof(literal) - 1 \
    }

static const struct settings defaults = {
    .type = TYPE_UNIGRAM,
    .dummy_prefix = true,
    .trim_blanks = true,
    .escape_blanks = true,
    .unk_mark = SPAN(" \u2047 "),
    .bos = SPAN("<s>"),
    .eos = SPAN("</s>"),
};

/* ---- reading ------------------------------------------------------------------------------ */

static int take_flag(const struct proto_field *f, bool *flag)
{
    *flag = f->value != 0;
    return proto_want(f, PROTO_VARINT);
}

static int take_span(const struct proto_field *f, struct span *span)
{
    *span = (struct span){f->data, f->bytes};
    return proto_want(f, PROTO_BYTES);
}

static int read_trainer(struct settings *s, struct proto p)
{
    struct proto_field f;
    int got;
    while ((got = proto_next(&p, &f)) > 0) {
        int bad = 0;
        switch (f.number) {
        case TRAINER_TYPE:
            s->type = f.value;
            bad = proto_want(&f, PROTO_VARINT);
            break;
        case TRAINER_SUFFIX:
            bad = take_flag(&f, &s->blank_suffix);
            break;
        case TRAINER_BYTE_FALLBACK:
            bad = take_flag(&f, &s->byte_fallback);
            break;
        case TRAINER_UNK_MARK:
            bad = take_span(&f, &s->unk_mark);
            break;
        case TRAINER_BOS:
            bad = take_span(&f, &s->bos);
            break;
        case TRAINER_EOS:
            bad = take_span(&f, &s->eos);
            break;
        }
        if (bad)
            return -1;
    }
    s->has_trainer = true;
    return got;
}

/* The normalizer's settings; a denormalizer has the same form, and only its charsmap counts. */
static int read_normalizer(struct settings *s, struct proto p, bool denormalizer)
{
    struct proto_field f;
    int got;
    while ((got = proto_next(&p, &f)) > 0) {
        int bad = 0;
        if (f.number == NORMALIZER_CHARSMAP) {
            s->charsmap |= f.bytes > 0;
            bad = proto_want(&f, PROTO_BYTES);
        } else if (denormalizer) {
            continue;
        } else if (f.number == NORMALIZER_PREFIX) {
            bad = take_flag(&f, &s->dummy_prefix);
        } else if (f.number == NORMALIZER_TRIM) {
            bad = take_flag(&f, &s->trim_blanks);
        } else if (f.number == NORMALIZER_ESCAPE) {
            bad = take_flag(&f, &s->escape_blanks);
        }
        if (bad)
            return -1;
    }
    s->has_normalizer |= !denormalizer;
    return got;
}

/* One piece; its spelling goes to text, which has room, at *used. */
static int read_piece(struct piece *piece, struct proto p, uint8_t *text, uint32_t *used)
{
    *piece = (struct piece){.at = *used, .kind = PIECE_NORMAL};
    struct span spelling = {0};
    struct proto_field f;
    int got;
    while ((got = proto_next(&p, &f)) > 0) {
        int bad = 0;
        uint32_t bits = (uint32_t)f.value;
        if (f.number == PIECE_SPELLING) {
            bad = take_span(&f, &spelling);
        } else if (f.number == PIECE_SCORE) {
            bad = proto_want(&f, PROTO_FIXED32);
            memcpy(&piece->score, &bits, sizeof bits);
        } else if (f.number == PIECE_KIND) {
            bad = proto_want(&f, PROTO_VARINT);
            if (!bad && (f.value < PIECE_NORMAL || f.value > PIECE_BYTE))
                bad = fail("byte %zu: no piece has the type %llu", f.offset,
                           (unsigned long long)f.value);
            piece->kind = bits;
        }
        if (bad)
            return -1;
    }
    if (spelling.bytes)
        memcpy(text + *used, spelling.at, spelling.bytes);
    piece->bytes = (uint32_t)spelling.bytes;
    *used += piece->bytes;
    return got;
}

/* Count the pieces and the bytes of their messages, which bound their spellings. */
static int count_pieces(struct proto p, size_t *count, size_t *bytes)
{
    struct proto_field f;
    int got;
    *count = *bytes = 0;
    while ((got = proto_next(&p, &f)) > 0) {
        if (f.number == MODEL_PIECE && f.wire == PROTO_BYTES) {
            ++*count;
            *bytes += f.bytes;
        }
    }
    return got;
}

/* Everything in the file, into t->pieces, t->text and s. *used: bytes of text in use. */
static int read_model(struct tokenizer *t, struct settings *s, struct proto p, uint32_t *used)
{
    size_t count, bytes;
    if (count_pieces(p, &count, &bytes))
        return -1;
    if (count == 0)
        return fail("there is not one piece in it: not a SentencePiece model");
    if (count > VOCAB_MAX)
        return fail("%zu pieces are more than the %u that can be read", count, VOCAB_MAX);
    /* Twice the spellings, for what they decode to, and the unknown piece's mark. */
    t->pieces = malloc(sizeof *t->pieces * count);
    t->text = malloc(2 * bytes + (size_t)(p.end - p.at) + 64);
    if (!t->pieces || !t->text)
        return fail("no memory for its %zu pieces", count);

    struct proto_field f;
    int got;
    while ((got = proto_next(&p, &f)) > 0) {
        int bad = 0;
        if (f.number < MODEL_PIECE || f.number > MODEL_DENORMALIZER)
            continue;
        if (proto_want(&f, PROTO_BYTES))
            return -1;
        struct proto inside = proto_inside(&p, &f);
        if (f.number == MODEL_PIECE)
            bad = read_piece(&t->pieces[t->vocab_size++], inside, t->text, used);
        else if (f.number == MODEL_TRAINER)
            bad = read_trainer(s, inside);
        else if (f.number == MODEL_NORMALIZER || f.number == MODEL_DENORMALIZER)
            bad = read_normalizer(s, inside, f.number == MODEL_DENORMALIZER);
        if (bad)
            return -1;
    }
    return got;
}

/* ---- judging ------------------------------------------------------------------------------ */

static int check_settings(const struct settings *s)
{
    static const char *const types[] = {"", "unigram", "BPE", "word", "char"};
    if (!s->has_trainer || !s->has_normalizer)
        return fail("no %s settings in it: cut short, or not a SentencePiece model",
                    s->has_trainer ? "normalizer" : "trainer");
    if (s->type < TYPE_UNIGRAM || s->type > TYPE_CHAR)
        return fail("a model of the unknown type %llu; train one with spm_train --model_type=bpe",
                    (unsigned long long)s->type);
    if (s->type != TYPE_BPE)
        return fail("a %s model, and only BPE models can be read: train one with spm_train "
                    "--model_type=bpe",
                    types[s->type]);
    if (s->charsmap)
        return fail("the model rewrites characters, and only models that keep them can be read: "
                    "train with --normalization_rule_name=identity");
    if (s->trim_blanks)
        return fail("the model drops extra blanks, and only models that keep them can be read: "
                    "train with --remove_extra_whitespaces=false");
    if (!s->escape_blanks)
        return fail("the model does not write blanks as U+2581, which is not supported");
    if (s->blank_suffix)
        return fail("the model puts blanks after words, and only blanks before words can be read: "
                    "train with --treat_whitespace_as_suffix=false");
    return 0;
}

static bool spelled(const struct tokenizer *t, uint32_t id, struct span as)
{
    const struct piece *p = &t->pieces[id];
    return p->bytes == as.bytes && (as.bytes == 0 || !memcmp(t->text + p->at, as.at, as.bytes));
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int tokenizer_byte_spelled(const uint8_t *s, uint32_t bytes)
{
    if (bytes != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || hex_digit(s[3]) < 0 ||
        hex_digit(s[4]) < 0)
        return -1;
    return hex_digit(s[3]) * 16 + hex_digit(s[4]);
}

/* Find the pieces with a meaning of their own. */
static int find_special(struct tokenizer *t, const struct settings *s)
{
    uint32_t bytes_found = 0;
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        const struct piece *p = &t->pieces[id];
        int byte;
        switch (p->kind) {
        case PIECE_UNKNOWN:
            if (t->unk_id != TOKENIZER_NONE)
                return fail("pieces %u and %u are both of the unknown type", t->unk_id, id);
            t->unk_id = id;
            break;
        case PIECE_CONTROL:
            if (spelled(t, id, s->bos))
                t->bos_id = id;
            if (spelled(t, id, s->eos))
                t->eos_id = id;
            break;
        case PIECE_BYTE:
            byte = tokenizer_byte_spelled(t->text + p->at, p->bytes);
            if (byte < 0)
                return fail("byte piece %u is not spelled like <0x0A>", id);
            bytes_found += t->byte_id[byte] == TOKENIZER_NONE;
            t->byte_id[byte] = id;
            break;
        case PIECE_UNUSED:
            return fail("piece %u is marked unused: a model with its whole vocabulary is needed",
                        id);
        }
    }
    if (t->unk_id == TOKENIZER_NONE)
        return fail("no piece is of the unknown type");
    if (s->byte_fallback ? bytes_found != 256 : bytes_found != 0)
        return fail("%u byte pieces where byte_fallback is %s", bytes_found,
                    s->byte_fallback ? "on and needs 256" : "off");
    return 0;
}

/* ---- what ids decode to ------------------------------------------------------------------- */

/* The spelling with each U+2581 made a blank; returns the length. */
static uint32_t unescape(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < bytes;) {
        if (bytes - i >= BLANK_BYTES && !memcmp(from + i, "\u2581", BLANK_BYTES)) {
            to[n++] = ' ';
            i += BLANK_BYTES;
        } else {
            to[n++] = from[i++];
        }
    }
    return n;
}

static void fill_shown(struct tokenizer *t, const struct settings *s, uint32_t used)
{
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        struct piece *p = &t->pieces[id];
        p->shown_at = used;
        p->shown_bytes = 0;
        if (p->kind == PIECE_NORMAL || p->kind == PIECE_USER) {
            p->shown_bytes = unescape(t->text + used, t->text + p->at, p->bytes);
        } else if (p->kind == PIECE_BYTE) {
            t->text[used] = (uint8_t)tokenizer_byte_spelled(t->text + p->at, p->bytes);
            p->shown_bytes = 1;
        } else if (p->kind == PIECE_UNKNOWN && s->unk_mark.bytes) {
            memcpy(t->text + used, s->unk_mark.at, s->unk_mark.bytes);
            p->shown_bytes = (uint32_t)s->unk_mark.bytes;
        }
        used += p->shown_bytes;
    }
}

/* ---- user-defined pieces ------------------------------------------------------------------- */

/* By first byte, the longest first; texts decide the rest. */
static int user_order(const void *a, const void *b, void *tokenizer)
{
    size_t x, y;
    const uint8_t *p = tokenizer_bytes(tokenizer, *(const uint32_t *)a, &x);
    const uint8_t *q = tokenizer_bytes(tokenizer, *(const uint32_t *)b, &y);
    return p[0] != q[0] ? (p[0] > q[0]) - (p[0] < q[0]) : (x < y) - (x > y);
}

/* A piece with a raw blank is never met: texts have U+2581 by then. */
static bool user_defined(const struct tokenizer *t, uint32_t id)
{
    const struct piece *p = &t->pieces[id];
    return p->kind == PIECE_USER && !memchr(t->text + p->at, ' ', p->bytes);
}

static int index_users(struct tokenizer *t)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < t->vocab_size; id++)
        count += user_defined(t, id);
    if (count == 0)
        return 0;
    t->user = malloc(sizeof *t->user * count);
    t->user_at = calloc(257, sizeof *t->user_at);
    if (!t->user || !t->user_at)
        return fail("no memory for its %u user-defined pieces", count);
    count = 0;
    for (uint32_t id = 0; id < t->vocab_size; id++) {
        if (user_defined(t, id)) {
            t->user[count++] = id;
            t->user_at[t->text[t->pieces[id].shown_at] + 1]++;
        }
    }
    qsort_r(t->user, count, sizeof *t->user, user_order, t);
    for (int byte = 0; byte < 256; byte++)
        t->user_at[byte + 1] += t->user_at[byte];
    return 0;
}

uint32_t tokenizer_user(const struct tokenizer *t, const uint8_t *text, size_t bytes,
                        size_t *length)
{
    for (uint32_t i = t->user_at[text[0]]; i < t->user_at[text[0] + 1]; i++) {
        const uint8_t *piece = tokenizer_bytes(t, t->user[i], length);
        if (*length <= bytes && !memcmp(piece, text, *length))
            return t->user[i];
    }
    return TOKENIZER_NONE;
}

/* ---- open and close ----------------------------------------------------------------------- */

/* Everything in a SentencePiece model but for its merges. */
static int read_sentencepiece(struct tokenizer *t, struct settings *s, const uint8_t *data,
                              size_t bytes, uint32_t *used)
{
    struct proto p = {.at = data, .end = data + bytes, .file = data};
    if (read_model(t, s, p, used) || check_settings(s) || find_special(t, s))
        return -1;
    t->byte_fallback = s->byte_fallback;
    t->dummy_prefix = s->dummy_prefix;
    return 0;
}

/* The same of a tokenizer.json, and its merges. */
static int read_json(struct tokenizer *t, struct settings *s, const uint8_t *data, size_t bytes,
                     uint32_t *used, struct bpe_merge **merges, size_t *count)
{
    if (tokenizer_json(t, data, bytes, used, merges, count))
        return -1;
    const struct piece *unk = &t->pieces[t->unk_id];
    s->unk_mark = (struct span){t->text + unk->at, unk->bytes};
    return 0;
}

int tokenizer_read(struct tokenizer *t, const void *data, size_t bytes, const char *name)
{
    *t = (struct tokenizer){.unk_id = TOKENIZER_NONE,
                            .bos_id = TOKENIZER_NONE,
                            .eos_id = TOKENIZER_NONE};
    memset(t->byte_id, 0xFF, sizeof t->byte_id);
    if (bytes > MODEL_MAX)
        return fail("%s: %zu bytes are more than a tokenizer model can have", name, bytes);

    struct settings s = defaults;
    uint32_t used = 0;
    struct bpe_merge *merges = NULL;
    size_t count = 0;
    const uint8_t *begin = bytes ? data : (const void *)""; /* no bytes may be no pointer either */
    int bad = bytes && *begin == '{' ? read_json(t, &s, begin, bytes, &used, &merges, &count)
                                     : read_sentencepiece(t, &s, begin, bytes, &used);
    if (!bad)
        bad = bpe_open(&t->bpe, t->pieces, t->vocab_size, t->text, merges, count);
    if (!bad) {
        fill_shown(t, &s, used);
        bad = index_users(t);
        t->hash = xxh3_of(data, bytes);
    }
    free(merges);
    if (!bad)
        return 0;
    fail("%s: %s", name, why());
    tokenizer_close(t);
    return -1;
}

int tokenizer_open(struct tokenizer *t, const char *path)
{
    struct map map;
    *t = (struct tokenizer){0};
    if (map_open(&map, path))
        return -1;
    int bad = tokenizer_read(t, map.data, map.bytes, path);
    map_close(&map);
    return bad;
}

void tokenizer_close(struct tokenizer *t)
{
    free(t->pieces);
    free(t->text);
    free(t->user);
    free(t->user_at);
    bpe_close(&t->bpe);
    *t = (struct tokenizer){0};
}

/* ---- ids ---------------------------------------------------------------------------------- */

const uint8_t *tokenizer_piece(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    *bytes = t->pieces[id].bytes;
    return t->text + t->pieces[id].at;
}

const uint8_t *tokenizer_bytes(const struct tokenizer *t, uint32_t id, size_t *bytes)
{
    *bytes = t->pieces[id].shown_bytes;
    return t->text + t->pieces[id].shown_at;
}

size_t tokenizer_decode(const struct tokenizer *t, const uint32_t *ids, size_t count, bool *begun,
                        uint8_t *out, size_t room)
{
    bool whole = false;
    begun = begun ? begun : &whole;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        const uint8_t *text = ids[i] < t->vocab_size ? tokenizer_bytes(t, ids[i], &bytes) : NULL;
        if (bytes == 0)
            continue;
        uint32_t kind = t->pieces[ids[i]].kind;
        bool dummy = !*begun && t->dummy_prefix && text[0] == ' ' &&
                     (kind == PIECE_NORMAL || kind == PIECE_USER);
        *begun = true;
        text += dummy;
        bytes -= dummy;
        if (total < room)
            memcpy(out + total, text, bytes < room - total ? bytes : room - total);
        total += bytes;
    }
    return total;
}
