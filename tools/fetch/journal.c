/* journal.c -- which ranges of an object are on disk already, in a file beside the part. */
#include "journal.h"
#include "checksum.h"
#include "digits.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUM_CHARS = 9 }; /* eight digits and a blank */

/* 1 TiB ranges of an 8 EiB object would be as many; a lying line must not ask for more memory. */
static const uint64_t MAX_RANGES = 1 << 23;

char *percent_encode(const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *to = malloc(3 * strlen(text) + 1), *p = to;
    if (!to)
        return NULL;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) && c < 0x80) {
            *p++ = *text;
        } else if (strchr("-._~", c)) {
            *p++ = *text;
        } else {
            *p++ = '%';
            *p++ = hex[c >> 4];
            *p++ = hex[c & 15];
        }
    }
    *p = 0;
    return to;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A word at *p decoded; NULL when it is none. *p moves to the blank or end behind it. */
static char *percent_decode(const char **p, const char *end)
{
    const char *s = *p;
    char *to = malloc((size_t)(end - s) + 1), *t = to;
    while (to && s < end && *s != ' ') {
        int high = 0, low = 0;
        if (*s == '%') {
            high = end - s > 2 ? hex_digit(s[1]) : -1;
            low = end - s > 2 ? hex_digit(s[2]) : -1;
        }
        if (high < 0 || low < 0 || (*s == '%' && high + low == 0)) {
            free(to);
            return NULL;
        }
        *t++ = *s == '%' ? (char)(high << 4 | low) : *s;
        s += *s == '%' ? 3 : 1;
    }
    if (to)
        *t = 0;
    *p = s;
    return to;
}

/* A number and the blank behind it, or the end. */
static bool number(const char **p, const char *end, uint64_t *to)
{
    bool good = digits_read(p, end, to) && (*p == end || **p == ' ');
    *p += *p < end;
    return good;
}

static bool word(const char **p, const char *end, const char *text)
{
    size_t n = strlen(text);
    if ((size_t)(end - *p) <= n || memcmp(*p, text, n) || (*p)[n] != ' ')
        return false;
    *p += n + 1;
    return true;
}

static bool sum_is_right(const char *line, const char *end)
{
    char want[SUM_CHARS + 1];
    if (end - line < SUM_CHARS)
        return false;
    snprintf(want, sizeof want, "%08" PRIx32 " ",
             crc32c(0, line + SUM_CHARS, (size_t)(end - line - SUM_CHARS)));
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return true; /* what lies under a right sum must be doubted as well */
#endif
    return !memcmp(line, want, SUM_CHARS);
}

static int first_line(struct journal *j, const char *p, const char *end)
{
    if (!word(&p, end, "object") || !number(&p, end, &j->size) || !number(&p, end, &j->range_bytes))
        return fail("its first line does not tell of an object");
    if (!j->range_bytes || j->size / j->range_bytes >= MAX_RANGES)
        return fail("its first line tells of ranges that cannot be");
    j->ranges = j->size / j->range_bytes + (j->size % j->range_bytes != 0);
    j->source = percent_decode(&p, end);
    if (j->source && p < end) {
        p++;
        j->version = percent_decode(&p, end);
    }
    if (!j->version || p != end)
        return fail("its first line does not name a source and a version");
    j->marks = calloc(j->ranges + 1, sizeof *j->marks);
    return j->marks ? 0 : fail("out of memory");
}

/* "INDEX CRC", the CRC in eight hex digits. */
static bool range_line(struct journal *j, const char *p, const char *end)
{
    uint64_t index, crc = 0;
    if (!word(&p, end, "range") || !number(&p, end, &index) || index >= j->ranges || end - p != 8)
        return false;
    for (; p < end; p++) {
        int d = *p >= 'a' && *p <= 'f' ? *p - 'a' + 10 : isdigit((unsigned char)*p) ? *p - '0' : -1;
        if (d < 0)
            return false;
        crc = crc << 4 | (uint64_t)d;
    }
    j->finished += !j->marks[index].state;
    j->marks[index] = (struct range_mark){(uint32_t)crc, 1}; /* a later line replaces an earlier */
    return true;
}

int journal_read(struct journal *j, const char *text, size_t bytes)
{
    *j = (struct journal){0};
    const char *p = text, *stop = text + bytes;
    for (const char *end; (end = memchr(p, '\n', (size_t)(stop - p))) != NULL; p = end + 1) {
        bool right = sum_is_right(p, end);
        if (p == text && (!right || first_line(j, p + SUM_CHARS, end))) {
            if (!right)
                fail("its first line is damaged");
            journal_free(j);
            return -1;
        }
        if (p > text && (!right || !range_line(j, p + SUM_CHARS, end)))
            break;
        j->good_bytes = (size_t)(end + 1 - text);
    }
    return j->good_bytes ? 0 : fail("it has no whole line");
}

void journal_free(struct journal *j)
{
    free(j->source);
    free(j->version);
    free(j->marks);
    *j = (struct journal){0};
}

char *journal_first(uint64_t size, uint64_t range_bytes, const char *source, const char *version)
{
    char *s = percent_encode(source), *v = percent_encode(version), *rest = NULL, *line = NULL;
    if (s && v &&
        asprintf(&rest, "object %" PRIu64 " %" PRIu64 " %s %s", size, range_bytes, s, v) < 0)
        rest = NULL;
    if (rest && asprintf(&line, "%08" PRIx32 " %s\n", crc32c(0, rest, strlen(rest)), rest) < 0)
        line = NULL;
    free(s);
    free(v);
    free(rest);
    return line;
}

size_t journal_line(char *line, uint64_t index, uint32_t crc)
{
    char rest[40];
    int n = snprintf(rest, sizeof rest, "range %" PRIu64 " %08" PRIx32, index, crc);
    return (size_t)snprintf(line, 48, "%08" PRIx32 " %s\n", crc32c(0, rest, (size_t)n), rest);
}
