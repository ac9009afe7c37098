/* gather.h -- documents of .tok files in another order, straight from a map of the files.

   For files that fit in the memory and whose blocks are not deflated: nothing is copied, a document
   costs 16 bytes. Of a document that blocks cut there are several pieces. */
#ifndef GATHER_H
#define GATHER_H

#include "reorder.h"

/* `next` leads to what follows of the same document: its number in `rest`, plus one. */
struct gather_piece {
    const uint8_t *at;
    uint32_t count, next;
};

/* Zero means closed. */
struct gather {
    const struct reorder_plan *plan; /* borrowed */
    struct placing order;
    struct tok_reader *readers;  /* [files], owned */
    struct gather_piece *places; /* [to - from], owned: where each document begins */
    struct gather_piece *rest;   /* [rest_count], owned */
    size_t files, rest_count, rest_room;
    uint64_t before_tokens, head_tokens; /* as reorder has them */
    uint64_t place;
    uint32_t next; /* of the document being handed out; 0: begin another */
};

/* Take the documents of `files` streams, plan->documents in all; their places are plan's. Of every
   stream's blocks part `part` of `parts` is proved; with parts 0 none: whoever takes the documents
   compares their hashes with the streams' sum, and sees that their ids are below the vocabulary. 1:
   all is there; 0: not for such files, or not with so little memory; -1. On 0 and -1 g is closed.
 */
must_check int gather_open(struct gather *g, const struct reorder_plan *plan,
                           const char *const *paths, int files, int part, int parts);
void gather_close(struct gather *g); /* harmless when closed */

/* As reorder_next, but it cannot fail. */
int gather_next(struct gather *g, struct reorder_piece *piece);

#endif
