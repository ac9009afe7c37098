/* prose.c -- documents in plain text, parted by blank lines or by a line that says so. */
#include "prose.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_BUFFER = 1 << 18 };

int prose_open(struct prose *p, struct byte_source source)
{
    p->source = source;
    p->buf = malloc(FIRST_BUFFER);
    p->cap = FIRST_BUFFER;
    p->at = p->end = 0;
    p->ended = false;
    return p->buf ? 0 : fail("out of memory");
}

void prose_close(struct prose *p)
{
    free(p->buf);
    *p = (struct prose){0};
}

/* More bytes behind the ones from `at` on; 0 when there are none. */
static long more(struct prose *p)
{
    if (p->ended)
        return 0;
    if (p->at && p->end == p->cap) {
        memmove(p->buf, p->buf + p->at, p->end - p->at);
        p->end -= p->at;
        p->at = 0;
    }
    if (p->end == p->cap) {
        size_t cap = p->most && 2 * p->cap > p->most ? p->most : 2 * p->cap;
        uint8_t *buf = cap > p->cap ? realloc(p->buf, cap) : NULL;
        if (!buf)
            return fail("the document at line %llu has more than %zu bytes; allow it more memory",
                        (unsigned long long)p->now.line, p->cap);
        p->buf = buf;
        p->cap = cap;
    }
    long n = p->source.read(p->source.from, p->buf + p->end, p->cap - p->end);
    p->ended = n == 0;
    p->end += n > 0 ? (size_t)n : 0;
    return n;
}

/* Whether the line, without its LF, parts two documents. */
static bool parts(const struct prose *p, const uint8_t *line, size_t bytes)
{
    if (!p->parting) {
        for (size_t i = 0; i < bytes; i++)
            if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
                return false;
        return true;
    }
    if (bytes && line[bytes - 1] == '\r')
        bytes--;
    return bytes == strlen(p->parting) && !memcmp(line, p->parting, bytes);
}

/* The length of the line `from` bytes behind `at`, with its LF if it has one; -1. */
static long line_length(struct prose *p, size_t from)
{
    for (size_t seen = from;;) {
        const uint8_t *begin = p->buf + p->at;
        const uint8_t *lf = memchr(begin + seen, '\n', p->end - p->at - seen);
        if (lf)
            return lf + 1 - (begin + from);
        seen = p->end - p->at;
        long n = more(p);
        if (n < 0)
            return -1;
        if (n == 0)
            return (long)(seen - from);
    }
}

static void consume(struct prose *p, size_t bytes, uint64_t lines)
{
    p->at += bytes;
    p->now.offset += bytes;
    p->now.line += lines;
}

int prose_next(struct prose *p, const uint8_t **text, size_t *bytes, struct jsonl_place *place)
{
    size_t length = 0; /* of the document so far, its line ends with it */
    uint64_t lines = 0;
    while (p->now.offset == 0 && p->end < 3 && !p->ended)
        if (more(p) < 0)
            return -1;
    if (p->now.offset == 0 && p->end >= 3 && !memcmp(p->buf, "\xef\xbb\xbf", 3))
        consume(p, 3, 0);
    for (;;) {
        long n = line_length(p, length);
        if (n < 0)
            return -1;
        const uint8_t *line = p->buf + p->at + length;
        bool whole = n && line[n - 1] == '\n';
        bool parting = n == 0 || parts(p, line, (size_t)n - whole);
        if (!parting) {
            length += (size_t)n;
            lines += whole;
            continue;
        }
        *text = p->buf + p->at;
        *bytes = length;
        *place = p->now;
        consume(p, length + (size_t)n, lines + whole);
        if (length && (*text)[length - 1] == '\n') {
            --*bytes;
            if (*bytes && (*text)[*bytes - 1] == '\r')
                --*bytes;
        }
        if (*bytes)
            return 1;
        if (n == 0)
            return 0;
        length = lines = 0;
    }
}
