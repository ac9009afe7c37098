/* json_scan.c -- one JSON object in memory: where it ends, and which members it has. */
#include "json_scan.h"

#include "utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#ifdef __SSE2__
#    include <emmintrin.h>
#endif

enum { LEVELS = 4096 };

/* The place in the object, and what is open around it. */
struct cursor {
    const uint8_t *at, *end;
    uint64_t line;
    char *reason;
    unsigned depth;
    uint64_t objects[LEVELS / 64]; /* a bit per level: an object, else an array */
};

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {"missing", "a string",  "a number", "true or false",
                                        "null",    "an object", "an array"};
    return names[kind];
}

/* ---- sentences ---------------------------------------------------------------------------- */

static const size_t reason_bytes = sizeof((struct json_record *)0)->reason;

int json_say(char *buf, size_t bytes, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(buf, bytes, fmt, args);
    va_end(args);
    for (char *p = buf; *p; p++)
        if (*p < 0x20 || *p > 0x7e)
            *p = '?';
    return -1;
}

int json_unexpected(char *buf, size_t bytes, const char *expected, uint8_t found)
{
    if (found > 0x20 && found < 0x7f)
        return json_say(buf, bytes, "expected %s, found '%c'", expected, found);
    return json_say(buf, bytes, "expected %s, found byte 0x%02x", expected, found);
}

static enum json_result bad(struct cursor *c, const char *expected)
{
    json_unexpected(c->reason, reason_bytes, expected, *c->at);
    return JSON_BAD;
}

/* ---- strings ------------------------------------------------------------------------------ */

const uint8_t *json_plain_end(const uint8_t *p, const uint8_t *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1f);
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)p);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash));
        hit = _mm_or_si128(hit, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit);
        if (mask)
            return p + __builtin_ctz(mask);
    }
#endif
    while (p < end && *p >= 0x20 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The value of a hexadecimal digit, or -1. */
static int digit(uint8_t c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* From behind the opening quote to behind the closing one. */
static enum json_result string(struct cursor *c, struct json_span *s)
{
    s->raw = c->at;
    s->escaped = false;
    for (;;) {
        c->at = json_plain_end(c->at, c->end);
        if (c->at == c->end)
            return JSON_MORE;
        if (*c->at == '"') {
            s->bytes = (size_t)(c->at++ - s->raw);
            return JSON_DONE;
        }
        if (*c->at != '\\') {
            json_say(c->reason, reason_bytes,
                     "a raw byte 0x%02x in a string; JSON spells it \\u%04x", *c->at, *c->at);
            return JSON_BAD;
        }
        s->escaped = true;
        if (++c->at == c->end)
            return JSON_MORE;
        if (*c->at == 'u') {
            for (int i = 0; i < 4; i++) {
                if (++c->at == c->end)
                    return JSON_MORE;
                if (digit(*c->at) < 0)
                    return bad(c, "four hexadecimal digits behind \\u");
            }
        } else if (!memchr("\"\\/bfnrt", *c->at, 8))
            return bad(c, "one of \" \\ / b f n r t u behind a backslash");
        c->at++;
    }
}

static uint32_t unit(const uint8_t *hex)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (uint32_t)digit(hex[i]);
    return v;
}

size_t jsonl_decode(uint8_t *out, const uint8_t *raw, size_t bytes, struct jsonl_half *half)
{
    const uint8_t *p = raw, *end = raw + bytes;
    uint8_t *to = out;
    if (half)
        *half = (struct jsonl_half){.at = SIZE_MAX};
    while (p < end) {
        const uint8_t *stop = json_plain_end(p, end);
        memmove(to, p, (size_t)(stop - p));
        to += stop - p;
        if (stop == end)
            break;
        uint8_t c = stop[1];
        p = stop + 2;
        if (c != 'u') {
            const char *found = memchr("b\bf\fn\nr\rt\t", c, 10);
            *to++ = found ? (uint8_t)found[1] : c;
            continue;
        }
        uint32_t code = unit(p);
        p += 4;
        if (code >= 0xd800 && code < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
            uint32_t low = unit(p + 2);
            if (low >= 0xdc00 && low < 0xe000) {
                code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
                p += 6;
            }
        }
        if (code >= 0xd800 && code < 0xe000) {
            if (half && half->at == SIZE_MAX) {
                half->at = (size_t)(stop - raw);
                memcpy(half->spelled, stop + 2, 4);
            }
            code = 0xfffd;
        }
        to += utf8_put(code, to);
    }
    return (size_t)(to - out);
}

/* Is the name, once decoded, `want`? */
static bool same_name(const struct json_span *name, const char *want, size_t bytes)
{
    if (!name->escaped)
        return name->bytes == bytes && !memcmp(name->raw, want, bytes);
    uint8_t plain[6 * sizeof((struct jsonl_key *)0)->name];
    if (name->bytes > 6 * bytes) /* an escape spells at least one byte with at most six */
        return false;
    return jsonl_decode(plain, name->raw, name->bytes, NULL) == bytes &&
           !memcmp(plain, want, bytes);
}

/* ---- other values ------------------------------------------------------------------------- */

/* To the next byte that is no blank. */
static enum json_result blanks(struct cursor *c)
{
    for (; c->at < c->end; c->at++) {
        if (*c->at == '\n')
            c->line++;
        else if (*c->at != ' ' && *c->at != '\t' && *c->at != '\r')
            return JSON_DONE;
    }
    return JSON_MORE;
}

/* Exactly this word. */
static enum json_result word(struct cursor *c, const char *w)
{
    for (; *w; w++, c->at++) {
        if (c->at == c->end)
            return JSON_MORE;
        if (*c->at != (uint8_t)*w)
            return bad(c, "a value");
    }
    return JSON_DONE;
}

/* One decimal digit at least. */
static enum json_result digits(struct cursor *c)
{
    if (c->at == c->end)
        return JSON_MORE;
    if (*c->at < '0' || *c->at > '9')
        return bad(c, "a digit");
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    return c->at == c->end ? JSON_MORE : JSON_DONE;
}

/* The end of the data is never the end of a number: a bracket is still to come. */
static enum json_result number(struct cursor *c)
{
    enum json_result got;
    if (*c->at == '-' && ++c->at == c->end)
        return JSON_MORE;
    if (*c->at == 'N')
        return word(c, "NaN");
    if (*c->at == 'I') {
        if ((got = word(c, "Inf")) != JSON_DONE)
            return got;
        if (c->at == c->end)
            return JSON_MORE;
        return *c->at == 'i' ? word(c, "inity") : JSON_DONE;
    }
    if (*c->at == '0') {
        if (++c->at == c->end)
            return JSON_MORE;
    } else if ((got = digits(c)) != JSON_DONE)
        return got;
    if (*c->at == '.') {
        c->at++;
        if ((got = digits(c)) != JSON_DONE)
            return got;
    }
    if ((*c->at | 32) != 'e')
        return JSON_DONE;
    if (++c->at == c->end)
        return JSON_MORE;
    if ((*c->at == '+' || *c->at == '-') && ++c->at == c->end)
        return JSON_MORE;
    return digits(c);
}

/* A value that holds no other. */
static enum json_result scalar(struct cursor *c, enum json_kind *kind)
{
    switch (*c->at) {
    case 't':
        *kind = JSON_BOOL;
        return word(c, "true");
    case 'f':
        *kind = JSON_BOOL;
        return word(c, "false");
    case 'n':
        *kind = JSON_NULL;
        return word(c, "null");
    default:
        *kind = JSON_NUMBER;
        if (*c->at != '-' && *c->at != 'N' && *c->at != 'I' && (*c->at < '0' || *c->at > '9'))
            return bad(c, "a value");
        return number(c);
    }
}

/* ---- the object --------------------------------------------------------------------------- */

static enum json_result open_level(struct cursor *c)
{
    if (c->depth == LEVELS) {
        json_say(c->reason, reason_bytes, "nested more than %d levels deep", LEVELS);
        return JSON_BAD;
    }
    uint64_t bit = c->depth % 64;
    uint64_t *set = &c->objects[c->depth++ / 64];
    if (bit == 0)
        *set = 0;
    *set = (*set & ~(1ull << bit)) | (uint64_t)(*c->at++ == '{') << bit;
    return JSON_DONE;
}

static bool in_object(const struct cursor *c)
{
    return c->objects[(c->depth - 1) / 64] >> (c->depth - 1) % 64 & 1;
}

/* "name" : up to the first byte of the value. */
static enum json_result name(struct cursor *c, struct json_span *s)
{
    enum json_result got;
    if (*c->at != '"')
        return bad(c, "a member's name in double quotes");
    c->at++;
    if ((got = string(c, s)) != JSON_DONE || (got = blanks(c)) != JSON_DONE)
        return got;
    if (*c->at != ':')
        return bad(c, "':' behind a member's name");
    c->at++;
    return blanks(c);
}

static void keep(struct json_member *as, const struct json_member *m)
{
    if (as->times++ == 0) {
        unsigned times = as->times;
        *as = *m;
        as->times = times;
    }
}

/* A member of an object `within` levels below the record, on the way that the key names, is
   complete as far as it matters. Whether the way goes on inside it. */
static bool note(struct json_record *r, const struct json_member *m, const struct jsonl_key *key,
                 unsigned within)
{
    if (within == 0 && r->first.times == 0)
        keep(&r->first, m);
    if (within == 0 && same_name(&m->name, "text", 4))
        keep(&r->text, m);
    if (key->state == KEY_OPEN || within >= key->parts ||
        !same_name(&m->name, key->name + key->at[within],
                   key->at[within + 1] - 1 - key->at[within]))
        return false;
    if (within + 1 == key->parts)
        keep(&r->chosen, m);
    return m->kind == JSON_OBJECT;
}

/* One value, or its opening bracket. Says whether a container was opened. */
static enum json_result value(struct cursor *c, struct json_member *m, bool *opened)
{
    m->line = c->line;
    m->value.raw = c->at;
    *opened = *c->at == '{' || *c->at == '[';
    if (*opened) {
        m->kind = *c->at == '{' ? JSON_OBJECT : JSON_ARRAY;
        return open_level(c);
    }
    if (*c->at == '"') {
        m->kind = JSON_STRING;
        c->at++;
        return string(c, &m->value);
    }
    return scalar(c, &m->kind);
}

/* Up to the closing brace of the object. `fresh` means that a bracket was just opened. */
static enum json_result members(struct cursor *c, struct json_record *r,
                                const struct jsonl_key *key)
{
    enum json_result got;
    bool fresh = true;
    unsigned way = 0; /* so many objects inside the record are on the key's way */
    while (c->depth) {
        if ((got = blanks(c)) != JSON_DONE)
            return got;
        bool object = in_object(c);
        if (*c->at == (object ? '}' : ']')) {
            c->at++;
            c->depth--;
            way = way < c->depth ? way : c->depth - (c->depth > 0);
            fresh = false;
            continue;
        }
        if (!fresh) {
            if (*c->at != ',')
                return bad(c, object ? "',' or '}'" : "',' or ']'");
            c->at++;
            if ((got = blanks(c)) != JSON_DONE)
                return got;
        }
        struct json_member m = {0};
        unsigned depth = c->depth;
        if (object && (got = name(c, &m.name)) != JSON_DONE)
            return got;
        if ((got = value(c, &m, &fresh)) != JSON_DONE)
            return got;
        if (depth == way + 1 && object)
            way += note(r, &m, key, way);
    }
    return JSON_DONE;
}

enum json_result json_record(struct json_record *r, const uint8_t *data, size_t bytes,
                             const struct jsonl_key *key, uint64_t line)
{
    struct cursor c;
    c.at = data;
    c.end = data + bytes;
    c.line = line;
    c.reason = r->reason;
    c.depth = 0;
    r->begin = data;
    r->first = r->text = r->chosen = (struct json_member){0};
    open_level(&c);
    enum json_result got = members(&c, r, key);
    r->end = c.at;
    r->line = c.line;
    return got;
}
