/* data.h -- windows of a token array, and batches of them.

   Window i of tokens[n] has the inputs tokens[i*seq .. i*seq+seq-1] and the targets one further on;
   windows share one token, and the tail is never read. A mask is 0 where the target is the
   beginning of a document (id 1) and such targets are masked, else 1. */
#ifndef DATA_H
#define DATA_H

#include "checksum.h"
#include "npy.h"

/* An array of ids cut into windows. Zero means closed. */
struct data {
    struct npy npy;
    char *path; /* owned */
    uint64_t windows;
    int seq, vocab_size;
    bool mask_bos;
};

/* Map path. -1 with why() when it is not a flat array of whole numbers or holds no window. */
must_check int data_open(struct data *d, const char *path, int seq, int vocab_size, bool mask_bos);
/* The same, but a text too short for a window is no failure. */
must_check int data_open_short(struct data *d, const char *path, int seq, int vocab_size,
                               bool mask_bos);
void data_close(struct data *d); /* harmless when closed */

/* Of the whole file where it is small, else of pieces evenly apart, the first and the last among
   them: quick however long the file is, and almost surely another for another text. "" when
   closed. */
struct xxh3 data_sample(const struct data *d);

/* Rows of windows on the host, [rows][seq] each. Zero means closed. */
struct batch {
    int rows, seq;
    int32_t *input, *target; /* owned, as is mask */
    float *mask;
};

size_t batch_bytes(int rows, int seq);
must_check int batch_open(struct batch *b, int rows, int seq);
void batch_close(struct batch *b);

/* Row r becomes window i. -1 with why() naming the place of an id that is not in the vocabulary. */
must_check int data_read(const struct data *d, uint64_t i, struct batch *b, int r);

/* Targets that follow the last window: less than a window has. */
uint64_t data_tail(const struct data *d);

/* Row r becomes the first `count` targets of window i, which may be the tail's, behind them tokens
   of id 0 that do not count; count is at least 0 and the targets exist. */
must_check int data_read_part(const struct data *d, uint64_t i, int count, struct batch *b, int r);

#endif
