/* npy.h -- numpy's .npy arrays: mapped to read; one flat array streamed to write. */
#ifndef NPY_H
#define NPY_H

#include "blocks.h"
#include "file.h"

enum npy_dtype { NPY_U1, NPY_I1, NPY_U2, NPY_I4, NPY_U4, NPY_I8, NPY_U8, NPY_F4, NPY_F8 };

enum { NPY_MAX_DIMS = 8, NPY_HEADER_BYTES = 128 };

size_t npy_item_bytes(enum npy_dtype dtype);
/* "uint16", as numpy names it; what manifests say. */
const char *npy_dtype_name(enum npy_dtype dtype);

/* An array of version 1.0 or 2.0, C order, little-endian. Zero means closed. */
struct npy {
    enum npy_dtype dtype;
    int dims;                     /* 0 for a scalar */
    uint64_t shape[NPY_MAX_DIMS]; /* [dims] */
    uint64_t count;               /* product of shape */
    const uint8_t *data; /* [count] items, little-endian, perhaps unaligned: borrowed from map */
    struct map map;      /* owned */
};

/* Check magic, header, dtype and the exact size of the file. Object arrays, big-endian ones and
   Fortran order of two and more dimensions are refused. why() names path and what was expected. */
must_check int npy_open(struct npy *a, const char *path);
void npy_close(struct npy *a); /* harmless when closed */

/* Item i of an integer array. */
static inline int64_t npy_int(const struct npy *a, uint64_t i)
{
    switch (a->dtype) {
    case NPY_U1:
        return a->data[i];
    case NPY_I1:
        return (int8_t)a->data[i];
    case NPY_U2:
        return le16(a->data + 2 * i);
    case NPY_I4:
        return (int32_t)le32(a->data + 4 * i);
    case NPY_U4:
        return le32(a->data + 4 * i);
    default:
        return (int64_t)le64(a->data + 8 * i);
    }
}

/* A flat array, streamed. The header is numpy's own, byte for byte: 128 bytes, the room numpy
   leaves for a growing count included. Give the count when it is known; when it turns out to be
   another, npy_writer_seal patches the header and reads the file once more for its checksums. */
struct npy_writer {
    struct writer file;
    enum npy_dtype dtype;
    uint64_t count;    /* items put so far */
    uint64_t promised; /* in the header */
    bool raw;          /* items alone: a file of another format, with the same sums */
    struct xxh3_stream stream;
    struct blocks blocks; /* of the whole file after seal; owned, until commit or abandon */
    /* of the whole file, header included; after seal */
    uint64_t bytes;
    struct xxh3 xxh3;
    uint32_t crc32c;
};

must_check int npy_writer_open(struct npy_writer *w, const char *path, enum npy_dtype dtype,
                               uint64_t count);
/* The same without a header. */
must_check int npy_writer_open_raw(struct npy_writer *w, const char *path, enum npy_dtype dtype);
/* Items as they are stored. */
must_check int npy_writer_put(struct npy_writer *w, const void *items, size_t count);
/* Ids, narrowed to NPY_U2 or NPY_I4; one that does not fit is refused. */
must_check int npy_writer_put_ids(struct npy_writer *w, const uint32_t *ids, size_t count);
/* Completes header and sums and writes every byte; the file keeps its temporary name. */
must_check int npy_writer_seal(struct npy_writer *w);
/* After seal, when bytes were patched: the sums from the file itself. */
must_check int npy_writer_sum_again(struct npy_writer *w);
must_check int npy_writer_commit(struct npy_writer *w); /* after seal; closes, also on failure */
void npy_writer_abandon(struct npy_writer *w);          /* harmless when closed */

/* The header for a flat array of `count` items. */
void npy_header(uint8_t out[NPY_HEADER_BYTES], enum npy_dtype dtype, uint64_t count);

#endif
