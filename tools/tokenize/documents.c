/* documents.c -- a run of documents on its way through ttt-tokenize. */
#include "documents.h"

#include "utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    KEEP_BYTES = 4 << 20,
    LONG_BYTES = 64 << 20, /* from here on memory grows by eighths */
};

/* ---- the run ------------------------------------------------------------------------------ */

void documents_clear(struct documents *d)
{
    if (d->raw_room > KEEP_BYTES) {
        free(d->raw);
        d->raw = NULL;
        d->raw_room = 0;
    }
    if (d->ids.room > KEEP_BYTES / sizeof *d->ids.id)
        ids_free(&d->ids);
    d->count = d->raw_bytes = d->fault_count = d->ids.count = d->names_bytes = 0;
    d->failure[0] = 0;
    d->inside = false;
}

void documents_free(struct documents *d)
{
    free(d->docs);
    free(d->raw);
    free(d->faults);
    free(d->names);
    ids_free(&d->ids);
    *d = (struct documents){0};
}

/* Make *array hold `need` elements of `size` bytes; false when memory is out. */
static bool grow(void *array, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return true;
    size_t want = need + (need < LONG_BYTES / size ? need / 2 : need / 8) + 16;
    if (want < need || want > SIZE_MAX / size)
        return false;
    void *p = realloc(*(void **)array, want * size);
    if (!p)
        return false;
    *(void **)array = p;
    *room = want;
    return true;
}

uint8_t *documents_raw(struct documents *d, size_t bytes)
{
    /* One more than asked for, so that no bytes have an address too. */
    if (grow(&d->raw, &d->raw_room, d->raw_bytes + bytes + 1, 1))
        return d->raw + d->raw_bytes;
    fail("out of memory for a document of more than %zu bytes", bytes);
    return NULL;
}

struct document *documents_add(struct documents *d)
{
    if (!grow(&d->docs, &d->room, d->count + 1, sizeof *d->docs)) {
        fail("out of memory");
        return NULL;
    }
    d->docs[d->count] = (struct document){.at = d->raw_bytes};
    return &d->docs[d->count++];
}

int documents_name(struct documents *d, const char *name, size_t *at)
{
    size_t n = strlen(name) + 1;
    if (!grow(&d->names, &d->names_room, d->names_bytes + n, 1))
        return fail("out of memory");
    *at = d->names_bytes;
    memcpy(d->names + d->names_bytes, name, n);
    d->names_bytes += n;
    return 0;
}

int documents_fault(struct documents *d, struct document *doc, struct jsonl_place place,
                    const char *reason)
{
    if (!grow(&d->faults, &d->fault_room, d->fault_count + 1, sizeof *d->faults))
        return fail("out of memory");
    struct jsonl_fault *f = &d->faults[d->fault_count++];
    f->record = doc->record;
    f->place = place;
    snprintf(f->reason, sizeof f->reason, "%s", reason);
    doc->fault = d->fault_count;
    return 0;
}

void scratch_free(struct scratch *s)
{
    encoder_close(&s->encoder);
    free(s->text);
    *s = (struct scratch){0};
}

/* ---- encoding ----------------------------------------------------------------------------- */

/* In JSON a text has no raw LF, so this counts a plain file's lines. */
struct jsonl_place text_place(struct jsonl_place begin, const uint8_t *text, size_t at)
{
    struct jsonl_place place = {.line = begin.line, .offset = begin.offset + at};
    const uint8_t *end = text + at;
    for (const uint8_t *p = text; (p = memchr(p, '\n', (size_t)(end - p))); p++)
        place.line++;
    return place;
}

/* How many bytes at p, where a bad sequence begins, stand for one U+FFFD. */
static size_t bad_part(const uint8_t *p, const uint8_t *end)
{
    size_t want = p[0] >= 0xc2 && p[0] < 0xe0   ? 2
                  : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
                  : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                                : 1;
    uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    size_t n = 1;
    while (n < want && end - p > (long)n && p[n] >= low && p[n] <= high) {
        n++;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

/* Copy text with U+FFFD for every bad part; out has three bytes for each of text. */
static size_t mend(uint8_t *out, const uint8_t *text, size_t bytes)
{
    const uint8_t *p = text, *end = text + bytes;
    uint8_t *to = out;
    for (;;) {
        size_t good;
        bool rest = utf8_valid(p, (size_t)(end - p), &good);
        if (rest)
            good = (size_t)(end - p);
        memcpy(to, p, good);
        to += good;
        p += good;
        if (rest)
            return (size_t)(to - out);
        to += utf8_put(0xfffd, to);
        p += bad_part(p, end);
    }
}

bool text_faulty(size_t bad, uint8_t value, const struct jsonl_half *half, size_t *at,
                 char reason[80])
{
    *at = bad < half->at ? bad : half->at;
    if (*at == SIZE_MAX)
        return false;
    if (*at == bad)
        snprintf(reason, 80, "invalid UTF-8: byte 0x%02x", value);
    else
        snprintf(reason, 80, "\\u%s is half of a surrogate pair", half->spelled);
    return true;
}

/* Bring doc's text into shape: *text and *bytes. 1: it is good, or mended; 0: it is left out; -1.*/
static int prepare(struct documents *d, struct document *doc, struct scratch *s,
                   enum on_error on_error, const uint8_t **text, size_t *bytes)
{
    const uint8_t *raw = d->raw + doc->at;
    *text = raw;
    *bytes = doc->bytes;
    size_t bad = SIZE_MAX, at;
    char reason[80];
    struct jsonl_half half = {.at = SIZE_MAX};
    bool valid = utf8_valid(raw, doc->bytes, &bad);
    bool rewrite = doc->escaped || (!valid && on_error == ON_ERROR_REPLACE);
    if (rewrite && !grow(&s->text, &s->text_room, valid ? doc->bytes : 4 * doc->bytes, 1))
        return fail("out of memory for a text of %zu bytes", doc->bytes);
    if (doc->escaped) {
        /* Escapes spell whole characters, so the text is valid exactly when its spelling is. */
        uint8_t *plain = valid ? s->text : s->text + 3 * doc->bytes;
        *bytes = jsonl_decode(plain, raw, doc->bytes, &half);
        *text = plain;
    }
    if (!doc->judged && text_faulty(bad, valid ? 0 : raw[bad], &half, &at, reason)) {
        if (documents_fault(d, doc, text_place(doc->place, raw, at), reason))
            return -1;
        if (on_error != ON_ERROR_REPLACE)
            return 0;
    }
    if (!valid) {
        *bytes = mend(s->text, *text, *bytes);
        *text = s->text;
    }
    return 1;
}

void documents_encode(struct documents *d, struct scratch *s, struct framing framing,
                      enum on_error on_error)
{
    for (size_t i = 0; i < d->count; i++) {
        struct document *doc = &d->docs[i];
        if (doc->broken)
            continue;
        const uint8_t *text;
        size_t bytes, before = d->ids.count;
        int got = prepare(d, doc, s, on_error, &text, &bytes);
        if (got == 1)
            got = encoder_part(&s->encoder, text, bytes, framing, !doc->continued, !doc->continues,
                               &d->ids);
        else if (got == 0)
            doc->broken = true;
        if (got < 0) {
            snprintf(d->failure, sizeof d->failure, "%s:%llu: %s", document_name(d, doc),
                     (unsigned long long)doc->place.line, why());
            return;
        }
        doc->ids = d->ids.count - before;
        doc->text_bytes = doc->broken ? 0 : bytes;
    }
    if (s->text_room > KEEP_BYTES) {
        free(s->text);
        s->text = NULL;
        s->text_room = 0;
    }
}
