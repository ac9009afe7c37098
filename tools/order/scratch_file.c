/* scratch_file.c -- a temporary file without a name. */
#include "scratch_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char advice[] = "--tmp names another folder";

int scratch_file_open(struct scratch_file *f, const char *dir, const char *beside)
{
    const char *slash = strrchr(beside, '/');
    char *name = NULL;
    if (!*dir && getenv("TMPDIR"))
        dir = getenv("TMPDIR");
    if (!*dir && !strcmp(beside, "-"))
        dir = P_tmpdir;
    int n = *dir    ? asprintf(&name, "%s/ttt-scratch-XXXXXX", dir)
            : slash ? asprintf(&name, "%.*s.ttt-scratch-XXXXXX", (int)(slash + 1 - beside), beside)
                    : asprintf(&name, ".ttt-scratch-XXXXXX");
    if (n < 0)
        return fail("out of memory");
    int fd = mkstemp(name), status = 0;
    if (fd < 0)
        status = fail("%s: a temporary file cannot be made: %s; %s", name, strerror(errno), advice);
    else
        unlink(name);
    free(name);
    f->fd = fd + 1;
    f->bytes = 0;
    return status;
}

static void account(struct scratch_file *f, uint64_t bytes)
{
    if (f->held) {
        *f->held += bytes - f->bytes;
        *f->peak = *f->held > *f->peak ? *f->held : *f->peak;
    }
    f->bytes = bytes;
}

void scratch_file_close(struct scratch_file *f)
{
    if (f->fd)
        close(f->fd - 1);
    account(f, 0);
    *f = (struct scratch_file){0};
}

uint64_t scratch_file_claim(struct scratch_file *f, size_t bytes)
{
    uint64_t at = f->bytes;
    account(f, at + bytes);
    return at;
}

int scratch_file_write(const struct scratch_file *f, const void *data, size_t bytes, uint64_t at)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = pwrite(f->fd - 1, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("the temporary file: %s after %llu bytes; %s", strerror(errno),
                        (unsigned long long)at, advice);
        at += (uint64_t)n;
        from += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int scratch_file_add(struct scratch_file *f, const void *data, size_t bytes)
{
    return scratch_file_write(f, data, bytes, scratch_file_claim(f, bytes));
}

/* Both are hints: where the file system does not know them nothing is lost but time. */
void scratch_file_expect(const struct scratch_file *f, uint64_t bytes, uint64_t at)
{
    posix_fadvise(f->fd - 1, (off_t)at, (off_t)bytes, POSIX_FADV_WILLNEED);
}

void scratch_file_forget(const struct scratch_file *f, uint64_t bytes, uint64_t at)
{
    if (bytes)
        fallocate(f->fd - 1, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)bytes);
}

int scratch_file_read(const struct scratch_file *f, void *data, size_t bytes, uint64_t at)
{
    char *to = data;
    while (bytes) {
        ssize_t n = pread(f->fd - 1, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail("the temporary file: %s at byte %llu", n ? strerror(errno) : "it ends",
                        (unsigned long long)at);
        to += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int scratch_file_cut(struct scratch_file *f, uint64_t bytes)
{
    if (ftruncate(f->fd - 1, (off_t)bytes))
        return fail("the temporary file: %s", strerror(errno));
    account(f, bytes);
    return 0;
}
