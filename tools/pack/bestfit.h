/* bestfit.h -- documents into rows of one length, each whole where it can be.

   A document longer than a row is cut into rows and a rest, or with truncate to one row. Of each
   2^24 ids (a constant, so that rows are a function of the documents and the length alone) the
   pieces go, the longest first and the earlier among equals, to the row with the least room that
   still takes them; what is left of a row is padding. One more id of padding follows the last row:
   a trainer that predicts the next id then uses every row. */
#ifndef BESTFIT_H
#define BESTFIT_H

#include "sink.h"

/* Zero means closed. */
struct bestfit {
    struct sink *to; /* borrowed */
    uint32_t length; /* ids of a row */
    size_t id_bytes;
    uint32_t pad;
    bool truncate;
    uint64_t tokens, padding, dropped, rows; /* read; written beside; cut off */
    /* ---- */
    uint8_t *ids; /* [room] in bytes, owned */
    size_t used, room;
    struct bestfit_piece {
        size_t at;
        uint32_t count;
        uint32_t row;
    } * pieces; /* owned */
    size_t count, piece_room;
    uint64_t of_document; /* ids of the document so far */
};

must_check int bestfit_open(struct bestfit *b, struct sink *to, uint32_t length, size_t id_bytes,
                            uint32_t pad, bool truncate);
void bestfit_close(struct bestfit *b); /* harmless when closed */
must_check int bestfit_put(struct bestfit *b, const void *stored, size_t count, bool first,
                           bool last);
/* The last rows, and the check that tokens in are tokens out less padding. */
must_check int bestfit_end(struct bestfit *b);

#endif
