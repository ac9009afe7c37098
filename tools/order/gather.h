/* gather.h -- documents of .tok files in another order, straight from the files.

   For blocks that are not deflated. Files that fit in the memory are mapped: nothing is copied. Of
   others, which the system has room to keep, only the lengths are read at first, and each document
   when its place comes near (recall.h). A document costs 16 bytes; of one that blocks cut there are
   several pieces. */
#ifndef GATHER_H
#define GATHER_H

#include "recall.h"
#include "reorder.h"

/* `next` leads to what follows of the same document: its number in `rest`, plus one. */
struct gather_piece {
    union {
        const uint8_t *stored; /* in a map */
        uint64_t from;         /* the file's number, then 48 bits of the place in it */
    };
    uint32_t count, next;
};

/* A place in the new order. */
struct gather_cursor {
    uint64_t place;
    uint32_t next; /* of the document there; 0: its first piece */
};

/* Zero means closed. It stays where it was opened. */
struct gather {
    const struct reorder_plan *plan; /* borrowed */
    struct placing order;
    struct tok_reader *readers;  /* [files], owned */
    struct gather_piece *places; /* [to - from], owned: where each document begins */
    struct gather_piece *rest;   /* [rest_count], owned */
    size_t files, rest_count, rest_room;
    uint64_t before_tokens, head_tokens; /* as reorder has them */
    struct gather_cursor out;            /* what is handed out next */
    bool recalls;                        /* nothing is mapped */
    struct gather_cursor wanted;         /* what it reads next */
    struct recall recall;
};

/* Take the documents of `files` streams, plan->documents in all; their places are plan's. Of every
   stream's blocks part `part` of `parts` is proved; with parts 0 none: whoever takes the documents
   compares their hashes with the streams' sum, and sees that their ids are below the vocabulary.
   `share` programs have plan->memory together, and the same files. 1: all is there; 0: not for such
   files, or not with so little memory; -1. On 0 and -1 g is closed. */
must_check int gather_open(struct gather *g, const struct reorder_plan *plan,
                           const char *const *paths, int files, int part, int parts, int share);
void gather_close(struct gather *g); /* harmless when closed */

/* As reorder_next. */
must_check int gather_next(struct gather *g, struct reorder_piece *piece);

#endif
