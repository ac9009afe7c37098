/* reader.h -- the documents of a list of inputs, in order, a run at a time. */
#ifndef READER_H
#define READER_H

#include "documents.h"
#include "input.h"

/* Set by the caller: paths, count, format, key. The rest is private. */
struct reader {
    char **paths; /* [count], borrowed; "-" is standard input */
    int count;
    enum { FORMAT_AUTO, FORMAT_JSONL, FORMAT_TEXT } format;
    struct jsonl_key key; /* decided by the first object of all, unless given */

    int next; /* path */
    struct input input;
    struct jsonl jsonl;
    bool open;
    uint64_t stored_before; /* bytes of the files before this one */
    char failure[1024];     /* why the next fill fails */
};

/* Fill an empty run with documents, a few hundred kilobytes or one that is longer; faulty records
   stand in their place as broken documents. 1, or 0 behind the last, or -1 with why(). The names
   of inputs in documents live as long as r->paths. */
must_check int reader_fill(struct reader *r, struct documents *run);
void reader_close(struct reader *r); /* harmless when closed */

#endif
