/* reader.c -- the documents of a portion of the inputs, in order, a run at a time. */
#include "reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_BYTES = 1 << 18, RUN_DOCUMENTS = 1 << 12, PIECE_BYTES = 1 << 16, LONG_BYTES = 4 << 20 };

static const struct jsonl_stand fresh = {.now = {.line = 1}};

/* ---- streams ------------------------------------------------------------------------------ */

static void end_stream(struct reader *r)
{
    jsonl_close(&r->jsonl);
    prose_close(&r->prose);
    free(r->whole);
    r->whole = NULL;
    r->rest = (struct long_text){0};
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

/* ---- long documents ------------------------------------------------------------------------- */

/* What is longer travels in parts. */
static size_t long_bytes(const struct reader *r)
{
    return r->most_uncut && r->most_uncut < LONG_BYTES ? r->most_uncut : LONG_BYTES;
}

/* Hold a long text, of which nobody else needs the bytes, until all its parts are handed out; or
   put a document without text into the run, when it is faulty and not to be mended. */
static int hold(struct reader *r, struct documents *run, uint8_t *text, size_t bytes,
                const struct document *like)
{
    struct long_text *l = &r->rest;
    long_text_hold(l, text, bytes, like->escaped, like->place);
    r->rest_doc = *like;
    if (!l->faulty || r->on_error == ON_ERROR_REPLACE)
        return 0;
    struct document *doc = add(r, run);
    if (!doc)
        return -1;
    doc->record = like->record;
    doc->place = like->place;
    doc->broken = true;
    int status = documents_fault(run, doc, l->fault, l->reason);
    *l = (struct long_text){0};
    return status;
}

/* The next part. */
static int hand_out(struct reader *r, struct documents *run)
{
    struct long_text *l = &r->rest;
    size_t n = long_text_part(l, r->tokenizer, r->special);
    if (r->most_uncut && n > r->most_uncut)
        return fail("%s: %zu bytes of the document at byte %" PRIu64 " hold no place to cut, as in "
                    "a run of one letter; they take more memory than allowed",
                    r->input.name, n, r->rest_doc.place.offset);
    struct document *doc = add_text(r, run, l->text + l->at, n);
    if (!doc)
        return -1;
    doc->record = r->rest_doc.record;
    doc->place = r->rest_doc.place;
    doc->judged = true;
    doc->continued = l->at > 0;
    l->at += n;
    doc->continues = l->at < l->bytes;
    if (!doc->continued && l->faulty && documents_fault(run, doc, l->fault, l->reason))
        return -1;
    if (doc->continues)
        return 0;
    *l = (struct long_text){0};
    if (r->reads == READS_JSONL)
        jsonl_trim(&r->jsonl);
    return 0;
}

/* ---- documents ---------------------------------------------------------------------------- */

static int too_long(const struct reader *r)
{
    return fail("%s: has more than %zu bytes; allow it more memory", r->input.name, r->most);
}

/* Go on with a text file, of which `held` bytes are in r->whole. */
static int read_whole(struct reader *r, size_t *held)
{
    for (size_t room = *held;;) {
        if (*held == room) {
            room += room / 4 + PIECE_BYTES;
            uint8_t *more = realloc(r->whole, room);
            if (!more)
                return fail("%s: no memory for more than %zu bytes", r->input.name, *held);
            r->whole = more;
        }
        long n = input_read(&r->input, r->whole + *held, room - *held);
        if (n <= 0)
            return (int)n;
        *held += (size_t)n;
        if (r->most && *held > r->most)
            return too_long(r);
    }
}

/* A whole stream is one document. A byte order mark is not a part of it. */
static int read_text(struct reader *r, struct documents *run)
{
    struct document *doc = add(r, run);
    size_t n = 0;
    long got = 1;
    while (doc && got > 0 && n <= long_bytes(r)) {
        uint8_t *to = documents_raw(run, PIECE_BYTES);
        got = to ? input_read(&r->input, to, PIECE_BYTES) : -1;
        run->raw_bytes += got > 0 ? (size_t)got : 0;
        n = run->raw_bytes - doc->at;
    }
    if (!doc || got < 0)
        return -1;
    const uint8_t *text = run->raw + doc->at;
    size_t mark = n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
    doc->record.line = doc->place.line = 1;
    doc->place.offset = mark;
    if (got == 0) {
        doc->at += mark;
        doc->bytes = n - mark;
        return 0;
    }
    struct document like = *doc;
    r->whole = malloc(n);
    if (!r->whole)
        return fail("%s: out of memory", r->input.name);
    memcpy(r->whole, text, n);
    run->raw_bytes = doc->at;
    run->count--;
    return read_whole(r, &n) || hold(r, run, r->whole + mark, n - mark, &like) ? -1 : 0;
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
    if (got == -1) {
        struct document *broken = add(r, run);
        if (!broken)
            return -1;
        broken->broken = true;
        broken->record = fault.record;
        return documents_fault(run, broken, fault.place, fault.reason) ? -1 : 1;
    }
    if (r->divided && r->jsonl.stand.now.line != text.record.line)
        return fail("%s: the record at byte %" PRIu64 " goes over several lines, and others of "
                    "this file do not: it cannot be shared out by --shard",
                    r->input.name, text.record.offset);
    struct document like = {.escaped = text.escaped, .record = text.record, .place = text.place};
    if (text.bytes > long_bytes(r)) /* the record is read: its bytes are free */
        return hold(r, run, (uint8_t *)text.raw, text.bytes, &like) ? -1 : 1;
    struct document *doc = add_text(r, run, text.raw, text.bytes);
    if (!doc)
        return -1;
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
    struct document like = {.record = place, .place = place};
    if (bytes > long_bytes(r))
        return hold(r, run, (uint8_t *)text, bytes, &like) ? -1 : 1;
    struct document *doc = add_text(r, run, text, bytes);
    if (!doc)
        return -1;
    doc->record = doc->place = place;
    return 1;
}

/* Behind a document: the stand is that of the stream. */
static void stand_behind(struct reader *r)
{
    if (r->reads == READS_JSONL)
        r->stand.at = r->jsonl.stand;
    else if (r->reads == READS_PROSE)
        r->stand.at.now = r->prose.now;
}

/* The documents of the open stream, as many as fit. 1: there are more; 0: that was all; -1. */
static int read_some(struct reader *r, struct documents *run)
{
    bool long_one = r->rest.text;
    if (long_one && hand_out(r, run))
        return -1;
    if (long_one && !r->rest.text)
        stand_behind(r);
    if (long_one && r->rest.text)
        return 1;
    if (r->reads == READS_TEXT) {
        if (!long_one && read_text(r, run))
            return -1;
        return r->rest.text != NULL;
    }
    while (!r->rest.text && run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        int got = r->reads == READS_JSONL ? read_record(r, run) : read_prose(r, run);
        if (got != 1)
            return got;
        if (!r->rest.text)
            stand_behind(r);
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
                              .tokenizer = r->tokenizer,
                              .special = r->special,
                              .on_error = r->on_error,
                              .most = r->most,
                              .most_uncut = r->most_uncut,
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
    int status = 0;
    while (!status && r->stand.file <= r->portion.last && r->stand.file < r->inputs->count &&
           run->raw_bytes < RUN_BYTES && run->count < RUN_DOCUMENTS) {
        size_t whole = run->count;
        status = step(r, run);
        if (status) {
            /* What came before the failure is passed on first, so that order decides what a
               person hears of. A text file that broke off is not passed on. */
            snprintf(r->failure, sizeof r->failure, "%s", why());
            if (r->open && r->reads == READS_TEXT)
                run->count = whole;
        }
    }
    run->after = r->stand;
    run->inside = r->rest.at > 0;
    return run->count ? 1 : status;
}
