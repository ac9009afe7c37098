/* tok_block.h -- the frames of a .tok file as bytes; only for tok*.c. */
#ifndef TOK_BLOCK_H
#define TOK_BLOCK_H

#include "tok.h"
#include "worker.h"

#include <xxhash.h>

enum {
    TOK_HEADER_BYTES = 64,
    TOK_FRAME_BYTES = 64, /* of a block, of the index */
    TOK_TRAILER_BYTES = 64,
    TOK_ENTRY_BYTES = 24,
    TOK_BLOCK_IDS = 1 << 19,
    TOK_BLOCK_IDS_MAX = 1 << 22,

    TOK_DEFLATED = 1,
    TOK_CONTINUED = 2,
    TOK_CONTINUES = 4,
};

/* The header of a block, or of the index. */
struct tok_frame {
    bool is_index;
    uint32_t flags;
    uint64_t sequence, documents, tokens;
    uint32_t pieces, ids;
    uint64_t stored_bytes;
    uint64_t payload; /* checksum */
};

/* Payload bytes with their padding. */
static inline uint64_t tok_padded(uint64_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

/* XXH3-64, the checksum of every frame. */
uint64_t tok_hash(const void *data, size_t bytes);

/* The chain of documents' hashes after one more. */
static inline void tok_totals_add(struct tok_totals *t, uint64_t hash)
{
    t->documents++;
    t->sum += hash;
    t->chain = (t->chain + hash) * 6364136223846793005u;
}

/* The header, options and padding, in a new buffer of *bytes that the caller frees. -1 with why()
   when a field of meta has no such value. */
must_check int tok_header_encode(const struct tok_meta *m, uint8_t **data, size_t *bytes);
/* Bytes of the whole header, once its first 64 are there; -1 with why() (no path). */
must_check long tok_header_bytes(const uint8_t first[TOK_HEADER_BYTES]);
must_check int tok_header_decode(struct tok_meta *m, const uint8_t *data, size_t bytes);

void tok_frame_encode(const struct tok_frame *f, uint8_t out[TOK_FRAME_BYTES]);
/* Everything about a frame that can be judged without its neighbours. */
must_check int tok_frame_decode(struct tok_frame *f, const struct tok_meta *m,
                                const uint8_t in[TOK_FRAME_BYTES]);

void tok_trailer_encode(const struct tok_totals *t, uint64_t index_offset,
                        uint8_t out[TOK_TRAILER_BYTES]);
must_check int tok_trailer_decode(struct tok_totals *t, uint64_t *index_offset,
                                  const uint8_t in[TOK_TRAILER_BYTES]);

/* ---- what a reader holds ------------------------------------------------------------------- */

struct tok_bytes {
    uint8_t *data; /* owned */
    size_t room;
};

struct tok_block_in {
    char *path; /* owned */
    int fd;
    bool regular, ended;
    struct map map;                /* the whole file, with tok_reader_map */
    struct worker ahead;           /* reads it in, while its frames are walked */
    bool partly, skimmed;          /* tok_reader_map or _skim; tok_reader_skim */
    uint64_t prove_from, prove_to; /* blocks to be proved then */
    uint64_t asked;                /* bytes of the file that the disk was asked for */
    /* the block being handed out */
    struct tok_frame frame;
    uint64_t at;                       /* its offset in the file */
    struct tok_bytes stored, raw, ids; /* ids: u32, widened */
    const uint8_t *payload;            /* inflated: borrowed from stored or raw */
    uint32_t piece;                    /* next to hand out */
    size_t id;                         /* its first id */
    /* what the blocks before add up to */
    struct tok_totals seen; /* .documents are those ended */
    uint64_t begun;
    bool open, any_open;      /* a document goes on; any_open: after a seek nobody knows */
    bool partial;             /* a seek passed over documents: sum and chain are unknown */
    struct tok_bytes entries; /* the index: as seen, or as read */
    bool indexed;
    XXH3_state_t *hash;   /* owned: of the document going on */
    struct tok_bytes doc; /* a document that spans blocks */
};

/* Make room for so many bytes, keeping what is there. */
must_check int tok_grow(struct tok_bytes *b, uint64_t bytes);
/* Read and prove the next block: 1, it is ready; 0, the end; -1. */
must_check int tok_block_next(struct tok_reader *r);

#endif
