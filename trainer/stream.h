/* stream.h -- ids to text on a stream as they come, never half a character. */
#ifndef STREAM_H
#define STREAM_H

#include "err.h"
#include "tokenizer.h"

#include <stdio.h>

/* Start from {.t = tokenizer, .to = stdout}. The text of one document. */
struct stream {
    const struct tokenizer *t; /* borrowed */
    FILE *to;
    bool begun;      /* private, as the rest */
    uint8_t held[4]; /* the first bytes of a character whose rest has not come */
    size_t held_bytes;
};

/* Write what the id adds to the text and flush it; bytes that can no longer become a character
   are written as U+FFFD. -1 with why() when the stream takes no more. */
must_check int stream_put(struct stream *s, uint32_t id);

/* No more ids: what is held was no character. */
must_check int stream_end(struct stream *s);

#endif
