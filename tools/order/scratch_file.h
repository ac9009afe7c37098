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
/* The same in two steps, of which another thread may do the second: room at the end, whose place is
   returned, and the bytes into it. */
uint64_t scratch_file_claim(struct scratch_file *f, size_t bytes);
must_check int scratch_file_write(const struct scratch_file *f, const void *data, size_t bytes,
                                  uint64_t at);
/* These bytes will be read soon. */
void scratch_file_expect(const struct scratch_file *f, uint64_t bytes, uint64_t at);
/* These bytes will not be read again: what the disk has not seen of them it need not write. */
void scratch_file_forget(const struct scratch_file *f, uint64_t bytes, uint64_t at);
must_check int scratch_file_read(const struct scratch_file *f, void *data, size_t bytes,
                                 uint64_t at);
/* Give back what lies from `bytes` on. */
must_check int scratch_file_cut(struct scratch_file *f, uint64_t bytes);

#endif
