/* tok_block.h -- the frames of a .tok file as bytes; only for tok*.c. */
#ifndef TOK_BLOCK_H
#define TOK_BLOCK_H

#include "tok.h"

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

#endif
