/* documents.h -- a run of documents on its way through ttt-tokenize: raw texts in, ids out. */
#ifndef DOCUMENTS_H
#define DOCUMENTS_H

#include "encoder.h"
#include "jsonl.h"

struct document {
    size_t file; /* number of the input in the list */
    size_t name; /* of the stream, in the run's names */
    bool midway; /* lines of places count from the shard's beginning, not the file's */
    struct jsonl_place record; /* of its record; of the text in a plain text file */
    struct jsonl_place place;  /* of its text */
    size_t at, bytes;          /* its raw text in the run's */
    bool escaped;              /* JSON escapes are to be undone */
    bool judged;               /* known to be good, or to be mended: its fault is noted */
    bool continued, continues; /* a part of it came before, another comes after */
    bool broken;               /* no text: its fault says why */
    size_t fault;              /* number + 1 in the run's faults; 0: none */
    size_t ids;                /* how many it became; 0 when it is left out */
    uint64_t text_bytes;       /* of the text as it was encoded */
};

/* Where the reader stands between two documents. */
struct stand {
    size_t file;
    uint64_t stream;       /* number of the stream in the input */
    struct jsonl_stand at; /* in the stream; for text only `now` counts */
};

/* Grows and is used again; all fields are owned. Start from {0}. */
struct documents {
    struct document *docs; /* [count] */
    size_t count, room;
    uint8_t *raw; /* [raw_bytes] */
    size_t raw_bytes, raw_room;
    struct jsonl_fault *faults; /* [fault_count] */
    size_t fault_count, fault_room;
    struct ids ids; /* of all documents in order, back to back */
    char *names;    /* [names_bytes]: of streams, each ended by NUL */
    size_t names_bytes, names_room;
    uint64_t stored_bytes; /* of the inputs' files read up to the last document */
    struct stand after;    /* behind the last document */
    bool inside;           /* in a document of which more parts come: there is no state to save */
    char failure[1024];    /* not "": the work on it failed for all */
};

/* Empty it, and give back memory that a single huge document has taken. */
void documents_clear(struct documents *d);
void documents_free(struct documents *d);

/* Room for `bytes` more raw bytes; where they go, or NULL with why(). */
uint8_t *documents_raw(struct documents *d, size_t bytes);
/* A new document at the end of raw, all else zero; NULL with why(). */
struct document *documents_add(struct documents *d);
/* Keep a stream's name, for the documents that follow; -1 when memory is out. */
must_check int documents_name(struct documents *d, const char *name, size_t *at);
/* The name of a document's stream. */
static inline const char *document_name(const struct documents *d, const struct document *doc)
{
    return d->names + doc->name;
}
/* Note what is wrong with a document. */
must_check int documents_fault(struct documents *d, struct document *doc, struct jsonl_place place,
                               const char *reason);

/* What becomes of a document with a fault. */
enum on_error { ON_ERROR_FAIL, ON_ERROR_SKIP, ON_ERROR_REPLACE };

/* What is wrong with a text: its spelling has the bad byte of that value at `bad` (SIZE_MAX: none),
   and half a surrogate pair. False: nothing; else *at in the spelling, and the reason. */
bool text_faulty(size_t bad, uint8_t value, const struct jsonl_half *half, size_t *at,
                 char reason[80]);
/* The place of text[at], where text[0] stands at `begin`. */
struct jsonl_place text_place(struct jsonl_place begin, const uint8_t *text, size_t at);

/* One per thread. Start from {0} and open the encoder. */
struct scratch {
    struct encoder encoder;
    uint8_t *text; /* owned */
    size_t text_room;
};
void scratch_free(struct scratch *s);

/* Check, decode and encode every document of the run. Text must be UTF-8 without half surrogate
   pairs; a document that is not gets a fault and no ids, or, with ON_ERROR_REPLACE, a fault and
   the ids of the text with U+FFFD for each bad part (the longest prefix of a character, as
   Unicode recommends). */
void documents_encode(struct documents *d, struct scratch *s, struct framing framing,
                      enum on_error on_error);

#endif
