/* tok_repair.h -- what of a damaged .tok file is still good. */
#ifndef TOK_REPAIR_H
#define TOK_REPAIR_H

#include "tok.h"

/* Bytes from .. to-1 hold no good block; `why` says what was found at `from`. */
struct tok_damage {
    uint64_t from, to;
    uint64_t block;     /* good blocks and damages before it: its number where one block is bad */
    uint64_t documents; /* lost with it; those of the end are not known when the index is lost */
    bool counted;
    char why[256];
};

struct tok_repair {
    struct tok_damage *damages; /* [count], owned */
    size_t count;
    uint64_t documents, tokens, blocks; /* good, whole */
    uint64_t lost;                      /* documents, as far as they can be counted */
    bool counted;                       /* all of them could */
};

/* Walk the blocks of a file and, when out is not NULL, write the documents that are whole to it
   as a new .tok file. Blocks are found again after damage by their own checksums. -1 with why()
   when the header is damaged, for nothing can be trusted then, or out cannot be written. The file
   is mapped; memory is a block and the largest document. On success r must be closed. */
must_check int tok_repair(struct tok_repair *r, const char *path, const char *out);
void tok_repair_close(struct tok_repair *r); /* harmless when closed */

#endif
