/* slow_bpe.h -- BPE as it is defined: the whole text at once, best pair by best pair, for tests. */
#ifndef SLOW_BPE_H
#define SLOW_BPE_H

#include "encoder.h"

#include <stdlib.h>
#include <string.h>

/* A tokenizer's normal pieces in the order of their spellings. */
struct slow {
    const struct tokenizer *t;
    uint32_t *sorted; /* [count], owned */
    size_t count;
    uint32_t users[16]; /* the user-defined pieces */
    size_t user_count;
};

static inline int slow_compare(const struct tokenizer *t, uint32_t id, const char *text,
                               size_t bytes)
{
    size_t n;
    const uint8_t *spelling = tokenizer_piece(t, id, &n);
    int c = memcmp(spelling, text, n < bytes ? n : bytes);
    return c ? c : (n > bytes) - (n < bytes);
}

static const struct tokenizer *slow_sorting;

static inline int slow_order(const void *a, const void *b)
{
    size_t n;
    const uint8_t *text = tokenizer_piece(slow_sorting, *(const uint32_t *)b, &n);
    return slow_compare(slow_sorting, *(const uint32_t *)a, (const char *)text, n);
}

static inline struct slow slow_open(const struct tokenizer *t)
{
    struct slow s = {.t = t, .sorted = malloc(sizeof *s.sorted * t->vocab_size)};
    for (uint32_t id = 0; id < t->vocab_size; id++)
        if (t->pieces[id].kind == PIECE_NORMAL)
            s.sorted[s.count++] = id;
        else if (t->pieces[id].kind == PIECE_USER && s.user_count < 16)
            s.users[s.user_count++] = id;
    slow_sorting = t;
    qsort(s.sorted, s.count, sizeof *s.sorted, slow_order);
    return s;
}

static inline uint32_t slow_find(const struct slow *s, const char *text, size_t bytes)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int c = slow_compare(s->t, s->sorted[mid], text, bytes);
        if (c == 0)
            return s->sorted[mid];
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return TOKENIZER_NONE;
}

/* The text with its dummy blank, blanks written as U+2581; the caller frees it. */
static inline char *slow_marked(const struct tokenizer *t, const char *text, size_t bytes,
                                size_t *n)
{
    char *to = malloc(3 * bytes + 3);
    *n = 0;
    for (size_t i = 0; i < bytes + t->dummy_prefix; i++) {
        char c = i < t->dummy_prefix ? ' ' : text[i - t->dummy_prefix];
        if (c == ' ')
            memcpy(to + *n, "\u2581", 3);
        else
            to[*n] = c;
        *n += c == ' ' ? 3 : 1;
    }
    return to;
}

/* The longest user-defined piece that text begins with, and its length. */
static inline uint32_t slow_user(const struct slow *s, const char *text, size_t bytes,
                                 size_t *length)
{
    uint32_t found = TOKENIZER_NONE;
    for (size_t i = 0; i < s->user_count; i++) {
        size_t n;
        const uint8_t *piece = tokenizer_piece(s->t, s->users[i], &n);
        if (n <= bytes && n >= *length && !memcmp(piece, text, n)) {
            found = s->users[i];
            *length = n;
        }
    }
    return found;
}

/* What the symbols i and i + 1 merge into. */
static inline uint32_t slow_whole(const struct slow *s, const char *norm, const size_t *start,
                                  const uint32_t *user, size_t i)
{
    if (user[i] != TOKENIZER_NONE || user[i + 1] != TOKENIZER_NONE)
        return TOKENIZER_NONE;
    return slow_find(s, norm + start[i], start[i + 2] - start[i]);
}

/* The whole text at once: take the best pair, the leftmost of the best, until there is none. */
static inline void slow_encode(const struct slow *s, const char *text, size_t bytes,
                               struct ids *out)
{
    size_t n, count = 0;
    char *norm = bytes ? slow_marked(s->t, text, bytes, &n) : (n = 0, malloc(1));
    size_t *start = malloc(sizeof *start * (n + 2));   /* symbol i is start[i] to start[i + 1] */
    uint32_t *whole = malloc(sizeof *whole * (n + 2)); /* what i and i + 1 make */
    uint32_t *user = malloc(sizeof *user * (n + 2));   /* symbol i, if it is user-defined */
    for (size_t i = 0; i < n;) {
        size_t length = 1;
        user[count] = slow_user(s, norm + i, n - i, &length);
        start[count++] = i;
        for (i += length; i < n && ((uint8_t)norm[i] & 0xC0) == 0x80;)
            i++;
    }
    start[count] = n;
    for (size_t i = 0; i + 1 < count; i++)
        whole[i] = slow_whole(s, norm, start, user, i);
    while (count > 1) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i + 1 < count; i++)
            if (whole[i] != TOKENIZER_NONE &&
                (best == SIZE_MAX ||
                 s->t->pieces[whole[i]].score > s->t->pieces[whole[best]].score))
                best = i;
        if (best == SIZE_MAX)
            break;
        memmove(start + best + 1, start + best + 2, sizeof *start * (count - best - 1));
        memmove(user + best + 1, user + best + 2, sizeof *user * (count - best - 2));
        memmove(whole + best, whole + best + 1, sizeof *whole * (count - best - 1));
        count--;
        for (size_t i = best ? best - 1 : 0; i <= best && i + 1 < count; i++)
            whole[i] = slow_whole(s, norm, start, user, i);
    }
    out->id = realloc(out->id, sizeof *out->id * (n + 1));
    out->count = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t id = user[i] != TOKENIZER_NONE
                          ? user[i]
                          : slow_find(s, norm + start[i], start[i + 1] - start[i]);
        if (id != TOKENIZER_NONE)
            out->id[out->count++] = id;
        else if (!s->t->byte_fallback && !(out->count && out->id[out->count - 1] == s->t->unk_id))
            out->id[out->count++] = s->t->unk_id;
        for (size_t k = start[i]; id == TOKENIZER_NONE && s->t->byte_fallback && k < start[i + 1];
             k++)
            out->id[out->count++] = s->t->byte_id[(uint8_t)norm[k]];
    }
    free(norm);
    free(start);
    free(whole);
    free(user);
}

#endif
