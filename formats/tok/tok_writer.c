/* tok_writer.c -- token documents to a file or pipe, block by block. */
#include "ids.h"
#include "tok.h"
#include "tok_block.h"
#include "worker.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zlib.h>

enum { DEFLATE_LEVEL = 6 };

/* A block that is full, on its way to the file. */
struct tok_block_job {
    struct tok_writer *w;
    struct tok_frame frame;
    uint8_t *payload;
    size_t bytes;
    uint32_t hashed_pieces; /* the first so many are in the hashes already */
};

struct tok_block_out {
    uint8_t *raw[2]; /* owned: room for all piece_ids, then ids; one is filled, one is written */
    int filled;      /* the one being filled */
    uint8_t *stored; /* owned; NULL without compress */
    uint32_t *piece_ids; /* [block_ids], owned */
    uint8_t *ids;        /* [block_ids] as stored, in raw */
    uint32_t pieces, count;
    uint64_t documents, tokens; /* before this block */
    bool continued, in_document;
    uint8_t *index; /* owned: entries so far */
    size_t index_room;
    struct tok_block_job job;
    struct worker behind; /* hashes, checksums, deflation and writing, while the next is filled */
    /* its own while it works: of the blocks before the one being filled */
    struct tok_totals hashed; /* documents, sum, chain */
    XXH3_state_t *hash;       /* owned: of the document that goes on in the next block */
    uint32_t most;            /* id, where the writer is watchful */
    uint32_t hashed_pieces; /* of the block being filled the first so many are in the hashes too */
};

static void release(struct tok_writer *w)
{
    struct tok_block_out *b = w->block;
    if (b) {
        worker_close(&b->behind);
        free(b->raw[0]);
        free(b->raw[1]);
        free(b->stored);
        free(b->piece_ids);
        free(b->index);
        XXH3_freeState(b->hash);
        free(b);
    }
    w->block = NULL;
}

void tok_writer_abandon(struct tok_writer *w)
{
    if (w->block)
        worker_close(&w->block->behind);
    writer_abandon(&w->file);
    release(w);
}

static int allocate(struct tok_writer *w, bool compress)
{
    struct tok_block_out *b = w->block = calloc(1, sizeof *b);
    if (!b)
        return fail("no memory");
    size_t n = w->meta.block_ids, raw_bytes = (4 + tok_id_bytes(&w->meta)) * n + 8;
    b->raw[0] = malloc(raw_bytes);
    b->raw[1] = malloc(raw_bytes); /* which costs nothing until a second block comes */
    b->piece_ids = malloc(4 * n);
    b->hash = XXH3_createState();
    b->stored = compress ? malloc(raw_bytes) : NULL;
    if (!b->raw[0] || !b->raw[1] || !b->piece_ids || !b->hash || (compress && !b->stored))
        return fail("no memory for blocks of %zu ids", n);
    b->ids = b->raw[0] + 4 * n;
    return 0;
}

/* All but the file; *header, owned by the caller, is what it begins with. On failure w is closed.
 */
static int prepare(struct tok_writer *w, const char *path, const struct tok_meta *meta,
                   bool compress, uint8_t **header, size_t *header_bytes)
{
    *w = (struct tok_writer){.meta = *meta};
    if (w->meta.block_ids == 0)
        w->meta.block_ids = TOK_BLOCK_IDS;
    *header = NULL;
    if (!tok_header_encode(&w->meta, header, header_bytes) && !allocate(w, compress))
        return 0;
    fail("%s: %s", path, why());
    free(*header);
    release(w);
    return -1;
}

/* The header into the open file. */
static int begin(struct tok_writer *w, uint8_t *header, size_t header_bytes)
{
    int bad = writer_put(&w->file, header, header_bytes);
    if (bad)
        tok_writer_abandon(w);
    return bad;
}

int tok_writer_open(struct tok_writer *w, const char *path, const struct tok_meta *meta,
                    bool compress)
{
    uint8_t *header;
    size_t header_bytes;
    if (prepare(w, path, meta, compress, &header, &header_bytes))
        return -1;
    int bad = writer_open(&w->file, path);
    if (bad)
        release(w);
    else
        bad = begin(w, header, header_bytes);
    free(header);
    return bad;
}

static int index_add(struct tok_writer *w)
{
    struct tok_block_out *b = w->block;
    size_t used = w->totals.blocks * TOK_ENTRY_BYTES;
    if (used == b->index_room) {
        size_t room = used ? 2 * used : 64 * TOK_ENTRY_BYTES;
        uint8_t *grown = realloc(b->index, room);
        if (!grown)
            return fail("%s: no memory for an index of %zu bytes", w->file.path, room);
        b->index = grown;
        b->index_room = room;
    }
    uint64_t entry[3] = {w->file.bytes, b->documents, b->tokens};
    memcpy(b->index + used, entry, sizeof entry);
    return 0;
}

static int frame_put(struct tok_writer *w, struct tok_frame *f, const uint8_t *payload)
{
    uint8_t head[TOK_FRAME_BYTES];
    uint64_t bytes = tok_padded(f->stored_bytes);
    f->payload = tok_hash(payload, bytes);
    tok_frame_encode(f, head);
    return writer_put(&w->file, head, sizeof head) || writer_put(&w->file, payload, bytes) ? -1 : 0;
}

/* Deflate into b->stored; 0 when that does not save a byte. */
static size_t deflated(struct tok_block_out *b, const uint8_t *raw, size_t raw_bytes)
{
    uLongf bytes = raw_bytes - 1;
    if (!b->stored || compress2(b->stored, &bytes, raw, raw_bytes, DEFLATE_LEVEL) != Z_OK)
        return 0;
    return bytes;
}

/* A block's documents into the hashes, from piece `from` on: those that lie in it at once, those
   that go on in steps. */
static void block_hash(struct tok_block_out *b, const struct tok_frame *f, const uint32_t *lengths,
                       const uint8_t *ids, size_t id_bytes, uint32_t from)
{
    for (uint32_t i = 0; i < f->pieces; i++) {
        size_t bytes = id_bytes * lengths[i];
        bool first = i > 0 || !(f->flags & TOK_CONTINUED);
        bool last = i + 1 < f->pieces || !(f->flags & TOK_CONTINUES);
        const uint8_t *piece = ids;
        ids += bytes;
        if (i < from)
            continue;
        if (first && last) {
            tok_totals_add(&b->hashed, XXH3_64bits(piece, bytes));
            continue;
        }
        if (first)
            XXH3_64bits_reset(b->hash);
        XXH3_64bits_update(b->hash, piece, bytes);
        if (last)
            tok_totals_add(&b->hashed, XXH3_64bits_digest(b->hash));
    }
}

static int block_write(void *self)
{
    struct tok_block_job *j = self;
    struct tok_block_out *b = j->w->block;
    struct tok_frame *f = &j->frame;
    uint8_t *payload = j->payload;
    const uint8_t *ids = payload + 4 * (size_t)f->pieces;
    size_t id_bytes = tok_id_bytes(&j->w->meta);
    block_hash(b, f, (const uint32_t *)(const void *)payload, ids, id_bytes, j->hashed_pieces);
    if (j->w->watchful) {
        uint32_t most = ids_most(ids, f->ids, id_bytes);
        b->most = most > b->most ? most : b->most;
    }
    f->stored_bytes = deflated(b, payload, j->bytes);
    if (f->stored_bytes) {
        f->flags |= TOK_DEFLATED;
        payload = b->stored;
    } else
        f->stored_bytes = j->bytes;
    memset(payload + f->stored_bytes, 0, tok_padded(f->stored_bytes) - f->stored_bytes);
    return frame_put(j->w, f, payload);
}

/* last: nothing is filled meanwhile, so the thread would only be waited for. */
static int block_flush(struct tok_writer *w, bool continues, bool last)
{
    struct tok_block_out *b = w->block;
    if (b->pieces == 0)
        return 0;
    if (worker_wait(&b->behind) || index_add(w))
        return -1;
    /* The lengths come before the ids: room was left for as many as there can be. */
    uint8_t *payload = b->ids - 4 * (size_t)b->pieces;
    memcpy(payload, b->piece_ids, 4 * (size_t)b->pieces);
    b->job = (struct tok_block_job){
        .w = w,
        .frame = {.flags = (b->continued ? TOK_CONTINUED : 0) | (continues ? TOK_CONTINUES : 0),
                  .sequence = w->totals.blocks,
                  .documents = b->documents,
                  .tokens = b->tokens,
                  .pieces = b->pieces,
                  .ids = b->count},
        .payload = payload,
        .bytes = 4 * (size_t)b->pieces + tok_id_bytes(&w->meta) * b->count,
        .hashed_pieces = b->hashed_pieces,
    };
    w->totals.blocks++;
    b->documents += b->pieces - b->continued;
    b->tokens += b->count;
    b->pieces = b->count = b->hashed_pieces = 0;
    b->continued = continues;
    b->filled = !b->filled;
    b->ids = b->raw[b->filled] + 4 * (size_t)w->meta.block_ids;
    /* Most streams of one block have no second: no thread for those either. */
    return last || !b->job.frame.sequence ? block_write(&b->job)
                                          : worker_give(&b->behind, block_write, &b->job);
}

static void piece_begin(struct tok_block_out *b)
{
    b->piece_ids[b->pieces++] = 0;
}

int tok_writer_begin(struct tok_writer *w)
{
    struct tok_block_out *b = w->block;
    assert(!b->in_document);
    if (b->count == w->meta.block_ids || b->pieces == w->meta.block_ids)
        if (block_flush(w, false, false))
            return -1;
    piece_begin(b);
    b->in_document = true;
    return 0;
}

/* Copy ids as they are stored. Returns how many are below vocab_size, from the first. */
static size_t narrow(uint8_t *to, const uint32_t *ids, size_t count, const struct tok_meta *m)
{
    if (tok_id_bytes(m) == 4) {
        for (size_t i = 0; i < count; i++) {
            if (ids[i] >= m->vocab_size)
                return i;
            memcpy(to + 4 * i, &ids[i], 4);
        }
        return count;
    }
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= m->vocab_size)
            return i;
        uint16_t id = (uint16_t)ids[i];
        memcpy(to + 2 * i, &id, 2);
    }
    return count;
}

/* Where the next ids go and how many fit there, at least one; NULL with why(). */
static uint8_t *room_for_ids(struct tok_writer *w, size_t *room)
{
    struct tok_block_out *b = w->block;
    if (b->count == w->meta.block_ids) {
        if (block_flush(w, true, false))
            return NULL;
        piece_begin(b);
    }
    *room = w->meta.block_ids - b->count;
    return b->ids + tok_id_bytes(&w->meta) * b->count;
}

/* So many ids have been put there. */
static void ids_take(struct tok_writer *w, size_t count)
{
    struct tok_block_out *b = w->block;
    b->piece_ids[b->pieces - 1] += (uint32_t)count;
    b->count += (uint32_t)count;
    w->totals.tokens += count;
}

int tok_writer_append(struct tok_writer *w, const uint32_t *ids, size_t count)
{
    assert(w->block->in_document);
    while (count) {
        size_t room;
        uint8_t *to = room_for_ids(w, &room);
        if (!to)
            return -1;
        size_t n = count < room ? count : room, good = narrow(to, ids, n, &w->meta);
        if (good < n)
            return fail("%s: document %llu has id %u, which is not below the vocabulary of %u",
                        w->file.path, (unsigned long long)w->totals.documents, ids[good],
                        w->meta.vocab_size);
        ids_take(w, n);
        ids += n;
        count -= n;
    }
    return 0;
}

int tok_writer_append_stored(struct tok_writer *w, const void *stored, size_t count)
{
    assert(w->block->in_document);
    size_t id_bytes = tok_id_bytes(&w->meta);
    while (count) {
        size_t room;
        uint8_t *to = room_for_ids(w, &room);
        if (!to)
            return -1;
        size_t n = count < room ? count : room;
        memcpy(to, stored, id_bytes * n);
        ids_take(w, n);
        stored = (const uint8_t *)stored + id_bytes * n;
        count -= n;
    }
    return 0;
}

int tok_writer_end(struct tok_writer *w)
{
    struct tok_block_out *b = w->block;
    assert(b->in_document);
    b->in_document = false;
    w->totals.documents++;
    return 0;
}

int tok_writer_settle(struct tok_writer *w, uint32_t *most)
{
    struct tok_block_out *b = w->block;
    assert(!b->in_document);
    if (block_flush(w, false, true) || worker_wait(&b->behind))
        return -1;
    assert(b->hashed.documents == w->totals.documents);
    w->totals.sum = b->hashed.sum;
    w->totals.chain = b->hashed.chain;
    *most = b->most;
    return 0;
}

int tok_writer_put(struct tok_writer *w, const uint32_t *ids, size_t count)
{
    return tok_writer_begin(w) || tok_writer_append(w, ids, count) || tok_writer_end(w) ? -1 : 0;
}

static int finish_put(struct tok_writer *w)
{
    uint32_t most;
    if (tok_writer_settle(w, &most))
        return -1;
    uint8_t trailer[TOK_TRAILER_BYTES];
    tok_trailer_encode(&w->totals, w->file.bytes, trailer);
    struct tok_frame f = {
        .is_index = true,
        .sequence = w->totals.blocks,
        .documents = w->totals.documents,
        .tokens = w->totals.tokens,
        .stored_bytes = w->totals.blocks * TOK_ENTRY_BYTES,
    };
    if (frame_put(w, &f, w->block->index ? w->block->index : (const uint8_t *)""))
        return -1;
    return writer_put(&w->file, trailer, sizeof trailer);
}

int tok_writer_commit(struct tok_writer *w)
{
    if (finish_put(w)) {
        tok_writer_abandon(w);
        return -1;
    }
    release(w);
    return writer_commit(&w->file);
}

/* ---- interrupted and continued ------------------------------------------------------------- */

/* What is saved, in front of the index entries, the lengths of the pieces and the ids. */
struct saved {
    uint64_t file_bytes;
    struct tok_totals totals;
    uint64_t documents, tokens; /* before the block that is being filled */
    uint32_t pieces, count, continued, zero;
};

int tok_writer_save(struct tok_writer *w, uint8_t **data, size_t *bytes)
{
    struct tok_block_out *b = w->block;
    assert(!b->in_document);
    if (worker_wait(&b->behind) || writer_sync(&w->file))
        return -1;
    struct tok_frame f = {.flags = b->continued ? TOK_CONTINUED : 0, .pieces = b->pieces};
    block_hash(b, &f, b->piece_ids, b->ids, tok_id_bytes(&w->meta), b->hashed_pieces);
    b->hashed_pieces = b->pieces;
    w->totals.sum = b->hashed.sum;
    w->totals.chain = b->hashed.chain;
    struct saved s = {w->file.bytes, w->totals, b->documents, b->tokens,
                      b->pieces,     b->count,  b->continued};
    size_t entries = w->totals.blocks * TOK_ENTRY_BYTES, pieces = 4 * (size_t)b->pieces;
    size_t ids = tok_id_bytes(&w->meta) * b->count;
    *bytes = sizeof s + entries + pieces + ids;
    uint8_t *to = *data = malloc(*bytes);
    if (!to)
        return fail("%s: no memory to save %zu bytes", w->file.path, *bytes);
    memcpy(to, &s, sizeof s);
    if (entries)
        memcpy(to + sizeof s, b->index, entries);
    memcpy(to + sizeof s + entries, b->piece_ids, pieces);
    memcpy(to + sizeof s + entries + pieces, b->ids, ids);
    return 0;
}

/* Take over what was saved; `s` stands before the rest of it. */
static int restore(struct tok_writer *w, const struct saved *s, const uint8_t *data, size_t bytes)
{
    struct tok_block_out *b = w->block;
    size_t id_bytes = tok_id_bytes(&w->meta);
    if (s->pieces > w->meta.block_ids || s->count > w->meta.block_ids ||
        s->totals.blocks > bytes / TOK_ENTRY_BYTES ||
        bytes != s->totals.blocks * TOK_ENTRY_BYTES + 4 * (size_t)s->pieces + id_bytes * s->count)
        return fail("what was saved of it is damaged");
    size_t entries = s->totals.blocks * TOK_ENTRY_BYTES;
    b->index_room = 64 * TOK_ENTRY_BYTES;
    while (b->index_room < entries)
        b->index_room *= 2;
    b->index = malloc(b->index_room);
    if (!b->index)
        return fail("no memory for an index of %zu bytes", b->index_room);
    memcpy(b->index, data, entries);
    memcpy(b->piece_ids, data + entries, 4 * (size_t)s->pieces);
    memcpy(b->ids, data + entries + 4 * (size_t)s->pieces, id_bytes * s->count);
    w->totals = b->hashed = s->totals;
    b->hashed_pieces = s->pieces;
    b->documents = s->documents;
    b->tokens = s->tokens;
    b->pieces = s->pieces;
    b->count = s->count;
    b->continued = s->continued;
    return 0;
}

int tok_writer_resume(struct tok_writer *w, const char *path, const struct tok_meta *meta,
                      bool compress, const void *data, size_t bytes)
{
    uint8_t *header;
    size_t header_bytes;
    struct saved s = {0};
    if (prepare(w, path, meta, compress, &header, &header_bytes))
        return -1;
    int bad = 0;
    if (bytes) {
        bad = bytes < sizeof s ? fail("%s: what was saved of it is cut short", path) : 0;
        if (!bad)
            memcpy(&s, data, sizeof s);
        if (!bad && restore(w, &s, (const uint8_t *)data + sizeof s, bytes - sizeof s))
            bad = fail("%s: %s", path, why());
    }
    if (!bad)
        bad = writer_resume(&w->file, path, s.file_bytes);
    if (bad)
        release(w);
    else if (!bytes)
        bad = begin(w, header, header_bytes);
    free(header);
    return bad;
}

int tok_writer_open_alone(struct tok_writer *w, const char *path, const struct tok_meta *meta,
                          bool compress)
{
    if (tok_writer_resume(w, path, meta, compress, NULL, 0))
        return -1;
    writer_transient(&w->file);
    return 0;
}

void tok_writer_pause(struct tok_writer *w)
{
    if (w->block)
        worker_close(&w->block->behind);
    writer_pause(&w->file);
    release(w);
}
