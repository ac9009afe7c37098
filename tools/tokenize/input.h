/* input.h -- a file or standard input as streams of bytes, decompressed and unpacked by content.

   gzip (of several members), zstd, xz, bzip2 and lz4 are known by their first bytes, whatever the
   file is called. A tar or zip archive, compressed or not, is one stream per file in it, in its
   order, each of which may be compressed itself. Anything else is read as it stands. */
#ifndef INPUT_H
#define INPUT_H

#include "gunzip.h"
#include "jsonl.h"

/* Zero means closed. */
struct input {
    const char *name;       /* of the stream: the path, "standard input", or archive:file */
    uint64_t stored_offset; /* bytes taken from the file so far */
    uint64_t offset;        /* bytes of the stream given out or skipped */
    bool plain;             /* neither compressed nor an archive: input_range works */
    bool packed;            /* an archive */
    /* private */
    const char *path; /* borrowed */
    char *member;     /* owned: name, in an archive */
    int fd;
    bool owns_fd, ended, entered, finished, filtered;
    uint64_t left;           /* bytes of the range still to be read from a plain file */
    struct input *around;    /* borrowed: the archive whose file this decompresses */
    struct input *inner;     /* owned: decompresses the archive's file */
    struct archive *filter;  /* owned: decompresses what gzip does not */
    struct archive *archive; /* owned: takes an archive apart */
    struct gunzip gzip;
    uint8_t *block; /* owned: bytes of the file, from `at` to `held` not yet used */
    size_t at, held;
    uint8_t *made; /* owned: bytes on their way into the archive */
    uint8_t *head; /* owned: bytes of the stream looked at before they were read */
    size_t head_at, head_held;
};

/* Path "-" is standard input. The first stream is open then. Sentences name the file and the byte
   in it. */
must_check int input_open(struct input *in, const char *path);
void input_close(struct input *in); /* harmless when closed */

/* Go on to the next stream, whose `name` lives as long: 1; 0: there is none; -1. Every input has a
   first stream but for an archive without a file. */
must_check int input_next(struct input *in);

/* Of a plain input that nothing was read from: give out only the bytes from `from` to before `to`
   (UINT64_MAX: all). */
must_check int input_range(struct input *in, uint64_t from, uint64_t to);

/* Up to `bytes` bytes; 0 at the end, which is the true one: checksums agree, nothing is cut short
   and nothing follows. -1 with why(). */
must_check long input_read(struct input *in, void *data, size_t bytes);
/* Pass so many bytes, which are there. */
must_check int input_skip(struct input *in, uint64_t bytes);

/* The same as a source for jsonl_open. */
struct byte_source input_source(struct input *in);

enum input_format { INPUT_JSONL, INPUT_TEXT, INPUT_UNKNOWN };

/* What a stream holds: by its name (.jsonl .ndjson .json, .txt; a suffix of compression is passed
   over), else by its first byte that is no blank: { or [ is JSON, an empty input as well. Call it
   before the first input_read. */
must_check int input_guess(struct input *in, enum input_format *format);

/* What a file of that name holds: by its ending, archives (.tar .tgz .zip) count as INPUT_JSONL. */
enum input_format input_name_format(const char *name);

#endif
