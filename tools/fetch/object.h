/* object.h -- an object to be copied: where it is, which version, where it goes; and a queue. */
#ifndef OBJECT_H
#define OBJECT_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Texts are owned, never NULL in an object that came out of a queue. */
struct object {
    char *source;   /* "gs://bucket/name" or "https://..." */
    char *path;     /* where it is to be written */
    char *version;  /* generation; "etag:..." or "modified:..." of a web server; "" unknown */
    char *updated;  /* "2024-05-01T12:00:00Z", or "" */
    uint64_t base;  /* the first byte wanted */
    uint64_t size;  /* bytes wanted */
    uint64_t total; /* bytes of the whole object, as stored */
    bool sized;     /* false: size and total are unknown */
    bool ranges;    /* the server answers ranges */
    bool has_crc32c;
    bool gzip;       /* stored with Content-Encoding: gzip */
    bool unpack;     /* and is to be unpacked here */
    uint32_t crc32c; /* of the whole object, as stored */
};

void object_free(struct object *o); /* harmless when zero */
/* Whether all of the object is wanted, so that its checksum can be proved. */
bool object_is_whole(const struct object *o);
/* A copy of text for one of the members, or die of lack of memory as any tool does. */
char *object_text(const char *text);

/* Objects waiting, in a nameless file: a listing may be of any length. Zero means closed. */
struct object_queue {
    FILE *file;
    uint64_t count, taken, bytes; /* bytes: the sum of sizes put */
};
must_check int object_put(struct object_queue *q, const struct object *o);
/* 1 with the next one, which is the caller's to free; 0 when there is none; -1 with why(). */
must_check int object_take(struct object_queue *q, struct object *o);
void object_queue_close(struct object_queue *q);

#endif
