/* tok_repair.c -- what of a damaged .tok file is still good. */
#include "tok_repair.h"
#include "ids.h"
#include "tok_block.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

/* Where we are in the file, and what goes out. */
struct walk {
    struct tok_repair *r;
    struct map map;
    struct tok_meta meta;
    uint64_t at;
    struct tok_frame frame;
    const uint8_t *payload; /* inflated */
    struct tok_bytes raw, doc;
    uint64_t doc_bytes;
    bool open;              /* doc holds the beginning of a document */
    uint64_t begun, tokens; /* before the next block, where none is missing */
    struct tok_writer *out; /* NULL: only look */
};

/* ---- one block ---------------------------------------------------------------------------- */

static int inflate_payload(struct walk *w, uint64_t raw_bytes)
{
    const struct tok_frame *f = &w->frame;
    const uint8_t *stored = w->map.data + w->at + TOK_FRAME_BYTES;
    w->payload = stored;
    if (!(f->flags & TOK_DEFLATED))
        return 0;
    uLongf got = raw_bytes;
    if (tok_grow(&w->raw, raw_bytes))
        return -1;
    if (uncompress(w->raw.data, &got, stored, f->stored_bytes) != Z_OK || got != raw_bytes)
        return fail("its deflated bytes do not inflate to %llu", (unsigned long long)raw_bytes);
    w->payload = w->raw.data;
    return 0;
}

/* The frame at w->at, and of a block all that it holds; -1 with why() without a place. */
static int look(struct walk *w)
{
    struct tok_frame *f = &w->frame;
    uint64_t left = w->map.bytes - w->at;
    if (left < TOK_FRAME_BYTES)
        return fail("the file ends");
    if (tok_frame_decode(f, &w->meta, w->map.data + w->at))
        return -1;
    if (f->stored_bytes > left - TOK_FRAME_BYTES ||
        tok_padded(f->stored_bytes) > left - TOK_FRAME_BYTES)
        return fail("the file ends inside it");
    if (tok_hash(w->map.data + w->at + TOK_FRAME_BYTES, tok_padded(f->stored_bytes)) != f->payload)
        return fail("the checksum of its payload does not match");
    if (f->is_index)
        return 0;
    size_t id_bytes = tok_id_bytes(&w->meta);
    uint64_t sum = 0;
    if (inflate_payload(w, 4 * (uint64_t)f->pieces + id_bytes * f->ids))
        return -1;
    for (uint32_t i = 0; i < f->pieces; i++)
        sum += le32(w->payload + 4 * (size_t)i);
    if (sum != f->ids)
        return fail("its documents have %llu ids, its header says %u", (unsigned long long)sum,
                    f->ids);
    if (f->ids &&
        ids_most(w->payload + 4 * (size_t)f->pieces, f->ids, id_bytes) >= w->meta.vocab_size)
        return fail("an id is not below the vocabulary of %u", w->meta.vocab_size);
    return f->documents < w->begun || f->tokens < w->tokens
               ? fail("it stands too late: documents are there twice")
               : 0;
}

/* ---- documents ---------------------------------------------------------------------------- */

static int document_put(struct walk *w, const uint8_t *stored, uint64_t count)
{
    w->r->documents++;
    w->r->tokens += count;
    if (!w->out)
        return 0;
    return tok_writer_begin(w->out) || tok_writer_append_stored(w->out, stored, count) ||
                   tok_writer_end(w->out)
               ? -1
               : 0;
}

static int block_take(struct walk *w)
{
    const struct tok_frame *f = &w->frame;
    size_t id_bytes = tok_id_bytes(&w->meta);
    const uint8_t *ids = w->payload + 4 * (size_t)f->pieces;
    bool continued = f->flags & TOK_CONTINUED, continues = f->flags & TOK_CONTINUES;
    for (uint32_t i = 0; i < f->pieces; i++) {
        uint64_t count = le32(w->payload + 4 * (size_t)i), bytes = count * id_bytes;
        bool first = i > 0 || !continued, last = i + 1 < f->pieces || !continues;
        if (first && last) {
            if (document_put(w, ids, count))
                return -1;
        } else if (first || w->open) {
            w->doc_bytes = first ? 0 : w->doc_bytes;
            if (tok_grow(&w->doc, w->doc_bytes + bytes + 1))
                return -1;
            memcpy(w->doc.data + w->doc_bytes, ids, bytes);
            w->doc_bytes += bytes;
            w->open = !last;
            if (last && document_put(w, w->doc.data, w->doc_bytes / id_bytes))
                return -1;
        }
        ids += bytes;
    }
    w->begun = f->documents + f->pieces - continued;
    w->tokens = f->tokens + f->ids;
    w->r->blocks++;
    return 0;
}

/* ---- the walk ----------------------------------------------------------------------------- */

static struct tok_damage *damage_add(struct walk *w)
{
    struct tok_repair *r = w->r;
    struct tok_damage *grown = realloc(r->damages, (r->count + 1) * sizeof *grown);
    if (!grown) {
        fail("no memory for a list of %zu damages", r->count + 1);
        return NULL;
    }
    r->damages = grown;
    struct tok_damage *d = &grown[r->count];
    *d = (struct tok_damage){.from = w->at, .block = r->blocks + r->count};
    snprintf(d->why, sizeof d->why, "%s", why());
    r->count++;
    return d;
}

/* From damage to the next frame that is good by its own checksum, or to the end. */
static int skip(struct walk *w)
{
    struct tok_damage *d = damage_add(w);
    if (!d)
        return -1;
    uint64_t last = w->map.bytes & ~UINT64_C(7);
    struct tok_frame f;
    do
        w->at += 8;
    while (w->at + TOK_FRAME_BYTES <= last &&
           (memcmp(w->map.data + w->at, "T", 1) ||
            tok_frame_decode(&f, &w->meta, w->map.data + w->at)));
    if (w->at + TOK_FRAME_BYTES > last)
        w->at = w->map.bytes;
    d->to = w->at;
    return 0;
}

/* What the damage since the last good block has cost, now that documents are counted again. One
   that was open goes on in what was lost, so it is lost too. */
static void settle(struct walk *w, uint64_t documents)
{
    struct tok_repair *r = w->r;
    struct tok_damage *d = &r->damages[r->count - 1];
    d->documents = documents - r->documents - r->lost;
    d->counted = true;
    r->lost += d->documents;
    w->open = false;
}

static int walk(struct walk *w)
{
    bool ended = false;
    while (!ended && w->at < w->map.bytes) {
        if (look(w)) {
            if (skip(w))
                return -1;
            continue;
        }
        bool gap = w->r->count && !w->r->damages[w->r->count - 1].counted;
        if (!gap && (w->frame.documents != w->begun || w->frame.tokens != w->tokens)) {
            fail("blocks are missing here");
            struct tok_damage *d = damage_add(w);
            if (!d)
                return -1;
            d->to = d->from;
            gap = true;
        }
        if (gap)
            settle(w, w->frame.documents);
        if (w->frame.is_index)
            ended = true;
        else if (block_take(w))
            return -1;
        w->at += TOK_FRAME_BYTES + tok_padded(w->frame.stored_bytes);
    }
    struct tok_totals t;
    uint64_t index_at;
    bool whole = ended && w->map.bytes - w->at == TOK_TRAILER_BYTES &&
                 !tok_trailer_decode(&t, &index_at, w->map.data + w->at);
    w->r->counted = ended;
    if (whole && w->frame.documents == w->r->documents + w->r->lost)
        return 0;
    if (!ended)
        fail("no index and no trailer: the file was cut");
    else if (!whole)
        fail("the trailer is damaged");
    else
        fail("blocks are missing");
    struct tok_damage *d = damage_add(w);
    if (!d)
        return -1;
    d->to = w->map.bytes;
    d->counted = ended;
    if (ended) {
        d->documents = w->frame.documents - w->r->documents - w->r->lost;
        w->r->lost += d->documents;
    }
    return 0;
}

static int header_look(struct walk *w, const char *path)
{
    long bytes = -1;
    if (w->map.bytes < TOK_HEADER_BYTES)
        return fail("%s: cut short inside the header of a .tok file: nothing can be saved", path);
    bytes = tok_header_bytes(w->map.data);
    if (bytes < 0 || (uint64_t)bytes > w->map.bytes ||
        tok_header_decode(&w->meta, w->map.data, (size_t)bytes))
        return fail("%s: %s: without its header nothing can be saved", path, why());
    w->at = (uint64_t)bytes;
    return 0;
}

int tok_repair(struct tok_repair *r, const char *path, const char *out)
{
    struct tok_writer writer = {0};
    struct walk w = {.r = r};
    *r = (struct tok_repair){0};
    if (map_open(&w.map, path))
        return -1;
    int status = header_look(&w, path);
    if (!status && out) {
        struct tok_meta meta = w.meta;
        meta.block_ids = 0;
        status = tok_writer_open_alone(&writer, out, &meta, false);
        w.out = &writer;
    }
    if (!status)
        status = walk(&w);
    if (status)
        tok_writer_abandon(&writer);
    else if (out)
        status = tok_writer_commit(&writer);
    free(w.raw.data);
    free(w.doc.data);
    map_close(&w.map);
    if (status)
        tok_repair_close(r);
    return status;
}

void tok_repair_close(struct tok_repair *r)
{
    free(r->damages);
    *r = (struct tok_repair){0};
}
