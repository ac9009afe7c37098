/* recall.h -- pieces of files in an order of one's own, read from the files a stretch at a time.

   While the pieces of one stretch are handed out a thread reads those of the next, as the files
   have them, so that they are passed over once a stretch and nothing seeks back. It pays where the
   system still has the files in memory; each piece costs a call of the system. */
#ifndef RECALL_H
#define RECALL_H

#include "err.h"
#include "worker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECALL_FILES_MAX = 256 }; /* they are all open */

struct recall_piece {
    uint64_t at; /* its first byte in the file */
    uint32_t file, bytes;
};

/* Pieces lie from data on; the table of what is to be read begins at its end. */
struct recall_stretch {
    uint8_t *data; /* [room], owned */
    size_t pieces;
};

/* Zero means closed. */
struct recall {
    bool (*next)(void *self, struct recall_piece *piece); /* what comes next; false: no more */
    void *self;
    int *fds; /* [files], owned */
    size_t files, room;
    struct recall_stretch now, coming;
    struct recall_piece piece; /* the first that is in no stretch */
    bool more;                 /* there is one */
    struct worker behind;      /* fills `coming` */
    size_t left, at;           /* of `now`: pieces not handed out, and their first byte */
};

/* Has the system kept what was read of a file, up to so many bytes? Where it does not tell: no. */
bool recall_kept(const char *path, uint64_t bytes);

/* Two stretches fit in `memory`, which is at least RECALL_PIECES times the largest piece. `next`
   is called from a thread beside. -1: r is closed. */
enum { RECALL_PIECES = 4 };
must_check int recall_open(struct recall *r, const char *const *paths, size_t files, size_t memory,
                           bool (*next)(void *self, struct recall_piece *piece), void *self);
void recall_close(struct recall *r); /* harmless when closed */

/* The next piece, of so many bytes as it has; borrowed until the next call. NULL with why(). */
const void *recall_next(struct recall *r, size_t bytes);

#endif
