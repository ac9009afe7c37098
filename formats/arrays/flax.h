/* flax.h -- the reference's checkpoint files: a stream of msgpack pairs, a name and an array.

     pair    [key, value]: key is an array of texts, value is binary
     value   msgpack within: extension 1, whose content is
             msgpack within: [[d0, d1, ...], "float32" or another dtype's name, binary: elements]

   Every number in its shortest form. The parts of a key are joined by FLAX_CUT in a tensor's name,
   for they may contain slashes; sorting such names sorts the keys. */
#ifndef FLAX_H
#define FLAX_H

#include "tensors.h"

#define FLAX_CUT "\n"

/* An open file: struct tensor's, of the dtypes F32, BF16 and I32, data in the map, unaligned.
   Zero means closed. */
struct flax {
    struct map map;
    char *path; /* owned, as are the next three */
    int count;
    struct tensor *list; /* [count], in the file's order */
    char *names;         /* the bytes of every name */
    int *by_name;        /* [count] indices, sorted by name */
};

/* Map path and check all of it but the elements: every length against the bytes there are. Two
   arrays of one name are refused, as is an array that flax cut into chunks, above 1 GiB. On failure
   -1 with why() telling the byte, and f is closed. */
must_check int flax_open(struct flax *f, const char *path);
void flax_close(struct flax *f); /* harmless when closed */

/* The array of a name, or NULL. */
const struct tensor *flax_find(const struct flax *f, const char *name);

/* A file being written, array by array. */
struct flax_writer {
    struct writer out;
    uint64_t end; /* bytes when the present array is whole */
};

must_check int flax_create(struct flax_writer *w, const char *path);
/* Begin an array, the one before being whole: name, dtype, dims and shape of t. Its elements follow
   in pieces of any size. */
must_check int flax_begin(struct flax_writer *w, const struct tensor *t);
must_check int flax_put(struct flax_writer *w, const void *data, size_t bytes);
must_check int flax_commit(struct flax_writer *w); /* on failure the part is removed */
void flax_abandon(struct flax_writer *w);          /* harmless when committed */

#endif
