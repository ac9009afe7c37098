/* stream.c -- ids to text on a stream as they come, never half a character. */
#include "stream.h"
#include "utf8.h"

#include <errno.h>
#include <string.h>

/* Bytes of the character that `first` begins, 1 for what begins none. */
static size_t length_of(uint8_t first)
{
    return first >= 0xF0 && first < 0xF5 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 1;
}

/* Whether held [held_bytes] may still become a character: some last byte would make it one. */
static bool may_grow(const struct stream *s)
{
    uint8_t whole[4];
    uint32_t code;
    size_t length = length_of(s->held[0]);
    if (s->held_bytes >= length)
        return false;
    memcpy(whole, s->held, s->held_bytes);
    /* Limits of the second byte differ by the first, those of later ones never. */
    for (unsigned second = 0x80; second < 0xC0; second++) {
        memset(whole + s->held_bytes, 0x80, length - s->held_bytes);
        if (s->held_bytes == 1)
            whole[1] = (uint8_t)second;
        if (utf8_next(whole, whole + length, &code) == length && code != UTF8_BAD)
            return true;
    }
    return false;
}

/* Write all of held that is decided, and with `all` the rest too. */
static int drain(struct stream *s, bool all)
{
    while (s->held_bytes) {
        uint32_t code;
        size_t n = utf8_next(s->held, s->held + s->held_bytes, &code);
        if (code == UTF8_BAD && !all && may_grow(s))
            return 0;
        const void *text = code == UTF8_BAD ? (const void *)"\xEF\xBF\xBD" : s->held;
        size_t bytes = code == UTF8_BAD ? 3 : n;
        if (fwrite(text, 1, bytes, s->to) != bytes)
            return fail("the text could not be written: %s", strerror(errno));
        s->held_bytes -= n;
        memmove(s->held, s->held + n, s->held_bytes);
    }
    return 0;
}

int stream_put(struct stream *s, uint32_t id)
{
    size_t whole;
    if (id >= s->t->vocab_size)
        return 0;
    const uint8_t *text = tokenizer_bytes(s->t, id, &whole);
    /* What decoding drops is the dummy blank, from the front. */
    size_t bytes = tokenizer_decode(s->t, &id, 1, &s->begun, NULL, 0);
    text += whole - bytes;
    for (size_t i = 0; i < bytes; i++) {
        s->held[s->held_bytes++] = text[i];
        if (drain(s, false))
            return -1;
    }
    if (fflush(s->to))
        return fail("the text could not be written: %s", strerror(errno));
    return 0;
}

int stream_end(struct stream *s)
{
    if (drain(s, true))
        return -1;
    return fflush(s->to) ? fail("the text could not be written: %s", strerror(errno)) : 0;
}
