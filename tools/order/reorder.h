/* reorder.h -- documents taken in one order and handed out in another, in bounded memory.

   While they fit they stay in memory. Else each goes to a bucket, a run of places of the new order
   that fits in memory, in a temporary file without a name; buckets are then read one by one. When
   the number of documents shows only at the end of a pipe, they wait in another temporary file,
   which is redistributed from its end on and cut as it shrinks. So temporary space is the stored
   ids and up to eight bytes a document. A document larger than a 64th of the memory goes through a
   file for such alone. */
#ifndef REORDER_H
#define REORDER_H

#include "placing.h"
#include "scratch_file.h"
#include "tok.h"
#include "worker.h"

struct reorder_plan {
    enum placing_kind kind;
    uint64_t seed;
    size_t id_bytes;    /* of a stored id: 2 or 4 */
    int64_t memory;     /* bytes that it may hold in all; at least REORDER_LEAST */
    const char *tmp;    /* folder for temporary files, or "" */
    const char *beside; /* see scratch_file.h */
    bool known;         /* documents and tokens are known */
    uint64_t documents, tokens;
    /* With known: only documents with places from .. to-1 are handed out; 0, 0: all. */
    uint64_t from, to;
    uint64_t head; /* head_tokens is of the documents with places below this */
};

enum { REORDER_LEAST = 1 << 20 };

/* A document, or a piece of one, in the new order. */
struct reorder_piece {
    uint64_t place;
    const void *stored; /* [count] ids as the stream stored them, borrowed until the next call */
    size_t count;
    bool first, last;
};

/* A chunk of the waiting file, or a part of a bucket. */
struct reorder_part {
    uint64_t at, bytes;
    uint64_t owner; /* the first document of the chunk; the bucket */
};

struct reorder_parts {
    struct reorder_part *list; /* owned */
    size_t count, room;
};

/* A buffer of a bucket that is full, on its way to the file. */
struct reorder_write {
    const struct scratch_file *to;
    const uint8_t *data;
    size_t bytes;
    uint64_t at;
};

struct reorder_large {
    uint64_t document, place, at, count; /* in the file of large ones */
};

/* Zero means closed. What is below the line is private. */
struct reorder {
    struct reorder_plan plan;
    uint64_t documents, tokens; /* taken so far */
    uint64_t before_tokens;     /* of documents with places before plan.from */
    uint64_t head_tokens;
    uint64_t temporary_bytes; /* the most that lay in temporary files at a time */
    /* ---- */
    uint64_t held_bytes;
    struct placing order;
    struct placing_run run;
    uint8_t *arena; /* [room], owned */
    size_t room, used;
    struct scratch_file waiting, bucketed, large_file;
    struct reorder_parts chunks, parts;
    struct reorder_large *larges; /* [large_count], owned */
    size_t large_count, large_room;
    /* the document that comes in pieces */
    uint8_t *doc; /* [large], owned */
    size_t large, doc_bytes;
    uint64_t doc_ids, doc_place;
    bool in_doc, is_large, unwanted;
    /* buckets of places_each places, from the place plan.from on */
    bool placing; /* the order is known: documents go to buckets */
    uint64_t buckets, places_each;
    size_t slot_bytes, part_bytes;
    uint8_t **buffers; /* [buckets + 1], owned, each [part_bytes] in the arena: the last one is
                          being written, or is none's */
    size_t *filled;    /* [buckets], owned */
    struct reorder_write write;
    struct worker behind; /* writes it while the others are filled */
    /* handing out */
    uint64_t place, loaded_to;
    uint64_t *slots; /* of the loaded places, in the arena */
    size_t part;
    uint64_t large_left, large_at;
};

must_check int reorder_open(struct reorder *o, const struct reorder_plan *plan);
void reorder_close(struct reorder *o); /* harmless when closed */

/* Take the next piece of the next document. */
must_check int reorder_put(struct reorder *o, const void *stored, size_t count, bool last);
/* That was all. */
must_check int reorder_turn(struct reorder *o);
/* The next piece in the new order: 1; 0 at the end; -1. */
must_check int reorder_next(struct reorder *o, struct reorder_piece *piece);

#endif
