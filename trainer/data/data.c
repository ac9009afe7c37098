/* data.c -- windows of a token array, and batches of them. */
#include "data.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

enum { BOS = 1 };

int data_open_short(struct data *d, const char *path, int seq, int vocab_size, bool mask_bos)
{
    assert(seq > 0 && vocab_size > 0);
    *d = (struct data){.seq = seq, .vocab_size = vocab_size, .mask_bos = mask_bos};
    if (npy_open(&d->npy, path))
        return -1;
    d->path = strdup(path);
    d->windows = d->npy.count ? (d->npy.count - 1) / (uint64_t)seq : 0;
    if (!d->path)
        fail("%s: out of memory", path);
    else if (d->npy.dims != 1 || d->npy.dtype == NPY_F4 || d->npy.dtype == NPY_F8 ||
             d->npy.dtype == NPY_U8)
        fail("%s: %d-dimensional %s; expected a flat array of ids", path, d->npy.dims,
             npy_dtype_name(d->npy.dtype));
    else
        return 0;
    data_close(d);
    return -1;
}

int data_open(struct data *d, const char *path, int seq, int vocab_size, bool mask_bos)
{
    if (data_open_short(d, path, seq, vocab_size, mask_bos))
        return -1;
    if (d->windows)
        return 0;
    fail("%s: %" PRIu64 " tokens are too few for one window of --seq_length=%d, which takes "
         "%d; more text or a shorter --seq_length is needed",
         path, d->npy.count, seq, seq + 1);
    data_close(d);
    return -1;
}

void data_close(struct data *d)
{
    npy_close(&d->npy);
    free(d->path);
    *d = (struct data){0};
}

struct xxh3 data_sample(const struct data *d)
{
    enum { PIECES = 64, PIECE_BYTES = 16 << 10 };
    const struct map *m = &d->npy.map;
    struct xxh3_stream sums;
    if (!m->data)
        return (struct xxh3){""};
    if (m->bytes <= (size_t)PIECES * PIECE_BYTES)
        return xxh3_of(m->data, m->bytes);
    xxh3_begin(&sums);
    for (uint64_t i = 0; i < PIECES; i++)
        xxh3_add(&sums, m->data + (m->bytes - PIECE_BYTES) * i / (PIECES - 1), PIECE_BYTES);
    return xxh3_end(&sums);
}

size_t batch_bytes(int rows, int seq)
{
    const struct batch *b = NULL;
    return (size_t)rows * (size_t)seq * (sizeof *b->input + sizeof *b->target + sizeof *b->mask);
}

int batch_open(struct batch *b, int rows, int seq)
{
    size_t tokens = (size_t)rows * (size_t)seq;
    *b = (struct batch){.rows = rows, .seq = seq};
    b->input = malloc(tokens * sizeof *b->input);
    b->target = malloc(tokens * sizeof *b->target);
    b->mask = malloc(tokens * sizeof *b->mask);
    if (b->input && b->target && b->mask)
        return 0;
    batch_close(b);
    return fail("out of memory: a batch of %d rows of %d tokens", rows, seq);
}

void batch_close(struct batch *b)
{
    free(b->input);
    free(b->target);
    free(b->mask);
    *b = (struct batch){0};
}

uint64_t data_tail(const struct data *d)
{
    return d->npy.count ? d->npy.count - 1 - d->windows * (uint64_t)d->seq : 0;
}

int data_read_part(const struct data *d, uint64_t i, int count, struct batch *b, int r)
{
    assert(b->seq == d->seq && r < b->rows && count <= d->seq);
    uint64_t first = i * (uint64_t)d->seq;
    size_t at = (size_t)r * (size_t)d->seq;
    for (int t = 0; t <= count && count; t++) {
        int64_t id = npy_int(&d->npy, first + (uint64_t)t);
        if (id < 0 || id >= d->vocab_size)
            return fail("%s: token %" PRIu64 " is %" PRId64 ", not below the vocabulary of %d; "
                        "ttt-verify tells whether the file is whole",
                        d->path, first + (uint64_t)t, id, d->vocab_size);
        if (t < count)
            b->input[at + (size_t)t] = (int32_t)id;
        if (t > 0) {
            b->target[at + (size_t)t - 1] = (int32_t)id;
            b->mask[at + (size_t)t - 1] = d->mask_bos && id == BOS ? 0 : 1;
        }
    }
    for (int t = count; t < d->seq; t++) {
        b->input[at + (size_t)t] = b->target[at + (size_t)t] = 0;
        b->mask[at + (size_t)t] = 0;
    }
    return 0;
}

int data_read(const struct data *d, uint64_t i, struct batch *b, int r)
{
    assert(i < d->windows);
    return data_read_part(d, i, d->seq, b, r);
}
