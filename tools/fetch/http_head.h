/* http_head.h -- what the head of an HTTP response says, line by line; nothing in it is trusted. */
#ifndef HTTP_HEAD_H
#define HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero, but for the three that say otherwise, is a head that said nothing: http_head_clear. */
struct http_head {
    int status;          /* 200, 206, 404; 0 before a status line */
    int64_t length;      /* Content-Length; -1: not given */
    bool has_range;      /* Content-Range: bytes from-last/total */
    uint64_t from, last; /* last is inclusive, as on the wire */
    int64_t total;       /* of Content-Range; -1: not given or "*" */
    double retry_after;  /* seconds; -1: not given */
    bool has_crc32c;     /* of the whole object, as stored */
    uint32_t crc32c;
    bool gzip;           /* Content-Encoding, or what the bucket stores */
    char etag[128];      /* "" when there is none or it is longer */
    char modified[40];   /* Last-Modified */
    bool ranges_refused; /* Accept-Ranges: none */
};

void http_head_clear(struct http_head *h);

/* Take one line, with or without its line end. A status line clears what was there, so that only
   the last response of a chain of redirects counts. `now` is the time that a date in Retry-After
   is held against. Lines that make no sense say nothing. */
void http_head_line(struct http_head *h, const char *line, size_t bytes, int64_t now);

/* The CRC32C in base64, big-endian, as Google Cloud Storage writes it; false when it is none. */
bool http_head_crc32c(uint32_t *crc, const char *base64, size_t bytes);

#endif
