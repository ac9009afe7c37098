/* reader.h -- the documents of a portion of the inputs, in order, a run at a time. */
#ifndef READER_H
#define READER_H

#include "documents.h"
#include "input.h"
#include "long_text.h"
#include "portion.h"
#include "prose.h"

enum reader_format { FORMAT_AUTO, FORMAT_JSONL, FORMAT_TEXT };

/* Set by the caller: the first group. The rest is private; zero means closed. */
struct reader {
    const struct inputs *inputs; /* borrowed */
    struct portion portion;
    enum reader_format format;
    bool split;                        /* text files hold several documents */
    const char *parting;               /* as in struct prose, borrowed */
    const struct tokenizer *tokenizer; /* borrowed: long documents are cut by its rules */
    enum special special;
    enum on_error on_error; /* of a long document's text */
    size_t most;            /* bytes of the longest record or document; 0: any */
    size_t most_uncut;      /* and of text without a place to cut; 0: any */
    struct jsonl_key key;   /* decided by the first object of all inputs, unless given */
    bool resumed;           /* `stand` is set: go on there */
    struct stand stand;     /* of the next document */

    struct input input;
    struct jsonl jsonl;
    struct prose prose;
    enum { READS_NOTHING, READS_JSONL, READS_PROSE, READS_TEXT } reads;
    bool begun, open, midway, divided;
    struct long_text rest;    /* of the last document */
    struct document rest_doc; /* what its parts have in common */
    uint8_t *whole;           /* owned: a long text file */
    size_t name;              /* in the run */
    const struct documents *named;
    uint64_t stored_before; /* bytes of the files before this one */
    char failure[1024];     /* why the next fill fails */
};

/* Fill an empty run with documents, a few hundred kilobytes or one that is longer; faulty records
   stand in their place as broken documents. 1, or 0 behind the last, or -1 with why(). */
must_check int reader_fill(struct reader *r, struct documents *run);
void reader_close(struct reader *r); /* harmless when closed */

#endif
