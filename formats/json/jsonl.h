/* jsonl.h -- one document's text per JSON record, from a stream of records of any length.

   What is a record: an object at the top level of the stream. Objects stand one a line, several on
   a line or over several lines, between blanks, tabs, CR and LF only; or the whole stream is one
   array of objects. A UTF-8 byte order mark may come first.

   What is its text: the string of the member "text" of the object itself, never of an object inside
   it. Where the first object has no "text", the first member of that object names the member for
   all; or the caller names one. This is what the reference's loader takes.

   Refused, as the reference refuses it: a record without that member, or whose member is not a
   string; the member twice in one record; half of a surrogate pair (\ud800 to \udfff) in the text;
   a raw byte below 0x20 in any string; bad escapes, trailing commas, comments, single quotes, bad
   numbers, anything but blanks between records; a record cut by the end of the stream. Also, a
   record with "text" where the first object had none: the reference fails there as well.

   Read, on purpose, where the reference stops, since the text is not touched: two members of one
   name beside the text; members that change their type, or are missing, from record to record; half
   a surrogate pair or invalid UTF-8 in names and values beside the text; texts that all look like
   dates; a stream without any record (the caller judges that). More than 4096 levels are refused.

   UTF-8 is not judged here: raw text goes out as it stands, for another thread to check. */
#ifndef JSONL_H
#define JSONL_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where bytes come from: up to `bytes` of them into data; 0 is the end, -1 a failure with why(). */
struct byte_source {
    long (*read)(void *from, void *data, size_t bytes);
    void *from;
};

/* Which member holds the text. Zero means undecided: the first object decides. Keep one for
   several files, and the first of them decides for all, as in the reference. */
#define JSONL_PARTS 16

struct jsonl_key {
    char name[1025]; /* UTF-8, NUL-terminated; may hold NULs itself; its parts joined by dots */
    size_t bytes;
    unsigned parts;             /* 1: a member of the record itself; more: of objects inside it */
    size_t at[JSONL_PARTS + 1]; /* part i is name[at[i] .. at[i + 1] - 1) */
    enum { KEY_OPEN, KEY_FOUND, KEY_GIVEN } state;
};

/* The caller's choice: the member's name, or a path of names, "meta.body"; "\\." is a dot in a
   name. -1 when a name is empty, or all are too long or too many. */
must_check int jsonl_key_give(struct jsonl_key *key, const char *path);

/* A place in the stream. Lines count from 1 and end with LF, bytes count from 0. */
struct jsonl_place {
    uint64_t line, offset;
};

/* One record's text, as spelt between its quotes. raw is borrowed until the next call. */
struct jsonl_text {
    const uint8_t *raw; /* [bytes], not NUL-terminated */
    size_t bytes;
    bool escaped;                     /* holds backslashes: jsonl_decode gives the text */
    struct jsonl_place record, place; /* of the record's brace, of raw[0] */
};

/* Why a record was refused: `reason` without file and line, which stand beside it. */
struct jsonl_fault {
    struct jsonl_place record, place;
    char reason[256];
};

/* Where a stream stands between two records. */
struct jsonl_stand {
    struct jsonl_place now; /* of the next byte */
    enum jsonl_shape {
        JSONL_START,       /* nothing read */
        JSONL_FIRST,       /* no record yet, and no bracket */
        JSONL_LINES,       /* objects between blanks */
        JSONL_ARRAY_FIRST, /* behind [ */
        JSONL_ARRAY_NEXT,  /* behind an element */
        JSONL_ARRAY_ITEM,  /* behind a comma */
        JSONL_ARRAY_LOST,  /* behind a line that was skipped */
        JSONL_ARRAY_DONE,  /* behind ] */
    } shape;
    bool skipping; /* the rest of the line belongs to a record that was refused */
};

/* Fields are private but for `stand`, and `most`, which may be set. Memory: twice the longest
   record, or `most`. */
struct jsonl {
    struct byte_source source;
    struct jsonl_key *key; /* borrowed */
    uint8_t *buf;          /* [cap], owned; bytes at..end are read and not consumed */
    size_t at, end, cap;
    size_t most;              /* bytes of the longest record that is read; 0: any */
    struct jsonl_stand stand; /* of buf[at] */
    bool ended;
};

must_check int jsonl_open(struct jsonl *j, struct byte_source source, struct jsonl_key *key);
/* The same where another reader stood: the source's first byte is the one at stand->now. */
must_check int jsonl_resume(struct jsonl *j, struct byte_source source, struct jsonl_key *key,
                            const struct jsonl_stand *stand);
void jsonl_close(struct jsonl *j); /* harmless when closed */

/* The next record. 1: there it is; 0: the end; -1: *fault says what is wrong with a record, and a
   further call goes on behind it; -2: the source failed, why() says how.
   Behind a record that is no JSON the reader goes on at the line after the one it began on, so that
   one bad line costs one record, whatever it leaves open. What is returned does not depend on how
   the source cuts its bytes. */
must_check int jsonl_next(struct jsonl *j, struct jsonl_text *text, struct jsonl_fault *fault);

/* Give back the memory that only a long record has needed. Its text is gone then. */
void jsonl_trim(struct jsonl *j);

/* The first half of a surrogate pair in a text. */
struct jsonl_half {
    size_t at;       /* of its backslash; SIZE_MAX: there is none */
    char spelled[5]; /* its four digits */
};

/* Undo the escapes of a text that jsonl_next returned: out [bytes] receives UTF-8 and the number of
   its bytes is returned, never more than `bytes`. A half surrogate pair becomes U+FFFD, and *half,
   if not NULL, is the first one. out may be raw itself. */
size_t jsonl_decode(uint8_t *out, const uint8_t *raw, size_t bytes, struct jsonl_half *half);

#endif
