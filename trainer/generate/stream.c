/* stream.c -- ids to text as they come, never half a character, up to a text that ends it. */
#include "stream.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
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

static int append(struct stream *s, const void *text, size_t bytes)
{
    if (s->room < s->bytes + bytes) {
        size_t room = 2 * (s->bytes + bytes) + 64;
        char *larger = realloc(s->text, room);
        if (!larger)
            return fail("out of memory for the text");
        s->text = larger;
        s->room = room;
    }
    memcpy(s->text + s->bytes, text, bytes);
    s->bytes += bytes;
    return 0;
}

/* Move all of held that is decided to the text, and with `all` the rest too. */
static int drain(struct stream *s, bool all)
{
    while (s->held_bytes) {
        uint32_t code;
        size_t n = utf8_next(s->held, s->held + s->held_bytes, &code);
        if (code == UTF8_BAD && !all && may_grow(s))
            return 0;
        bool bad = code == UTF8_BAD;
        if (append(s, bad ? (const void *)"\xEF\xBF\xBD" : s->held, bad ? 3 : n))
            return -1;
        s->held_bytes -= n;
        memmove(s->held, s->held + n, s->held_bytes);
    }
    return 0;
}

/* Cut the text where the first stop begins, and move `watched` to where one may still begin. */
static void watch(struct stream *s)
{
    for (; s->watched < s->bytes; s->watched++) {
        size_t left = s->bytes - s->watched;
        bool may_begin = false;
        for (int i = 0; i < s->stops->count; i++) {
            const char *stop = s->stops->items[i];
            size_t length = strlen(stop), n = left < length ? left : length;
            if (memcmp(s->text + s->watched, stop, n))
                continue;
            if (n == length) {
                s->bytes = s->watched;
                s->stopped = true;
                return;
            }
            may_begin = true;
        }
        if (may_begin)
            return;
    }
}

/* Let out what is decided, with `all` the rest too. */
static int let_out(struct stream *s, bool all)
{
    if (s->stops)
        watch(s);
    if (!s->stops || all || s->stopped)
        s->watched = s->bytes;
    if (!s->to || !s->watched)
        return 0;
    if (fwrite(s->text, 1, s->watched, s->to) != s->watched || fflush(s->to))
        return fail("the text could not be written: %s", strerror(errno));
    s->bytes -= s->watched;
    memmove(s->text, s->text + s->watched, s->bytes);
    s->watched = 0;
    return 0;
}

int stream_put(struct stream *s, uint32_t id)
{
    size_t whole;
    if (id >= s->t->vocab_size || s->stopped)
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
    return let_out(s, false);
}

void stream_skip(struct stream *s, uint32_t id)
{
    tokenizer_decode(s->t, &id, 1, &s->begun, NULL, 0);
}

int stream_end(struct stream *s)
{
    if (!s->stopped && drain(s, true))
        return -1;
    return let_out(s, true);
}

void stream_close(struct stream *s)
{
    free(s->text);
    *s = (struct stream){0};
}
