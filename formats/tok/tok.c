/* tok.c -- the frames of a .tok file: header, block, index, trailer, to and from bytes. */
#include "tok.h"
#include "tok_block.h"

#include <jansson.h>
#include <stdlib.h>
#include <xxhash.h>

static const char header_magic[8] = "TTT.TOK\1";
static const char trailer_magic[8] = "TTT.END\1";
static const char block_magic[4] = "TBLK";
static const char index_magic[4] = "TIDX";

enum { ADD_BOS = 1, ADD_EOS = 2, SPECIAL_TEXT = 4 };

static void put16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

uint64_t tok_hash(const void *data, size_t bytes)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    bytes = 0; /* a fuzzer shall get behind the checksums: see tests/fuzz */
#endif
    return XXH3_64bits(data, bytes);
}

/* ---- header ------------------------------------------------------------------------------- */

static int hex_decode(uint8_t out[16], const char hex[33])
{
    for (int i = 0; i < 32; i++) {
        char c = hex[i];
        int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return -1;
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | v : v << 4);
    }
    return hex[32] ? -1 : 0;
}

static void hex_encode(char hex[33], const uint8_t in[16])
{
    for (int i = 0; i < 32; i++)
        hex[i] = "0123456789abcdef"[i % 2 ? in[i / 2] & 15 : in[i / 2] >> 4];
    hex[32] = 0;
}

/* What writer and reader both demand of a header; the sentence names no path. */
static int meta_check(const struct tok_meta *m)
{
    if (m->vocab_size == 0 || m->vocab_size > INT32_MAX)
        return fail("vocab_size %u is not between 1 and 2147483647", m->vocab_size);
    if (m->add_bos && m->bos_id >= m->vocab_size)
        return fail("bos_id %u is not below vocab_size %u", m->bos_id, m->vocab_size);
    if (m->add_eos && m->eos_id >= m->vocab_size)
        return fail("eos_id %u is not below vocab_size %u", m->eos_id, m->vocab_size);
    if (m->block_ids == 0 || m->block_ids > TOK_BLOCK_IDS_MAX)
        return fail("block_ids %u is not between 1 and %d", m->block_ids, TOK_BLOCK_IDS_MAX);
    json_error_t error;
    json_t *options = json_loads(m->options, JSON_REJECT_DUPLICATES, &error);
    bool is_object = json_is_object(options);
    json_decref(options);
    if (!is_object)
        return fail("the options text is not a JSON object: %s", error.text);
    return 0;
}

int tok_header_encode(const struct tok_meta *m, uint8_t **data, size_t *bytes)
{
    uint8_t tokenizer[16];
    if (meta_check(m))
        return -1;
    if (hex_decode(tokenizer, m->tokenizer.hex))
        return fail("the tokenizer's hash is not 32 hexadecimal digits");
    size_t options_bytes = strlen(m->options);
    *bytes = TOK_HEADER_BYTES + tok_padded(options_bytes);
    uint8_t *h = *data = calloc(1, *bytes);
    if (!h)
        return fail("no memory for a header of %zu bytes", *bytes);
    memcpy(h, header_magic, 8);
    put32(h + 8, m->vocab_size);
    h[12] = (uint8_t)tok_id_bytes(m);
    h[13] = (uint8_t)((m->add_bos ? ADD_BOS : 0) | (m->add_eos ? ADD_EOS : 0) |
                      (m->special_text ? SPECIAL_TEXT : 0));
    put16(h + 14, 0);
    memcpy(h + 16, tokenizer, 16);
    put32(h + 32, m->bos_id);
    put32(h + 36, m->eos_id);
    put32(h + 40, m->block_ids);
    put32(h + 44, (uint32_t)options_bytes);
    memcpy(h + TOK_HEADER_BYTES, m->options, options_bytes);
    put64(h + 56, tok_hash(h, *bytes));
    return 0;
}

long tok_header_bytes(const uint8_t first[TOK_HEADER_BYTES])
{
    if (memcmp(first, header_magic, 7))
        return fail("not a .tok file: it does not begin with the magic TTT.TOK");
    if (first[7] != 1)
        return fail("a .tok file of version %u; this program reads version 1", first[7]);
    uint32_t options_bytes = le32(first + 44);
    struct tok_meta m;
    if (options_bytes >= sizeof m.options)
        return fail("the header is damaged: %u bytes of options, at most %zu are possible",
                    options_bytes, sizeof m.options - 1);
    return (long)(TOK_HEADER_BYTES + tok_padded(options_bytes));
}

int tok_header_decode(struct tok_meta *m, const uint8_t *data, size_t bytes)
{
    uint8_t h[TOK_HEADER_BYTES + sizeof m->options];
    if (tok_header_bytes(data) != (long)bytes)
        return fail("the header is not of %zu bytes", bytes);
    memcpy(h, data, bytes);
    put64(h + 56, 0);
    if (tok_hash(h, bytes) != le64(data + 56))
        return fail("the header is damaged: its checksum does not match");
    uint32_t options_bytes = le32(h + 44);
    *m = (struct tok_meta){
        .vocab_size = le32(h + 8),
        .add_bos = h[13] & ADD_BOS,
        .add_eos = h[13] & ADD_EOS,
        .special_text = h[13] & SPECIAL_TEXT,
        .bos_id = le32(h + 32),
        .eos_id = le32(h + 36),
        .block_ids = le32(h + 40),
    };
    hex_encode(m->tokenizer.hex, h + 16);
    memcpy(m->options, h + TOK_HEADER_BYTES, options_bytes);
    if (strlen(m->options) != options_bytes)
        return fail("the options text of the header holds a NUL");
    if (h[12] != tok_id_bytes(m) || h[13] > 7 || le16(h + 14) || le64(h + 48))
        return fail("the header has fields that version 1 does not know");
    for (size_t i = TOK_HEADER_BYTES + options_bytes; i < bytes; i++)
        if (h[i])
            return fail("the header's padding is not zero");
    return meta_check(m);
}

int tok_meta_agree(const struct tok_meta *a, const struct tok_meta *b)
{
    if (a->vocab_size != b->vocab_size)
        return fail("vocab_size is %u, not %u", b->vocab_size, a->vocab_size);
    if (memcmp(a->tokenizer.hex, b->tokenizer.hex, 32))
        return fail("its tokenizer's XXH3-128 is %s, not %s", b->tokenizer.hex, a->tokenizer.hex);
    if (a->add_bos != b->add_bos || (a->add_bos && a->bos_id != b->bos_id))
        return fail("it was tokenized %s BOS, unlike the other", b->add_bos ? "with" : "without");
    if (a->add_eos != b->add_eos || (a->add_eos && a->eos_id != b->eos_id))
        return fail("it was tokenized %s EOS, unlike the other", b->add_eos ? "with" : "without");
    if (a->special_text != b->special_text)
        return fail("it was tokenized with --special %s, unlike the other",
                    b->special_text ? "text" : "literal");
    return 0;
}

/* ---- blocks and index --------------------------------------------------------------------- */

void tok_frame_encode(const struct tok_frame *f, uint8_t out[TOK_FRAME_BYTES])
{
    memcpy(out, f->is_index ? index_magic : block_magic, 4);
    put32(out + 4, f->flags);
    put64(out + 8, f->sequence);
    put64(out + 16, f->documents);
    put64(out + 24, f->tokens);
    put32(out + 32, f->pieces);
    put32(out + 36, f->ids);
    put64(out + 40, f->stored_bytes);
    put64(out + 48, f->payload);
    put64(out + 56, tok_hash(out, 56));
}

int tok_frame_decode(struct tok_frame *f, const struct tok_meta *m,
                     const uint8_t in[TOK_FRAME_BYTES])
{
    bool is_index = !memcmp(in, index_magic, 4);
    if (!is_index && memcmp(in, block_magic, 4))
        return fail("no block begins here: damaged");
    if (tok_hash(in, 56) != le64(in + 56))
        return fail("the block's header is damaged: its checksum does not match");
    *f = (struct tok_frame){
        .is_index = is_index,
        .flags = le32(in + 4),
        .sequence = le64(in + 8),
        .documents = le64(in + 16),
        .tokens = le64(in + 24),
        .pieces = le32(in + 32),
        .ids = le32(in + 36),
        .stored_bytes = le64(in + 40),
        .payload = le64(in + 48),
    };
    if (is_index) {
        if (f->flags || f->pieces || f->ids || f->sequence > INT64_MAX / TOK_ENTRY_BYTES ||
            f->stored_bytes != f->sequence * TOK_ENTRY_BYTES)
            return fail("the index's header contradicts itself");
        return 0;
    }
    uint64_t raw_bytes = 4 * (uint64_t)f->pieces + tok_id_bytes(m) * f->ids;
    if (f->flags > 7 || f->pieces == 0 || f->pieces > m->block_ids || f->ids > m->block_ids ||
        (f->flags & TOK_DEFLATED ? f->stored_bytes >= raw_bytes : f->stored_bytes != raw_bytes))
        return fail("the block's header contradicts itself: %u pieces, %u ids, %llu bytes",
                    f->pieces, f->ids, (unsigned long long)f->stored_bytes);
    return 0;
}

/* ---- trailer ------------------------------------------------------------------------------ */

void tok_trailer_encode(const struct tok_totals *t, uint64_t index_offset,
                        uint8_t out[TOK_TRAILER_BYTES])
{
    memcpy(out, trailer_magic, 8);
    put64(out + 8, t->blocks);
    put64(out + 16, t->documents);
    put64(out + 24, t->tokens);
    put64(out + 32, index_offset);
    put64(out + 40, t->sum);
    put64(out + 48, t->chain);
    put64(out + 56, tok_hash(out, 56));
}

int tok_trailer_decode(struct tok_totals *t, uint64_t *index_offset,
                       const uint8_t in[TOK_TRAILER_BYTES])
{
    if (memcmp(in, trailer_magic, 8))
        return fail("it does not end with a trailer: cut short or damaged");
    if (tok_hash(in, 56) != le64(in + 56))
        return fail("the trailer is damaged: its checksum does not match");
    *t = (struct tok_totals){
        .blocks = le64(in + 8),
        .documents = le64(in + 16),
        .tokens = le64(in + 24),
        .sum = le64(in + 40),
        .chain = le64(in + 48),
    };
    *index_offset = le64(in + 32);
    return 0;
}
