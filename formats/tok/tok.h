/* tok.h -- token documents: a stream of checksummed blocks that can be piped, seekable as a file.

       header | block | block | ... | index | trailer

   header, 64 bytes, then the options text, then zeros to a multiple of 8
     0  magic           "TTT.TOK\1"    the last byte is the version
     8  vocab_size      u32            every id is below this
    12  id_bytes        u8             2 when vocab_size <= 65536, else 4
    13  flags           u8             1: documents begin with bos_id, 2: end with eos_id,
                                       4: "</s>" in a text is text (--special text), not an id
    14  zero            u16
    16  tokenizer       u8[16]         XXH3-128 of the tokenizer's file, canonical (big-endian)
    32  bos_id, eos_id  u32, u32
    40  block_ids       u32            no block holds more ids, nor more pieces
    44  options_bytes   u32            of the options text, at most 4095
    48  zero            u64
    56  checksum        u64            XXH3-64 of the whole header, options and padding, these
                                       eight bytes taken as zero
   block, 64 bytes, then the payload
     0  magic           "TBLK"
     4  flags           u32            1: payload deflated (zlib), 2: the first piece continues the
                                       last one of the block before, 4: the last piece goes on in
                                       the next block
     8  sequence        u64            0, 1, 2, ...
    16  documents       u64            begun before this block
    24  tokens          u64            before this block
    32  pieces          u32            documents, or parts of one, at least 1
    36  ids             u32            in all pieces
    40  stored_bytes    u64            of the payload, before its padding with zeros to 8
    48  payload         u64            XXH3-64 of payload and padding
    56  checksum        u64            XXH3-64 of bytes 0 to 55
     payload, inflated: u32 piece_ids[pieces], then u16 or u32 ids[ids]
   index, the same 64 bytes with magic "TIDX", sequence = blocks, pieces = ids = 0, totals in
     documents and tokens; payload, never deflated: one {u64 offset, documents, tokens} a block,
     the last two as in the block's own header
   trailer, 64 bytes
     0  magic           "TTT.END\1"
     8  blocks, 16 documents, 24 tokens, 32 index_offset    u64
    40  sum             u64            of all documents' hashes: the same for every order
    48  chain           u64            chain = (chain + hash) * 6364136223846793005 for each
    56  checksum        u64            XXH3-64 of bytes 0 to 55
     a document's hash is XXH3-64 of its ids as stored.

   Little-endian. Every byte is under a checksum or has one allowed value, so any flipped bit is
   found; the trailer makes a stream known to be whole. docs/formats.md is the specification. */
#ifndef TOK_H
#define TOK_H

#include "checksum.h"
#include "file.h"

/* What all documents of a stream have in common. */
struct tok_meta {
    uint32_t vocab_size;
    struct xxh3 tokenizer; /* hash of the tokenizer's file */
    bool add_bos, add_eos;
    bool special_text;       /* --special text; else literal, as the reference does */
    uint32_t bos_id, eos_id; /* below vocab_size where add_bos, add_eos */
    uint32_t block_ids;      /* 0 when writing: the usual 524288 */
    char options[4096];      /* a JSON object, "{}" at least: who made this, and how */
};

/* What the trailer says of a whole stream. */
struct tok_totals {
    uint64_t blocks, documents, tokens;
    uint64_t sum, chain;
};

/* Bytes of one id on disk: 2 or 4. */
static inline size_t tok_id_bytes(const struct tok_meta *m)
{
    return m->vocab_size <= 65536 ? 2 : 4;
}

/* Do two streams agree on vocabulary, tokenizer, BOS, EOS and special strings, so that their
   documents may stand in one dataset? -1 with why() naming the first difference, without a path. */
must_check int tok_meta_agree(const struct tok_meta *a, const struct tok_meta *b);

/* ---- writing ------------------------------------------------------------------------------ */

/* Bytes are a pure function of meta, compress and the documents, however they are cut into
   appends. Memory: a few block sizes, and 24 bytes a block for the index. */
struct tok_writer {
    struct tok_meta meta;
    struct tok_totals totals; /* so far; sum and chain after tok_writer_settle */
    struct writer file;
    bool watchful;               /* set it after open: tok_writer_settle tells the largest id */
    struct tok_block_out *block; /* owned; private */
};

/* path "-" is stdout; the file appears under its name on commit. On failure w is closed. */
must_check int tok_writer_open(struct tok_writer *w, const char *path, const struct tok_meta *meta,
                               bool compress);
/* The same under a lock, in PATH.part, which signals remove: a second program that writes the same
   file is refused. */
must_check int tok_writer_open_alone(struct tok_writer *w, const char *path,
                                     const struct tok_meta *meta, bool compress);
/* One whole document; count 0 is a document too. An id >= vocab_size is refused. */
must_check int tok_writer_put(struct tok_writer *w, const uint32_t *ids, size_t count);
/* A document in parts: begin, append as often as needed, end. */
must_check int tok_writer_begin(struct tok_writer *w);
must_check int tok_writer_append(struct tok_writer *w, const uint32_t *ids, size_t count);
/* Ids as they are stored, tok_id_bytes each, which the caller knows to be below vocab_size, or asks
   tok_writer_settle. */
must_check int tok_writer_append_stored(struct tok_writer *w, const void *stored, size_t count);
must_check int tok_writer_end(struct tok_writer *w);
/* That was the last document: totals.sum and .chain are known now, and with `watchful` *most, the
   largest id, 0 without any. Only commit or abandon may follow. */
must_check int tok_writer_settle(struct tok_writer *w, uint32_t *most);
/* Index, trailer, sync, rename. Closes w, also on failure. */
must_check int tok_writer_commit(struct tok_writer *w);
void tok_writer_abandon(struct tok_writer *w); /* harmless when closed or committed */

/* Interrupted and continued. tok_writer_save, between two documents, brings the file to the disk
   and returns in *data (owned by the caller) what a later process needs to go on from here with
   tok_writer_resume, given the same path, meta and compress; with `bytes` 0 that begins anew. The
   bytes of the finished file are the same as without interruption. The part is PATH.part, as
   writer_resume says; tok_writer_pause closes w and keeps it. On failure of resume w is closed. */
must_check int tok_writer_save(struct tok_writer *w, uint8_t **data, size_t *bytes);
must_check int tok_writer_resume(struct tok_writer *w, const char *path,
                                 const struct tok_meta *meta, bool compress, const void *data,
                                 size_t bytes);
void tok_writer_pause(struct tok_writer *w); /* harmless when closed */

/* ---- reading ------------------------------------------------------------------------------ */

struct tok_reader {
    struct tok_meta meta;
    struct tok_totals totals; /* of the whole stream; known at its end, or from tok_reader_index */
    uint64_t offset;          /* bytes read, for progress */
    uint64_t file_bytes;      /* 0 when it is a pipe */
    bool stored_only;         /* set it after open: pieces come without `ids`, which is faster */
    bool unsummed;            /* set it after open: documents are not hashed, and the caller holds
                                 what it makes of them against totals.sum */
    bool deflated;            /* a block was */
    struct tok_block_in *block; /* owned; private */
};

/* A document, or a piece of one. ids are borrowed until the next call on the reader. */
struct tok_doc {
    uint64_t number; /* from 0 */
    const uint32_t *ids;
    size_t count;
    bool first, last; /* piece: it begins, it ends its document */
    const void
        *stored; /* piece: the ids as they are stored, tok_id_bytes each, perhaps unaligned */
    uint64_t at; /* piece: where in the file those begin, unless their block was deflated */
};

/* Read and check the header; path "-" is stdin. On failure r is closed. Sentences name file,
   block and byte offset. Ids are checked to be below vocab_size. */
must_check int tok_reader_open(struct tok_reader *r, const char *path);
void tok_reader_close(struct tok_reader *r); /* harmless when closed */

/* The next whole document. 1: there it is; 0: the end, index, trailer and totals agree with what
   was read and nothing follows; -1. Memory: one block and the largest document. */
must_check int tok_reader_next(struct tok_reader *r, struct tok_doc *doc);
/* The same by pieces, in bounded memory: a piece is what one block holds of a document. */
must_check int tok_reader_piece(struct tok_reader *r, struct tok_doc *piece);

/* Read trailer and index without the blocks: totals are known then, and seek works. -1 with why()
   when path is not a regular file. The position does not change. */
must_check int tok_reader_index(struct tok_reader *r);
/* After open: take the blocks of a regular file from a map of it. All of it has been read in when
   tok_reader_piece says 0, by a thread beside; who takes pieces in any order does so then. `stored`
   then stays until close unless its block was deflated, and stored_only is set. Frames are checked
   as ever, checksums and ids of blocks from .. to-1 alone, and no document's hash: the caller sees
   to the rest. tok_reader_seek does not go with it. */
must_check int tok_reader_map(struct tok_reader *r, uint64_t from, uint64_t to);
/* The same without the ids: pieces have lengths and places, and no `stored`. What is not read is
   asked of the disk, for who reads it in any order then. */
must_check int tok_reader_skim(struct tok_reader *r, uint64_t from, uint64_t to);
/* Let tok_reader_next (or _piece) continue with document n. Needs tok_reader_index. */
must_check int tok_reader_seek(struct tok_reader *r, uint64_t n);

#endif
