/* foreign.h -- documents of token files that other programs wrote. */
#ifndef FOREIGN_H
#define FOREIGN_H

#include "npy.h"
#include "tok.h"

/* How to read them. */
struct foreign_plan {
    const char *format; /* "npy", "megatron", "nanogpt", "llmc", "datatrove" or "mds" */
    int64_t eod;        /* nanogpt: ends a document; llmc: begins one; -1: npy without .offsets */
    uint32_t vocab_size;
};

/* Zero means closed. */
struct foreign {
    const char *path; /* borrowed */
    uint32_t vocab_size;
    size_t item, id_bytes; /* of an id in the file; as handed out: 2 when vocab_size <= 65536 */
    uint64_t tokens;
    struct npy array; /* npy alone */
    struct map map, index;
    const uint8_t *ids; /* [tokens], borrowed; mds: of the sample at hand */
    enum foreign_ends { ENDS_LISTED, ENDS_BEFORE, ENDS_AFTER, ENDS_MEGATRON, ENDS_MDS } ends;
    const uint8_t *list; /* u64 ends; Megatron: its document table */
    const uint8_t *lengths, *places;
    uint64_t listed, sequences;
    uint32_t eod;
    uint64_t number, at, end; /* of the next piece; where its document ends */
    bool inside;
    uint16_t narrow[8192];
};

/* path: of the .npy, the .bin, the .ds, a shard of mds; Megatron's with or without its suffix.
   Every number of an index is checked before it is used. */
must_check int foreign_open(struct foreign *f, const char *path, const struct foreign_plan *plan);
void foreign_close(struct foreign *f); /* harmless when closed */

/* The next piece: 1, 0 at the end, -1. Only stored is there, borrowed until the next call. */
must_check int foreign_piece(struct foreign *f, struct tok_doc *piece);

#endif
