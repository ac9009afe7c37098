/* prose.h -- documents in plain text, parted by blank lines or by a line that says so. */
#ifndef PROSE_H
#define PROSE_H

#include "jsonl.h"

/* Lines end with LF, or CR LF. The line end in front of a parting line belongs to neither document,
   and between two parting lines there is none. Zero means closed; set by the caller: most, lines,
   parting. Memory: twice the longest document, or `most`. */
struct prose {
    size_t most;            /* bytes of the longest document; 0: any */
    const char *parting;    /* the line, borrowed; NULL: lines of blanks, tabs and CR */
    struct jsonl_place now; /* of the next byte */
    /* private */
    struct byte_source source;
    uint8_t *buf; /* owned */
    size_t at, end, cap;
    bool ended;
};

/* `now` says where the source stands; a byte order mark is passed at byte 0. */
must_check int prose_open(struct prose *p, struct byte_source source);
void prose_close(struct prose *p); /* harmless when closed */

/* The next document, which is not empty; text is borrowed until the next call. 1; 0 at the end; -1
   with why(). */
must_check int prose_next(struct prose *p, const uint8_t **text, size_t *bytes,
                          struct jsonl_place *place);

#endif
