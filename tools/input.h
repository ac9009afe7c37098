/* input.h -- a file or standard input as one stream of bytes, decompressed by its content.

   gzip (of several members), zstd, xz, bzip2 and lz4 are known by their first bytes, whatever the
   file is called; anything else is read as it stands. */
#ifndef INPUT_H
#define INPUT_H

#include "gunzip.h"
#include "jsonl.h"

/* Zero means closed. */
struct input {
    const char *name;       /* the path, or "standard input"; borrowed */
    uint64_t stored_offset; /* bytes taken from the file so far */
    uint64_t offset;        /* decompressed bytes given out */
    /* private */
    int fd;
    bool owns_fd, ended;
    struct archive *archive; /* owned; or gzip: */
    struct gunzip gzip;
    uint8_t *block; /* owned: bytes of the file, from `at` to `held` not yet used */
    size_t at, held;
    uint8_t *head; /* owned: decompressed bytes looked at before they were read */
    size_t head_at, head_held;
};

/* Path "-" is standard input. Sentences name the file and the byte in it. */
must_check int input_open(struct input *in, const char *path);
void input_close(struct input *in); /* harmless when closed */

/* Up to `bytes` decompressed bytes; 0 at the end, which is the true one: checksums agree, nothing
   is cut short and nothing follows. -1 with why(). */
must_check long input_read(struct input *in, void *data, size_t bytes);

/* The same as a source for jsonl_open. */
struct byte_source input_source(struct input *in);

enum input_format { INPUT_JSONL, INPUT_TEXT };

/* What an input holds: by its name (.jsonl .ndjson .json, .txt; a suffix of compression is passed
   over), else by its first byte that is no blank: { or [ is JSON, an empty input as well. Call it
   before the first input_read. -1 when neither tells. */
must_check int input_guess(struct input *in, enum input_format *format);

#endif
