/* json_scan.h -- one JSON object in memory: where it ends, and the members a document may come
   from. A part of jsonl.c. Nothing is decoded or copied. */
#ifndef JSON_SCAN_H
#define JSON_SCAN_H

#include "jsonl.h"

enum json_kind {
    JSON_NONE,
    JSON_STRING,
    JSON_NUMBER, /* NaN, Inf and Infinity as well: the reference reads them */
    JSON_BOOL,
    JSON_NULL,
    JSON_OBJECT,
    JSON_ARRAY,
};

/* "a number" and so on. */
const char *json_kind_name(enum json_kind kind);

/* A string's body, as spelt between its quotes. */
struct json_span {
    const uint8_t *raw; /* [bytes], borrowed */
    size_t bytes;
    bool escaped;
};

/* A member of the object itself. Zero means absent. */
struct json_member {
    enum json_kind kind;
    struct json_span name;
    struct json_span value; /* raw points at the value, whatever its kind; the rest is a string's */
    uint64_t line;          /* of the value */
    unsigned times;         /* how often the name was met; the first one is kept */
};

struct json_record {
    const uint8_t *begin, *end; /* the object; after JSON_BAD, end is the place of the fault */
    uint64_t line;              /* of end */
    struct json_member first;   /* the object's first member */
    struct json_member text;    /* the one called "text" */
    struct json_member chosen;  /* the one called as the key says, once it is decided */
    char reason[sizeof((struct jsonl_fault *)0)->reason]; /* after JSON_BAD */
};

enum json_result { JSON_DONE, JSON_MORE, JSON_BAD };

/* Scan the object that begins at data[0] == '{', on `line`. JSON_MORE: it does not end within
   `bytes`, and so far there is nothing wrong with it. */
enum json_result json_record(struct json_record *r, const uint8_t *data, size_t bytes,
                             const struct jsonl_key *key, uint64_t line);

/* The first of `"`, `\` and bytes below 0x20 from p on, or end. */
const uint8_t *json_plain_end(const uint8_t *p, const uint8_t *end);

/* A sentence into buf, every byte that is not printable ASCII shown as '?'. Returns -1. */
int json_say(char *buf, size_t bytes, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* "expected E, found C". Returns -1. */
int json_unexpected(char *buf, size_t bytes, const char *expected, uint8_t found);

#endif
