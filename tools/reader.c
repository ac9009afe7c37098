/* reader.c -- the documents of a portion of the inputs, in order, a run at a time. */
#include "reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RUN_BYTES = 1 << 18, RUN_DOCUMENTS = 1 << 12, PIECE_BYTES = 1 << 16, LONG_BYTES = 16 << 20 };

static const struct jsonl_stand fresh = {.now = {.line = 1}};

/* ---- streams ------------------------------------------------------------------------------ */

static void end_stream(struct reader *r)
{
    jsonl_close(&r->jsonl);
    prose_close(&r->prose);
    r->reads = READS_NOTHING;
    r->named = NULL;
}

static int know_format(struct reader *r, bool *text)
{
    enum input_format format = INPUT_JSONL;
    *text = r->format == FORMAT_TEXT;
    if (r->format != FORMAT_AUTO)
        return 0;
    if (input_guess(&r->input, &format))
        return -1;
    if (format == INPUT_UNKNOWN && !r->split)
        return fail("%s: neither its name (.jsonl, .txt) nor its first character ({ or [) says "
                    "what it is; add --format=jsonl or --format=text",
                    r->input.name);
    *text = format != INPUT_JSONL;
    return 0;
}

/* Read the stream that the input stands at, from r->stand on. */
static int begin_stream(struct reader *r)
{
    bool text;
    struct stand *s = &r->stand;
    const struct portion *p = &r->portion;
    if (know_format(r, &text))
        return -1;
    bool first = s->file == p->first, last = s->file == p->last;
    uint64_t to = last ? p->to : UINT64_MAX, from = s->at.now.offset;
    r->midway = first && p->from;
    r->divided = r->midway || to != UINT64_MAX;
    if (r->input.plain ? (from || to != UINT64_MAX) && input_range(&r->input, from, to)
                       : input_skip(&r->input, from))
        return -1;
    struct byte_source source = input_source(&r->input);
    int status = 0;
    if (!text) {
        r->reads = READS_JSONL;
        status = jsonl_resume(&r->jsonl, source, &r->key, &s->at);
        r->jsonl.most = r->most;
    } else if (r->split) {
        r->reads = READS_PROSE;
        r->prose = (struct prose){.most = r->most, .parting = r->parting, .now = s->at.now};
        status = prose_open(&r->prose, source);
    } else
        r->reads = READS_TEXT;
    return status ? fail("%s: %s", r->input.name, why()) : 0;
}

static void close_file(struct reader *r)
{
    if (!r->open)
        return;
    r->stored_before += r->input.stored_offset;
    end_stream(r);
    input_close(&r->input);
    r->open = false;
}

void reader_close(struct reader *r)
{
    close_file(r);
    r->stand.file = SIZE_MAX;
}

/* Open the file of r->stand and go to its stream. 1: it stands there; 0: there is no such stream.
 */
static int open_file(struct reader *r)
{
    struct stand *s = &r->stand;
    if (input_open(&r->input, r->inputs->paths[s->file]))
        return -1;
    r->open = true;
    if (s->file == r->portion.first)
        r->stored_before -= r->portion.from;
    bool none = r->input.packed && !r->input.inner;
    int got = none ? 0 : 1;
    for (uint64_t i = 0; got == 1 && i < s->stream; i++)
        got = input_next(&r->input);
    if (got == 1 && begin_stream(r))
        got = -1;
    return got;
}

/* The stream has ended. */
static int next_stream(struct reader *r)
{
    struct stand *s = &r->stand;
    end_stream(r);
    int got = input_next(&r->input);
    s->at = fresh;
    if (got == 1) {
        s->stream++;
        return begin_stream(r);
    }
    if (got < 0)
        return -1;
    close_file(r);
    s->file++;
    s->stream = 0;
    return 0;
}

/* ---- documents ---------------------------------------------------------------------------- */

static struct document *add(struct reader *r, struct documents *run)
{
    if (r->named != run && documents_name(run, r->input.name, &r->name))
        return NULL;
    r->named = run;
    struct document *doc = documents_add(run);
    if (doc) {
        doc->file = r->stand.file;
        doc->name = r->name;
        doc->midway = r->midway;
    }
    return doc;
}

/* A whole stream is one document. A byte order mark is not a part of it. */
static int read_text(struct reader *r, struct documents *run)
{
    struct document *doc = add(r, run);
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
        if (r->most && run->raw_bytes - doc->at > r->most)
            return fail("%s: has more than %zu bytes; allow it more memory", r->input.name,
                        r->most);
    }
    doc->record.line = doc->place.line = 1;
    doc->bytes = run->raw_bytes - doc->at;
    if (doc->bytes >= 3 && !memcmp(run->raw + doc->at, "\xef\xbb\xbf", 3)) {
        doc->at += 3;
        doc->bytes -= 3;
        doc->place.offset = 3;
    }
    return 0;
}

/* A long text of the last record, alone in the run, without a copy. */
static struct document *add_long(struct reader *r, struct documents *run, const uint8_t *text,
                                 size_t bytes)
{
    const uint8_t *before = r->jsonl.buf;
    size_t room, at = (size_t)(text - before);
    uint8_t *buffer = jsonl_buffer_take(&r->jsonl, &room);
    if (!buffer) {
        fail("out of memory");
        return NULL;
    }
    documents_take(run, buffer, at, room);
    struct document *doc = add(r, run);
    if (doc)
        doc->bytes = bytes;
    run->raw_bytes += bytes;
    return doc;
}

static struct document *add_text(struct reader *r, struct documents *run, const uint8_t *text,
                                 size_t bytes)
{
    uint8_t *to = documents_raw(run, bytes);
    struct document *doc = to ? add(r, run) : NULL;
    if (!doc)
        return NULL;
    if (bytes)
        memcpy(to, text, bytes);
    run->raw_bytes += bytes;
    doc->bytes = bytes;
    return doc;
}

/* The next record. 1, 0 at the end of the stream, -1. */
static int read_record(struct reader *r, struct documents *run)
{
    struct jsonl_text text = {0};
    struct jsonl_fault fault;
    int got = jsonl_next(&r->jsonl, &text, &fault);
    if (got == 0)
        return 0;
    if (got == -2)
        return fail("%s: %s", r->input.name, why());
    bool alone = got == 1 && text.bytes > LONG_BYTES && run->raw_bytes == 0;
    struct document *doc = alone ? add_long(r, run, text.raw, text.bytes)
                                 : add_text(r, run, text.raw, got == 1 ? text.bytes : 0);
    if (!doc)
        return -1;
    if (got == -1) {
        doc->broken = true;
        doc->record = fault.record;
        return documents_fault(run, doc, fault.place, fault.reason) ? -1 : 1;
    }
    if (r->divided && r->jsonl.stand.now.line != text.record.line)
        return fail("%s: the record at byte %" PRIu64 " goes over several lines, and others of "
                    "this file do not: it cannot be shared out by --shard",
                    r->input.name, text.record.offset);
    doc->escaped = text.escaped;
    doc->record = text.record;
    doc->place = text.place;
    return 1;
}

/* The next document of a text that holds several. */
static int read_prose(struct reader *r, struct documents *run)
{
    const uint8_t *text;
    size_t bytes;
    struct jsonl_place place;
    int got = prose_next(&r->prose, &text, &bytes, &place);
    if (got < 0)
        return fail("%s: %s", r->input.name, why());
    if (got == 0)
        return 0;
    struct document *doc = add_text(r, run, text, bytes);
    if (!doc)
        return -1;
    doc->record = doc->place = place;
    return 1;
}

/* The documents of the open stream, as many as fit. 1: there are more; 0: that was all; -1. */
static int read_some(struct reader *r, struct documents *run)
{
    if (r->reads == READS_TEXT)
        return read_text(r, run);
    while (run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        int got = r->reads == READS_JSONL ? read_record(r, run) : read_prose(r, run);
        if (got == 1 && r->reads == READS_JSONL)
            r->stand.at = r->jsonl.stand;
        else if (got == 1)
            r->stand.at.now = r->prose.now;
        else
            return got;
    }
    return 1;
}

/* ---- runs --------------------------------------------------------------------------------- */

/* Who begins midway asks the first object of all which member holds the texts. */
static int decide_key(struct reader *r)
{
    struct documents run = {0};
    int got = 1;
    for (size_t i = 0; got >= 0 && r->key.state == KEY_OPEN && i <= r->stand.file; i++) {
        if (r->format == FORMAT_TEXT || input_name_format(r->inputs->paths[i]) == INPUT_TEXT)
            continue;
        struct reader look = {.inputs = r->inputs,
                              .portion = {.first = i, .last = i, .to = UINT64_MAX},
                              .format = r->format,
                              .split = r->split,
                              .parting = r->parting,
                              .most = r->most,
                              .stand = {.file = i, .at = fresh},
                              .begun = true};
        do {
            documents_clear(&run);
            got = reader_fill(&look, &run);
        } while (got == 1 && look.key.state == KEY_OPEN && look.reads == READS_JSONL);
        r->key = look.key;
        reader_close(&look);
    }
    documents_free(&run);
    return got < 0 ? -1 : 0;
}

static int begin(struct reader *r)
{
    const struct portion *p = &r->portion;
    r->begun = true;
    if (!r->resumed) {
        r->stand = (struct stand){.file = p->first, .at = fresh};
        if (p->from)
            r->stand.at = (struct jsonl_stand){{.offset = p->from}, JSONL_LINES, false};
    }
    for (size_t i = p->first; i < r->stand.file && i < r->inputs->count; i++)
        r->stored_before += r->inputs->bytes[i] - (i == p->first ? p->from : 0);
    bool midway = r->stand.file || r->stand.stream || r->stand.at.now.offset;
    return midway && r->stand.file < r->inputs->count ? decide_key(r) : 0;
}

static int step(struct reader *r, struct documents *run)
{
    if (!r->open) {
        int got = open_file(r);
        if (got)
            return got < 0 ? -1 : 0;
        return next_stream(r);
    }
    int got = read_some(r, run);
    if (got < 0)
        return -1;
    run->stored_bytes = r->stored_before + r->input.stored_offset;
    return got == 0 ? next_stream(r) : 0;
}

int reader_fill(struct reader *r, struct documents *run)
{
    if (r->failure[0])
        return fail("%s", r->failure);
    if (!r->begun && begin(r))
        return -1;
    r->named = NULL;
    while (r->stand.file <= r->portion.last && r->stand.file < r->inputs->count &&
           run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        size_t whole = run->count;
        if (step(r, run)) {
            /* What came before the failure is passed on first, so that order decides what a
               person hears of. A text file that broke off is not passed on. */
            snprintf(r->failure, sizeof r->failure, "%s", why());
            if (r->open && r->reads == READS_TEXT)
                run->count = whole;
            return run->count ? 1 : -1;
        }
    }
    run->after = r->stand;
    return run->count ? 1 : 0;
}
