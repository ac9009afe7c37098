/* harm.h -- every flipped bit and every cut of a small file, shown to its reader. */
#ifndef HARM_H
#define HARM_H

#include "check.h"
#include "err.h"
#include "scratch.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

static inline size_t bytes_of(const char *path)
{
    struct stat st;
    return stat(path, &st) ? 0 : (size_t)st.st_size;
}

static inline char *slurp(const char *path, size_t *bytes)
{
    *bytes = bytes_of(path);
    char *data = malloc(*bytes + 1);
    FILE *f = fopen(path, "rb");
    if (!f || !data || fread(data, 1, *bytes, f) != *bytes || fclose(f)) {
        perror(path);
        exit(1);
    }
    return data;
}

/* judge(path) reads the file: -1 with a sentence naming it is what harm should give. */
typedef int judge(const char *path);

static inline bool refused(judge *j, const char *path, const char *what, size_t at)
{
    int status = j(path);
    if (status == -1 && !strncmp(why(), path, strlen(path)) && why()[strlen(path)] == ':')
        return true;
    fprintf(stderr, "%s at %zu: status %d, \"%s\"\n", what, at, status, status ? why() : "");
    return false;
}

/* Flip every bit below `end`, then cut at every length. */
static inline void harm(judge *j, const char *path, size_t end)
{
    size_t bytes;
    char *good = slurp(path, &bytes), *bad = malloc(bytes);
    int fd = open(path, O_WRONLY), missed = 0;
    for (size_t at = 0; at < (end < bytes ? end : bytes); at++)
        for (int bit = 0; bit < 8; bit++) {
            char c = (char)(good[at] ^ 1 << bit);
            missed += pwrite(fd, &c, 1, (off_t)at) != 1 || !refused(j, path, "flip", at);
            missed += pwrite(fd, good + at, 1, (off_t)at) != 1;
        }
    close(fd);
    memcpy(bad, good, bytes);
    for (size_t n = bytes; n-- > 0;) {
        if (truncate(path, (off_t)n))
            perror(path);
        missed += !refused(j, path, "cut", n);
    }
    CHECK(missed == 0);
    scratch_write(path, good, bytes);
    CHECK(j(path) == 0);
    free(good);
    free(bad);
}

#endif
