/* tok_reader.c -- token documents from a file or pipe; every block is proved before it is used. */
#include "ids.h"
#include "tok.h"
#include "tok_block.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>

int tok_grow(struct tok_bytes *b, uint64_t bytes)
{
    if (bytes <= b->room)
        return 0;
    uint64_t room = bytes + bytes / 2;
    uint8_t *grown = room <= SIZE_MAX ? realloc(b->data, (size_t)room) : NULL;
    if (!grown)
        return fail("no memory for %llu bytes", (unsigned long long)room);
    b->data = grown;
    b->room = (size_t)room;
    return 0;
}

enum {
    SMALL_BYTES = 1 << 20, /* no thread for a map of less */
    ADVICE_BYTES = 128 << 10,
    AHEAD_BYTES = 8 << 20,
};

/* why() with its place. */
static int bad(const struct tok_reader *r)
{
    const struct tok_block_in *b = r->block;
    return fail("%s: block %llu at byte %llu: %s", b->path, (unsigned long long)b->seen.blocks,
                (unsigned long long)b->at, why());
}

/* At most `bytes`, fewer at the end; -1. */
static long read_some(struct tok_reader *r, void *data, size_t bytes)
{
    const struct tok_block_in *b = r->block;
    if (!b->map.data)
        return read_full(b->fd, data, bytes, b->path);
    size_t left = b->map.bytes - r->offset;
    bytes = bytes < left ? bytes : left;
    memcpy(data, b->map.data + r->offset, bytes);
    return (long)bytes;
}

/* Exactly `bytes`, or -1. */
static int take(struct tok_reader *r, void *data, size_t bytes)
{
    long n = read_some(r, data, bytes);
    if (n < 0)
        return -1;
    r->offset += (uint64_t)n;
    if ((size_t)n == bytes)
        return 0;
    return fail("%s: cut short at byte %llu: no trailer ends it, so documents are missing; write "
                "it again",
                r->block->path, (unsigned long long)r->offset);
}

/* ---- open, close -------------------------------------------------------------------------- */

void tok_reader_close(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    if (!b)
        return;
    worker_close(&b->ahead);
    if (b->fd > STDIN_FILENO)
        close(b->fd);
    free(b->stored.data);
    free(b->raw.data);
    free(b->ids.data);
    free(b->entries.data);
    free(b->doc.data);
    free(b->path);
    map_close(&b->map);
    XXH3_freeState(b->hash);
    free(b);
    *r = (struct tok_reader){0};
}

static int header_read(struct tok_reader *r)
{
    struct tok_meta m;
    uint8_t h[TOK_HEADER_BYTES + sizeof m.options];
    const char *path = r->block->path;
    long have = read_full(r->block->fd, h, TOK_HEADER_BYTES, path);
    if (have < 0)
        return -1;
    if (have == 0)
        return fail("%s: empty, but a .tok file was expected", path);
    if (have < TOK_HEADER_BYTES) {
        bool ours = !memcmp(h, "TTT.TOK\1", have < 8 ? (size_t)have : 8);
        return fail(ours ? "%s: cut short inside the header of a .tok file"
                         : "%s: not a .tok file: it does not begin with the magic TTT.TOK",
                    path);
    }
    r->offset = TOK_HEADER_BYTES;
    long bytes = tok_header_bytes(h);
    if (bytes < 0)
        return fail("%s: %s", path, why());
    if (take(r, h + TOK_HEADER_BYTES, (size_t)bytes - TOK_HEADER_BYTES))
        return -1;
    return tok_header_decode(&r->meta, h, (size_t)bytes) ? fail("%s: %s", path, why()) : 0;
}

int tok_reader_open(struct tok_reader *r, const char *path)
{
    bool in = !strcmp(path, "-");
    *r = (struct tok_reader){0};
    struct tok_block_in *b = r->block = calloc(1, sizeof *b);
    if (!b)
        return fail("%s: out of memory", path);
    struct stat st;
    b->path = strdup(in ? "standard input" : path);
    b->hash = XXH3_createState();
    b->fd = in ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (!b->path || !b->hash)
        fail("%s: out of memory", path);
    else if (b->fd < 0 || fstat(b->fd, &st))
        fail("%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        fail("%s: a directory, but a .tok file was expected", path);
    else {
        b->regular = S_ISREG(st.st_mode) && !in;
        r->file_bytes = b->regular ? (uint64_t)st.st_size : 0;
        if (!header_read(r))
            return 0;
    }
    tok_reader_close(r);
    return -1;
}

/* All of the map, in order, for who reads in any order would make the disk seek. */
static int map_read(void *self)
{
    const struct map *m = self;
    if (madvise((void *)m->data, m->bytes, MADV_POPULATE_READ)) {
        static volatile uint8_t touched;
        for (size_t at = 0; at < m->bytes; at += 4096)
            touched = m->data[at];
        (void)touched;
    }
    return 0;
}

static void prove_only(struct tok_reader *r, uint64_t from, uint64_t to)
{
    struct tok_block_in *b = r->block;
    assert(b->seen.blocks == 0);
    b->prove_from = from;
    b->prove_to = to;
    b->partly = b->partial = r->stored_only = true;
}

int tok_reader_map(struct tok_reader *r, uint64_t from, uint64_t to)
{
    struct tok_block_in *b = r->block;
    if (!b->regular)
        return fail("%s: a pipe cannot be mapped", b->path);
    if (map_open(&b->map, b->path))
        return -1;
    if (b->map.bytes < r->offset)
        return fail("%s: it has changed while it was read", b->path);
    prove_only(r, from, to);
    return b->map.bytes < SMALL_BYTES ? map_read(&b->map)
                                      : worker_give(&b->ahead, map_read, &b->map);
}

int tok_reader_skim(struct tok_reader *r, uint64_t from, uint64_t to)
{
    if (!r->block->regular)
        return fail("%s: a pipe cannot be read twice", r->block->path);
    prove_only(r, from, to);
    r->block->skimmed = true;
    return 0;
}

/* ---- one block ---------------------------------------------------------------------------- */

/* Is the block at hand one whose contents are to be proved? */
static bool proved_here(const struct tok_block_in *b)
{
    return !b->partly || (b->seen.blocks >= b->prove_from && b->seen.blocks < b->prove_to);
}

/* So many bytes of the file as they are, in b->payload. */
static int payload_take(struct tok_reader *r, uint64_t bytes)
{
    struct tok_block_in *b = r->block;
    if (b->map.data && bytes <= b->map.bytes - r->offset) {
        b->payload = b->map.data + r->offset;
        r->offset += bytes;
        return 0;
    }
    if (tok_grow(&b->stored, bytes))
        return bad(r);
    b->payload = b->stored.data;
    return take(r, b->stored.data, bytes);
}

/* The lengths of a block's pieces, in b->payload; its ids are left to who comes later. */
static int lengths_read(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    uint64_t end = r->offset + tok_padded(b->frame.stored_bytes);
    if (payload_take(r, 4 * (uint64_t)b->frame.pieces))
        return -1;
    /* Some ahead, so that the next block's lengths need not be waited for; in steps, for the system
       takes no more of one request than its own read-ahead. */
    for (; b->asked < end + AHEAD_BYTES && b->asked < r->file_bytes; b->asked += ADVICE_BYTES)
        posix_fadvise(b->fd, (off_t)b->asked, ADVICE_BYTES, POSIX_FADV_WILLNEED);
    r->offset = end;
    return lseek(b->fd, (off_t)end, SEEK_SET) < 0 ? fail("%s: %s", b->path, strerror(errno)) : 0;
}

/* The payload as it was before deflation, in b->payload. */
static int payload_read(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    const struct tok_frame *f = &b->frame;
    uint64_t stored_bytes = tok_padded(f->stored_bytes);
    if (b->skimmed && !proved_here(b) && !(f->flags & TOK_DEFLATED))
        return lengths_read(r);
    if (payload_take(r, stored_bytes))
        return -1;
    if (proved_here(b) && tok_hash(b->payload, stored_bytes) != f->payload) {
        fail("damaged: the checksum of its %llu bytes does not match",
             (unsigned long long)stored_bytes);
        return bad(r);
    }
    for (uint64_t i = f->stored_bytes; i < stored_bytes; i++)
        if (b->payload[i]) {
            fail("its padding is not zero");
            return bad(r);
        }
    if (!(f->flags & TOK_DEFLATED))
        return 0;
    uint64_t bytes = 4 * (uint64_t)f->pieces + tok_id_bytes(&r->meta) * (uint64_t)f->ids;
    if (tok_grow(&b->raw, bytes))
        return bad(r);
    uLongf got = bytes;
    r->deflated = true;
    int z = uncompress(b->raw.data, &got, b->payload, f->stored_bytes);
    if (z != Z_OK || got != bytes) {
        fail("its deflated bytes do not inflate to %llu", (unsigned long long)bytes);
        return bad(r);
    }
    b->payload = b->raw.data;
    return 0;
}

/* Lengths add up, ids are below the vocabulary; unless stored_only, they are widened to u32. */
static int payload_check(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < b->frame.pieces; i++)
        sum += le32(b->payload + 4 * (size_t)i);
    if (sum != b->frame.ids) {
        fail("its documents have %llu ids, its header says %u", (unsigned long long)sum,
             b->frame.ids);
        return bad(r);
    }
    const uint8_t *from = b->payload + 4 * (size_t)b->frame.pieces;
    size_t n = b->frame.ids, id_bytes = tok_id_bytes(&r->meta);
    if (n && proved_here(b) && ids_most(from, n, id_bytes) >= r->meta.vocab_size) {
        size_t worst = ids_find(from, n, id_bytes, r->meta.vocab_size);
        fail("id %zu of the block is %u, which is not below the vocabulary of %u", worst,
             id_bytes == 2 ? le16(from + 2 * worst) : le32(from + 4 * worst), r->meta.vocab_size);
        return bad(r);
    }
    if (r->stored_only)
        return 0;
    if (tok_grow(&b->ids, 4 * (uint64_t)n))
        return bad(r);
    ids_widen((uint32_t *)b->ids.data, from, n, id_bytes);
    return 0;
}

static int entry_add(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    uint64_t entry[3] = {b->at, b->begun, b->seen.tokens};
    uint64_t used = b->seen.blocks * TOK_ENTRY_BYTES;
    if (b->indexed) {
        if (b->seen.blocks < r->totals.blocks &&
            !memcmp(b->entries.data + used, entry, sizeof entry))
            return 0;
        fail("the index at the end says otherwise about this block");
        return bad(r);
    }
    if (tok_grow(&b->entries, used + TOK_ENTRY_BYTES))
        return bad(r);
    memcpy(b->entries.data + used, entry, sizeof entry);
    return 0;
}

/* The index's payload and the trailer, which must agree with all that was read. */
static int end_read(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    if (b->open && !b->any_open)
        return fail("%s: the last document has no end", b->path);
    uint64_t bytes = b->frame.stored_bytes, index_at;
    if (tok_grow(&b->stored, bytes + 1))
        return bad(r);
    if (take(r, b->stored.data, bytes))
        return -1;
    if (tok_hash(b->stored.data, bytes) != b->frame.payload)
        return fail("%s: the index at byte %llu is damaged: its checksum does not match", b->path,
                    (unsigned long long)b->at);
    if (bytes && memcmp(b->stored.data, b->entries.data, bytes))
        return fail("%s: the index at byte %llu does not describe the blocks before it", b->path,
                    (unsigned long long)b->at);
    uint8_t trailer[TOK_TRAILER_BYTES], more;
    struct tok_totals t;
    if (take(r, trailer, sizeof trailer))
        return -1;
    if (tok_trailer_decode(&t, &index_at, trailer))
        return fail("%s: %s", b->path, why());
    if (t.blocks != b->seen.blocks || t.documents != b->begun || t.tokens != b->seen.tokens ||
        index_at != b->at)
        return fail("%s: the trailer's totals are not those of the blocks", b->path);
    if (!b->partial && !r->unsummed && (t.sum != b->seen.sum || t.chain != b->seen.chain))
        return fail("%s: the documents do not give the hashes in the trailer", b->path);
    long n = read_some(r, &more, 1);
    if (n < 0)
        return -1;
    if (n > 0)
        return fail("%s: bytes follow the trailer at byte %llu: two files joined? .tok files "
                    "cannot be joined by cat",
                    b->path, (unsigned long long)r->offset);
    r->totals = t;
    b->ended = true;
    return worker_wait(&b->ahead);
}

int tok_block_next(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    struct tok_frame *f = &b->frame;
    uint8_t head[TOK_FRAME_BYTES];
    b->at = r->offset;
    if (take(r, head, sizeof head))
        return -1;
    if (tok_frame_decode(f, &r->meta, head))
        return bad(r);
    if (f->sequence != b->seen.blocks || f->documents != b->begun || f->tokens != b->seen.tokens) {
        fail("it is block %llu, after %llu documents and %llu tokens, but %llu and %llu were read: "
             "blocks are missing or out of order",
             (unsigned long long)f->sequence, (unsigned long long)f->documents,
             (unsigned long long)f->tokens, (unsigned long long)b->begun,
             (unsigned long long)b->seen.tokens);
        return bad(r);
    }
    if (f->is_index)
        return end_read(r);
    bool continued = f->flags & TOK_CONTINUED;
    if (!b->any_open && continued != b->open) {
        fail("its first document does not fit the end of the block before");
        return bad(r);
    }
    if (payload_read(r) || payload_check(r) || entry_add(r))
        return -1;
    b->open = continued;
    b->any_open = false;
    b->begun += f->pieces - continued;
    b->seen.blocks++;
    b->seen.tokens += f->ids;
    b->piece = 0;
    b->id = 0;
    return 1;
}

/* ---- documents ---------------------------------------------------------------------------- */

int tok_reader_piece(struct tok_reader *r, struct tok_doc *piece)
{
    struct tok_block_in *b = r->block;
    if (b->ended)
        return 0;
    if (b->piece == b->frame.pieces || b->frame.is_index) {
        int status = tok_block_next(r);
        if (status <= 0)
            return status;
    }
    const struct tok_frame *f = &b->frame;
    bool at_end = b->piece + 1 == f->pieces;
    size_t id_bytes = tok_id_bytes(&r->meta);
    size_t before = 4 * (size_t)f->pieces + id_bytes * b->id;
    const uint8_t *stored = b->skimmed ? NULL : b->payload + before;
    *piece = (struct tok_doc){
        .number = b->begun - (f->pieces - b->piece),
        .ids = r->stored_only ? NULL : (const uint32_t *)b->ids.data + b->id,
        .count = le32(b->payload + 4 * (size_t)b->piece),
        .first = !b->open,
        .last = !(at_end && f->flags & TOK_CONTINUES),
        .stored = stored,
        .at = b->at + TOK_FRAME_BYTES + before,
    };
    if (!b->partial && !r->unsummed) {
        if (piece->first)
            XXH3_64bits_reset(b->hash);
        XXH3_64bits_update(b->hash, stored, id_bytes * piece->count);
        if (piece->last)
            tok_totals_add(&b->seen, XXH3_64bits_digest(b->hash));
    }
    b->open = !piece->last;
    b->id += piece->count;
    b->piece++;
    return 1;
}

int tok_reader_next(struct tok_reader *r, struct tok_doc *doc)
{
    assert(!r->stored_only);
    int status = tok_reader_piece(r, doc);
    if (status <= 0 || (doc->first && doc->last))
        return status;
    struct tok_block_in *b = r->block;
    size_t have = 0;
    for (struct tok_doc piece = *doc;;) {
        if (tok_grow(&b->doc, 4 * ((uint64_t)have + piece.count)))
            return fail("%s: document %llu: %s", b->path, (unsigned long long)doc->number, why());
        if (piece.count)
            memcpy(b->doc.data + 4 * have, piece.ids, 4 * piece.count);
        have += piece.count;
        if (piece.last)
            break;
        status = tok_reader_piece(r, &piece);
        if (status <= 0)
            return status;
    }
    doc->ids = (const uint32_t *)b->doc.data;
    doc->count = have;
    doc->stored = NULL;
    doc->first = doc->last = true;
    return 1;
}
