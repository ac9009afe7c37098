/* feed.h -- the documents of one or several streams, one after another as if they were one. */
#ifndef FEED_H
#define FEED_H

#include "foreign.h"
#include "tok.h"

#include <xxhash.h>

/* Zero means closed. */
struct feed {
    const char *const *paths; /* [count], borrowed */
    int count, next;          /* the stream to be opened after this one */
    struct foreign_plan plan; /* format NULL: .tok streams */
    struct tok_meta meta;     /* of all of them; the options are the first's */
    bool known;               /* totals are those of the whole, before anything is read */
    struct tok_totals totals; /* sum and chain are those of the streams joined */
    uint64_t bytes;           /* of all files, for progress; 0 when not known */
    /* ---- */
    struct tok_totals before; /* of the streams that are read */
    uint64_t bytes_before;
    struct tok_reader tok;
    struct foreign foreign;
    bool open;
    XXH3_state_t *hash; /* owned: of a foreign document */
};

/* Open all streams once, to see that they belong together and what they hold. "-" is standard
   input, alone. On failure f is closed. */
must_check int feed_open(struct feed *f, const char *const *paths, int count,
                         const struct foreign_plan *plan);
void feed_close(struct feed *f); /* harmless when closed */

/* The next piece, of which only first, last, stored and count count: 1, 0 at the end, -1. */
must_check int feed_piece(struct feed *f, struct tok_doc *piece);
uint64_t feed_offset(const struct feed *f); /* bytes read, for progress */

#endif
