/* scratch_file.h -- a temporary file without a name: gone however the program ends. */
#ifndef SCRATCH_FILE_H
#define SCRATCH_FILE_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

/* Zero means closed. */
struct scratch_file {
    int fd; /* plus one */
    uint64_t bytes;
    uint64_t *held, *peak; /* of all scratch files that share them, or NULL: bytes now, at most */
};

/* In `dir`, or when that is "": in $TMPDIR, else beside the path `beside` ("-": in the system's
   folder for temporary files). */
must_check int scratch_file_open(struct scratch_file *f, const char *dir, const char *beside);
void scratch_file_close(struct scratch_file *f); /* harmless when closed */

/* Add bytes at the end. */
must_check int scratch_file_add(struct scratch_file *f, const void *data, size_t bytes);
must_check int scratch_file_read(const struct scratch_file *f, void *data, size_t bytes,
                                 uint64_t at);
/* Give back what lies from `bytes` on. */
must_check int scratch_file_cut(struct scratch_file *f, uint64_t bytes);

#endif
