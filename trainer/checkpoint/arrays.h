/* arrays.h -- families of parameter-shaped arrays to a safetensors file and back. */
#ifndef ARRAYS_H
#define ARRAYS_H

#include "checksum.h"
#include "params.h"

/* One array with p's offsets, on the device unless p->on_host; its tensors are called PREFIX + the
 * parameter's. */
struct arrays_family {
    const char *prefix; /* "", "mu/" */
    float *base;
};

/* Write families of p as fp32. digest: XXH3-128 of the file. */
must_check int arrays_save(const char *path, const struct params *p,
                           const struct arrays_family *family, int families, struct xxh3 *digest);

/* Fill families of p. Every tensor of the file must be one of theirs, of its shape and fp32, and
   each of theirs must be there. digest: what the file's hash must be, or NULL. */
must_check int arrays_load(const char *path, const struct params *p,
                           const struct arrays_family *family, int families,
                           const struct xxh3 *digest);

#endif
