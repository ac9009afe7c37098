/* fuzz.h -- what libFuzzer's inputs become: a file of these bytes, or edits of a good one.

   `make fuzz` builds with FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION, in which the checksums of .tok
   files and manifests always agree: no fuzzer finds one that does by chance, and what lies under a
   right checksum must be doubted as well. */
#ifndef FUZZ_H
#define FUZZ_H

#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A file in memory that holds these bytes until the next call; its path. */
static inline const char *fuzz_file(const void *data, size_t bytes)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, bytes, 0) != (ssize_t)bytes)
        abort();
    return path;
}

/* `good` with edits, in a buffer until the next call: the input is a list of u16 place, u8 count,
   and so many bytes; a count above 127 cuts the file there. */
static inline const uint8_t *fuzz_edited(const uint8_t *good, size_t *good_bytes,
                                         const uint8_t *data, size_t bytes)
{
    static uint8_t *file;
    size_t n = *good_bytes;
    free(file);
    file = malloc(n + 1);
    memcpy(file, good, n);
    for (size_t at = 0; at + 3 <= bytes;) {
        size_t place = le16(data + at), count = data[at + 2];
        at += 3;
        if (count > 127) {
            *good_bytes = place < *good_bytes ? place : *good_bytes;
            continue;
        }
        for (; count && at < bytes; count--, place++, at++)
            if (place < n)
                file[place] = data[at];
    }
    return file;
}

/* What the input stands for, *n bytes of it: with an 'e' in front edits of `good`, else itself. */
static inline const uint8_t *fuzz_subject(const void *good, size_t good_bytes, const uint8_t *data,
                                          size_t bytes, size_t *n)
{
    *n = bytes;
    if (!bytes || data[0] != 'e')
        return data;
    *n = good_bytes;
    return fuzz_edited(good, n, data + 1, bytes - 1);
}

/* The whole of a file, kept for good. */
static inline uint8_t *fuzz_kept(const char *path, size_t *bytes)
{
    struct map m;
    if (map_open(&m, path))
        abort();
    uint8_t *copy = malloc(m.bytes + 1);
    memcpy(copy, m.data, m.bytes);
    *bytes = m.bytes;
    map_close(&m);
    return copy;
}

#endif
