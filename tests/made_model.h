/* made_model.h -- small SentencePiece models made by a test, byte by byte. */
#ifndef MADE_MODEL_H
#define MADE_MODEL_H

#include "bpe.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Start from {0}; made_free when done. */
struct made_model {
    uint8_t *data; /* [bytes], owned */
    size_t bytes, room;
};

static inline void made_put(struct made_model *m, const void *data, size_t bytes)
{
    if (m->room < m->bytes + bytes) {
        m->room = 2 * (m->bytes + bytes);
        m->data = realloc(m->data, m->room);
        if (!m->data)
            abort();
    }
    memcpy(m->data + m->bytes, data, bytes);
    m->bytes += bytes;
}

static inline void made_free(struct made_model *m)
{
    free(m->data);
    *m = (struct made_model){0};
}

static inline void made_varint(struct made_model *m, uint64_t value)
{
    for (; value > 0x7F; value >>= 7)
        made_put(m, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    made_put(m, &(uint8_t){(uint8_t)value}, 1);
}

static inline void made_number(struct made_model *m, unsigned field, uint64_t value)
{
    made_varint(m, field << 3);
    made_varint(m, value);
}

static inline void made_bytes(struct made_model *m, unsigned field, const void *data, size_t bytes)
{
    made_varint(m, field << 3 | 2);
    made_varint(m, bytes);
    made_put(m, data, bytes);
}

static inline void made_float(struct made_model *m, unsigned field, float value)
{
    made_varint(m, field << 3 | 5);
    made_put(m, &value, sizeof value);
}

static inline void made_piece(struct made_model *m, const char *spelling, float score,
                              enum piece_kind kind)
{
    struct made_model inside = {0};
    made_bytes(&inside, 1, spelling, strlen(spelling));
    made_float(&inside, 2, score);
    if (kind != PIECE_NORMAL)
        made_number(&inside, 3, kind);
    made_bytes(m, 1, inside.data, inside.bytes);
    made_free(&inside);
}

/* The settings that a model ends with; {0} are those of a model that can be read. */
struct made_settings {
    unsigned type; /* 0: BPE */
    bool users, byte_fallback, no_prefix, trim, suffix, charsmap, no_escape;
    const char *bos, *eos; /* NULL: "<s>" and "</s>" */
};

static inline void made_end(struct made_model *m, struct made_settings s)
{
    struct made_model trainer = {0}, normalizer = {0};
    made_number(&trainer, 3, s.type ? s.type : 2);
    made_number(&trainer, 24, s.suffix);
    made_number(&trainer, 35, s.byte_fallback);
    if (s.bos)
        made_bytes(&trainer, 46, s.bos, strlen(s.bos));
    if (s.eos)
        made_bytes(&trainer, 47, s.eos, strlen(s.eos));
    made_bytes(m, 2, trainer.data, trainer.bytes);
    made_bytes(&normalizer, 1, "identity", 8);
    if (s.charsmap)
        made_bytes(&normalizer, 2, "\1\2\3\4", 4);
    made_number(&normalizer, 3, !s.no_prefix);
    made_number(&normalizer, 4, s.trim);
    made_number(&normalizer, 5, !s.no_escape);
    made_bytes(m, 3, normalizer.data, normalizer.bytes);
    made_free(&trainer);
    made_free(&normalizer);
}

static inline void made_specials(struct made_model *m)
{
    made_piece(m, "<unk>", 0, PIECE_UNKNOWN);
    made_piece(m, "<s>", 0, PIECE_CONTROL);
    made_piece(m, "</s>", 0, PIECE_CONTROL);
}

static inline void made_byte_pieces(struct made_model *m)
{
    for (int byte = 0; byte < 256; byte++) {
        char spelling[8];
        snprintf(spelling, sizeof spelling, "<0x%02X>", (unsigned)byte);
        made_piece(m, spelling, 0, PIECE_BYTE);
    }
}

/* User-defined pieces, one begun by another, one with a blank that the dummy blank may begin. */
static inline void made_users(struct made_model *m)
{
    static const char *const pieces[] = {"bba",     "bbab", "\u2581b", "=x",
                                         "\u706ba", "a b",  "\u2581x", "\u20ac"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        made_piece(m, pieces[i], 0, PIECE_USER);
}

/* Pieces that are hard to merge in the right order: runs of blanks that share one score, scores
   that rise from part to whole, pieces made in several ways, characters that are no pieces of
   their own ("q", "\u6c34"), more bytes a character than one. Alphabet: made_alphabet. */
static inline void made_hard_pieces(struct made_model *m)
{
    static const char *const pieces[] = {"ab",           "ba",           "aa",
                                         "abab",         "aba",          "bb",
                                         "aaa",          "\u2581a",      "\u2581ab",
                                         "b\u2581",      "baab",         "qa",
                                         "aq",           "qq",           "\u6c34\u706b",
                                         "\u706b\u6c34", "\u706b\u706b", "\u00e9a",
                                         "a\u00e9",      "\u00e9\u00e9", "\U0001F600\U0001F600",
                                         "\n\n",         "==",           "====",
                                         "==="};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        made_piece(m, pieces[i], -(float)((i * 7) % 11), PIECE_NORMAL);
    made_piece(m, "\u2581\u2581", -1e9f, PIECE_NORMAL);
    made_piece(m, "\u2581\u2581\u2581", -1e9f, PIECE_NORMAL);
    made_piece(m, "\u2581\u2581\u2581\u2581", -1e9f, PIECE_NORMAL);
    static const char *const chars[] = {"\u2581", "a", "b", "=", "\u706b", "\u00e9", "\n"};
    for (size_t i = 0; i < sizeof chars / sizeof *chars; i++)
        made_piece(m, chars[i], -100 - (float)i, PIECE_NORMAL);
}

static const char *const made_alphabet[] = {"a",      "b",          "a",      "b",      " ",
                                            "  ",     "\u2581",     "q",      "\u6c34", "\u706b",
                                            "\u00e9", "\U0001F600", "\u20ac", "\n",     "=",
                                            "==",     "x",          "       "};

#endif
