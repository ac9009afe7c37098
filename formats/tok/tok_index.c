/* tok_index.c -- documents of a .tok file by number: its index, read without the blocks. */
#include "tok.h"
#include "tok_block.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int take_at(const struct tok_reader *r, void *data, uint64_t bytes, uint64_t at)
{
    for (uint64_t have = 0; have < bytes;) {
        ssize_t n = pread(r->block->fd, (char *)data + have, bytes - have, (off_t)(at + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail("%s: byte %llu: %s", r->block->path, (unsigned long long)(at + have),
                        n ? strerror(errno) : "the file ends too early");
        have += (uint64_t)n;
    }
    return 0;
}

int tok_reader_index(struct tok_reader *r)
{
    struct tok_block_in *b = r->block;
    if (b->indexed)
        return 0;
    if (!b->regular)
        return fail("%s: a pipe has no index: give a regular file", b->path);
    uint64_t at, least = TOK_HEADER_BYTES + TOK_FRAME_BYTES + TOK_TRAILER_BYTES;
    uint8_t trailer[TOK_TRAILER_BYTES], head[TOK_FRAME_BYTES];
    struct tok_totals t;
    struct tok_frame f;
    if (r->file_bytes < least)
        return fail("%s: cut short: %llu bytes are no whole .tok file", b->path,
                    (unsigned long long)r->file_bytes);
    if (take_at(r, trailer, sizeof trailer, r->file_bytes - TOK_TRAILER_BYTES))
        return -1;
    if (tok_trailer_decode(&t, &at, trailer))
        return fail("%s: %s; ttt-verify tells where", b->path, why());
    uint64_t room = r->file_bytes - TOK_TRAILER_BYTES - TOK_FRAME_BYTES;
    if (at > room || t.blocks > room / TOK_ENTRY_BYTES || at + t.blocks * TOK_ENTRY_BYTES != room)
        return fail("%s: an index of %llu blocks at byte %llu does not fit %llu bytes", b->path,
                    (unsigned long long)t.blocks, (unsigned long long)at,
                    (unsigned long long)r->file_bytes);
    uint64_t bytes = t.blocks * TOK_ENTRY_BYTES;
    if (take_at(r, head, sizeof head, at))
        return -1;
    if (tok_frame_decode(&f, &r->meta, head) || !f.is_index || f.sequence != t.blocks ||
        f.documents != t.documents || f.tokens != t.tokens)
        return fail("%s: the index at byte %llu is damaged or is not the trailer's", b->path,
                    (unsigned long long)at);
    struct tok_bytes entries = {0};
    if (tok_grow(&entries, bytes + 1))
        return fail("%s: %s", b->path, why());
    int status = take_at(r, entries.data, bytes, at + TOK_FRAME_BYTES);
    if (!status && tok_hash(entries.data, bytes) != f.payload)
        status = fail("%s: the index at byte %llu is damaged: its checksum does not match", b->path,
                      (unsigned long long)at);
    if (!status && b->seen.blocks <= t.blocks) {
        free(b->entries.data);
        b->entries = entries;
        b->indexed = true;
        r->totals = t;
        return 0;
    }
    free(entries.data);
    return status ? status : fail("%s: it has changed while it was read", b->path);
}

int tok_reader_seek(struct tok_reader *r, uint64_t n)
{
    struct tok_block_in *b = r->block;
    if (!b->indexed)
        return fail("%s: tok_reader_seek needs tok_reader_index", b->path);
    if (n >= r->totals.documents)
        return fail("%s: there is no document %llu: documents are 0 to %llu", b->path,
                    (unsigned long long)n, (unsigned long long)r->totals.documents - 1);
    /* The last block before which at most n documents had begun: there n begins. */
    uint64_t low = 0, high = r->totals.blocks;
    while (low + 1 < high) {
        uint64_t mid = low + (high - low) / 2;
        if (le64(b->entries.data + mid * TOK_ENTRY_BYTES + 8) <= n)
            low = mid;
        else
            high = mid;
    }
    const uint8_t *entry = b->entries.data + low * TOK_ENTRY_BYTES;
    r->offset = le64(entry);
    if (r->totals.blocks == 0 || r->offset >= r->file_bytes ||
        lseek(b->fd, (off_t)r->offset, SEEK_SET) < 0)
        return fail("%s: the index has no block for document %llu", b->path, (unsigned long long)n);
    b->seen = (struct tok_totals){.blocks = low, .tokens = le64(entry + 16)};
    b->begun = le64(entry + 8);
    b->any_open = b->partial = true;
    b->ended = false;
    b->piece = b->frame.pieces = 0;
    if (tok_block_next(r) < 0)
        return -1;
    struct tok_doc skipped;
    uint64_t first = b->begun - b->frame.pieces; /* number of the block's first piece */
    if (b->ended || n < first || n - first >= b->frame.pieces || (n == first && b->open))
        return fail("%s: document %llu does not begin where the index says", b->path,
                    (unsigned long long)n);
    while (b->piece < n - first)
        if (tok_reader_piece(r, &skipped) < 0)
            return -1;
    return 0;
}
