/* tally.h -- what was read and made, in all and by input: --count, --stats and the record. */
#ifndef TALLY_H
#define TALLY_H

#include "documents.h"
#include "inputs.h"

#include <jansson.h>

struct tally_count {
    uint64_t documents, tokens, text_bytes; /* documents with tokens; text as it was encoded */
    uint64_t left_out, mended;              /* faulty documents */
    double spent_s;
};

struct tally {
    struct tally_count all, *file; /* file: [count], owned; of inputs from `first` on */
    size_t first, count;
    double began_s, noted_s;
};

/* For inputs first to last. -1 when memory is out. */
must_check int tally_open(struct tally *t, size_t first, size_t last);
void tally_close(struct tally *t);

/* The run is done. Time since the last run is shared out by bytes. */
void tally_add(struct tally *t, const struct documents *run);
/* A document was left out, or mended. */
void tally_fault(struct tally *t, const struct document *doc);

/* Counts as JSON, which the caller owns, and back: -1 when they are not. NULL when memory is out.
 */
json_t *tally_save(const struct tally *t);
must_check int tally_load(struct tally *t, const json_t *saved);

/* {"documents", "tokens", "text_bytes", "left_out", "mended", "seconds", "mb_per_s", "files": [the
   same with "file" and "stored_bytes"]} into `to`. -1 when memory is out. */
must_check int tally_report(const struct tally *t, const struct inputs *in, json_t *to);
/* A table on standard output, a line per input and one for all. */
void tally_print(const struct tally *t, const struct inputs *in);

#endif
