/* stream.h -- ids to text as they come, never half a character, up to a text that ends it. */
#ifndef STREAM_H
#define STREAM_H

#include "err.h"
#include "flags.h"
#include "tokenizer.h"

#include <stdio.h>

/* Start from {.t = tokenizer, .to = stdout}, or with to NULL to have the text in `text`. The text
   of one document. */
struct stream {
    const struct tokenizer *t; /* borrowed, as is stops */
    FILE *to;
    const struct flag_list *stops; /* set it where the watch begins; NULL: none */
    bool stopped;                  /* one of them has come; it is not part of the text */
    char *text; /* [bytes], owned: with to NULL all, else what may begin a stop */
    size_t bytes, room;
    bool begun;      /* private, as the rest */
    size_t watched;  /* bytes of text before which no stop can begin */
    uint8_t held[4]; /* the first bytes of a character whose rest has not come */
    size_t held_bytes;
};

/* Add what the id adds to the text and flush it; bytes that can no longer become a character are
   U+FFFD. After `stopped` nothing is added. -1 with why() when the stream takes no more. */
must_check int stream_put(struct stream *s, uint32_t id);

/* The id belongs to the text but is not to be seen. */
void stream_skip(struct stream *s, uint32_t id);

/* No more ids: what is held was no character, and no stop. */
must_check int stream_end(struct stream *s);

void stream_close(struct stream *s); /* harmless when closed */

#endif
