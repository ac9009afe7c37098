/* journal.h -- which ranges of an object are on disk already, in a file beside the part.

   Text, a line each; every line begins with the CRC32C of the rest of it:

       8 hex digits, blank, "object SIZE RANGE_BYTES SOURCE VERSION"     the first line
       8 hex digits, blank, "range INDEX CRC32C"                        one for each finished range

   SOURCE and VERSION are percent-encoded, so that no blank is in them. Reading stops at the first
   line that is not whole: what follows it was not yet on disk when the machine went down. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One range of the object: range i holds bytes [i * range_bytes, (i + 1) * range_bytes). */
struct range_mark {
    uint32_t crc32c;
    uint8_t state; /* the user's; the journal writes 0 for unknown and 1 for finished */
};

struct journal {
    uint64_t size, range_bytes;
    uint64_t ranges;          /* ceil(size / range_bytes) */
    char *source, *version;   /* owned, decoded */
    struct range_mark *marks; /* [ranges], owned */
    uint64_t finished;        /* of them */
    size_t good_bytes;        /* of the text: all of it, or what is before a damaged line */
};

/* Read a journal from text. -1 with why() when its first line is damaged or tells of something
   that cannot be; then nothing is to be freed. */
must_check int journal_read(struct journal *j, const char *text, size_t bytes);
void journal_free(struct journal *j); /* harmless when zero */

/* The lines to be written, their end included. The first one is the caller's to free, NULL without
   memory; the second goes to `line` (at least 48 bytes); its length is returned. */
char *journal_first(uint64_t size, uint64_t range_bytes, const char *source, const char *version);
size_t journal_line(char *line, uint64_t index, uint32_t crc32c);

/* Percent-encode all but letters, digits and -._~ ; the caller frees it; NULL: no memory. */
char *percent_encode(const char *text);

#endif
