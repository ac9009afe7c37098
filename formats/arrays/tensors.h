/* tensors.h -- safetensors files: named arrays behind a JSON header.

   byte   field
    0     u64: bytes of the header, H
    8     JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...},
          with "__metadata__": {"key": "text"} if there is any; blanks up to a multiple of 8
    8+H   data; offsets count from here, without holes or overlaps

   Little-endian. The format is Hugging Face's. */
#ifndef TENSORS_H
#define TENSORS_H

#include "checksum.h"
#include "file.h"

enum { TENSOR_DIMS = 8 };

enum tensor_dtype {
    TENSOR_BOOL,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_U16,
    TENSOR_I16,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_U32,
    TENSOR_I32,
    TENSOR_F32,
    TENSOR_U64,
    TENSOR_I64,
    TENSOR_F64,
};

struct tensor {
    const char *name;
    enum tensor_dtype dtype;
    int dims;                   /* 0 for a scalar */
    int64_t shape[TENSOR_DIMS]; /* [dims], each not negative */
    size_t count, bytes;        /* the product of shape; times the element's size */
    const void *data;           /* [bytes] in the map; aligned only if the file's writer cared */
};

/* A line of __metadata__. */
struct tensor_note {
    const char *key, *text;
};

/* An open file. Zero means closed. Names, notes and data live until tensors_close. */
struct tensors {
    struct map map;
    int count;
    struct tensor *list; /* [count], in the order of the data */
    int notes;
    struct tensor_note *note; /* [notes] */
    void *header;             /* the parsed JSON, private */
};

/* Map path and check everything its header says, before any of it is used. A header larger than
   100 MB is refused. On failure returns -1 with why(), leaving t closed. */
must_check int tensors_open(struct tensors *t, const char *path);
void tensors_close(struct tensors *t); /* harmless when closed */

/* The tensor called name, or NULL. */
const struct tensor *tensors_find(const struct tensors *t, const char *name);
/* The text of a key of __metadata__, or NULL. */
const char *tensors_note(const struct tensors *t, const char *key);

/* Bytes of one element; the name in the header, "F32". */
size_t tensor_element_bytes(enum tensor_dtype d);
const char *tensor_dtype_name(enum tensor_dtype d);
/* "[2, 3]" into buf (at least 192 bytes); returns buf. */
char *tensor_shape_text(char *buf, size_t bytes, const int64_t *shape, int dims);

/* A file being written: the header first, then the data of every tensor in the order of the list,
   in pieces of any size. The same list gives the same bytes. */
struct tensors_writer {
    struct writer out;
    struct xxh3_stream hash; /* of every byte, header included */
    uint64_t end;            /* bytes the whole file will have */
};

/* list [count]: name, dtype, dims and shape are read, the other members are not. notes may be 0.
   path as for writer_open. */
must_check int tensors_create(struct tensors_writer *w, const char *path, const struct tensor *list,
                              int count, const struct tensor_note *note, int notes);
must_check int tensors_put(struct tensors_writer *w, const void *data, size_t bytes);
/* Sync and rename; refused when data is missing. digest: XXH3-128 of the file, or NULL.
   On failure the part is removed. */
must_check int tensors_commit(struct tensors_writer *w, struct xxh3 *digest);
void tensors_abandon(struct tensors_writer *w); /* harmless when committed */

#endif
