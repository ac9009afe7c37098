/* reader.c -- the documents of a list of inputs, in order, a run at a time. */
#include "reader.h"

#include <stdio.h>
#include <string.h>

enum { RUN_BYTES = 1 << 18, RUN_DOCUMENTS = 1 << 12, PIECE_BYTES = 1 << 16 };

static int open_next(struct reader *r)
{
    if (input_open(&r->input, r->paths[r->next]))
        return -1;
    r->open = true;
    enum input_format format = r->format == FORMAT_TEXT ? INPUT_TEXT : INPUT_JSONL;
    if (r->format == FORMAT_AUTO && input_guess(&r->input, &format))
        return -1;
    if (format == INPUT_JSONL && jsonl_open(&r->jsonl, input_source(&r->input), &r->key))
        return fail("%s: %s", r->input.name, why());
    return 0;
}

static void close_this(struct reader *r)
{
    if (!r->open)
        return;
    r->stored_before += r->input.stored_offset;
    jsonl_close(&r->jsonl);
    input_close(&r->input);
    r->open = false;
    r->next++;
}

void reader_close(struct reader *r)
{
    close_this(r);
    r->next = r->count;
}

/* A whole file is one document. A byte order mark is not a part of it. */
static int read_text(struct reader *r, struct documents *run)
{
    struct document *doc = documents_add(run);
    if (!doc)
        return -1;
    for (;;) {
        uint8_t *to = documents_raw(run, PIECE_BYTES);
        long n = to ? input_read(&r->input, to, PIECE_BYTES) : -1;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        run->raw_bytes += (size_t)n;
    }
    doc->input = r->input.name;
    doc->record.line = doc->place.line = 1;
    doc->bytes = run->raw_bytes - doc->at;
    if (doc->bytes >= 3 && !memcmp(run->raw + doc->at, "\xef\xbb\xbf", 3)) {
        doc->at += 3;
        doc->bytes -= 3;
        doc->place.offset = 3;
    }
    return 0;
}

/* The next record. 1, 0 at the end of the file, -1. */
static int read_record(struct reader *r, struct documents *run)
{
    struct jsonl_text text;
    struct jsonl_fault fault;
    int got = jsonl_next(&r->jsonl, &text, &fault);
    if (got == 0)
        return 0;
    if (got == -2)
        return -1;
    uint8_t *to = documents_raw(run, got == 1 ? text.bytes : 0);
    struct document *doc = to ? documents_add(run) : NULL;
    if (!doc)
        return -1;
    doc->input = r->input.name;
    if (got == -1) {
        doc->broken = true;
        doc->record = fault.record;
        return documents_fault(run, doc, fault.place, fault.reason) ? -1 : 1;
    }
    memcpy(to, text.raw, text.bytes);
    run->raw_bytes += text.bytes;
    doc->bytes = text.bytes;
    doc->escaped = text.escaped;
    doc->record = text.record;
    doc->place = text.place;
    return 1;
}

/* The documents of the open file, as many as fit. 1: there are more; 0: that was all; -1. */
static int read_some(struct reader *r, struct documents *run)
{
    if (!r->jsonl.buf)
        return read_text(r, run);
    while (run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        int got = read_record(r, run);
        if (got != 1)
            return got;
    }
    return 1;
}

int reader_fill(struct reader *r, struct documents *run)
{
    if (r->failure[0])
        return fail("%s", r->failure);
    while (r->next < r->count && run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        size_t whole = run->count;
        int got = !r->open && open_next(r) ? -1 : read_some(r, run);
        if (got < 0) {
            /* What came before the failure is passed on first, so that order decides what a
               person hears of. A text file that broke off is not passed on. */
            snprintf(r->failure, sizeof r->failure, "%s", why());
            if (r->open && !r->jsonl.buf)
                run->count = whole;
            return run->count ? 1 : -1;
        }
        run->stored_bytes = r->stored_before + r->input.stored_offset;
        if (got == 0)
            close_this(r);
    }
    return run->count ? 1 : 0;
}
