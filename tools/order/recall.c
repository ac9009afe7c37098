/* recall.c -- pieces of files in an order of one's own, read from the files a stretch at a time. */
#include "recall.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    STRETCH_BYTES_MAX = 1 << 30,
    ASK_BYTES = 1 << 20, /* a question for so many bytes of a file */
    GONE_SHARE = 64,     /* that so small a part of a file is gone does not matter */
    SORT_COPIES = 2,     /* of a table's entry: qsort has another */
};

bool recall_kept(const char *path, uint64_t bytes)
{
    uint64_t asked = 0, gone = 0;
    struct statfs system;
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool memory = !fstatfs(fd, &system) && system.f_type == TMPFS_MAGIC;
    for (uint64_t at = 0; !memory && at < bytes; at += ASK_BYTES, asked++)
        gone += preadv2(fd, &(struct iovec){&byte, 1}, 1, (off_t)at, RWF_NOWAIT) != 1;
    close(fd);
    return gone <= asked / GONE_SHARE;
}

/* ---- open, close -------------------------------------------------------------------------- */

static int stretch_open(struct recall_stretch *s, size_t room)
{
    s->data = aligned_alloc(4096, room);
    if (!s->data)
        return fail("no memory for %zu bytes", room);
    madvise(s->data, room, MADV_HUGEPAGE); /* as reorder.c */
    return 0;
}

void recall_close(struct recall *r)
{
    worker_close(&r->behind);
    for (size_t i = 0; r->fds && i < r->files; i++)
        if (r->fds[i] >= 0)
            close(r->fds[i]);
    free(r->fds);
    free(r->now.data);
    free(r->coming.data);
    *r = (struct recall){0};
}

static int fill(void *self);

static int open_all(struct recall *r, const char *const *paths)
{
    r->fds = malloc(r->files * sizeof *r->fds);
    if (!r->fds)
        return fail("out of memory");
    memset(r->fds, 0xff, r->files * sizeof *r->fds); /* -1: none */
    for (size_t i = 0; i < r->files; i++) {
        r->fds[i] = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (r->fds[i] < 0)
            return fail("%s: %s", paths[i], strerror(errno));
    }
    if (stretch_open(&r->now, r->room) || stretch_open(&r->coming, r->room))
        return -1;
    r->more = r->next(r->self, &r->piece);
    return worker_give(&r->behind, fill, r);
}

int recall_open(struct recall *r, const char *const *paths, size_t files, size_t memory,
                bool (*next)(void *self, struct recall_piece *piece), void *self)
{
    size_t room = memory / 2 < STRETCH_BYTES_MAX ? memory / 2 : STRETCH_BYTES_MAX;
    *r = (struct recall){.next = next, .self = self, .files = files, .room = room / 4096 * 4096};
    int status = open_all(r, paths);
    if (status)
        recall_close(r);
    return status;
}

/* ---- a stretch ---------------------------------------------------------------------------- */

/* A piece that is to be read, and where in the stretch it belongs. */
struct entry {
    uint64_t at;
    uint32_t file, bytes, to;
};

static int by_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->file != y->file ? (x->file < y->file ? -1 : 1) : (x->at > y->at) - (x->at < y->at);
}

static int read_at(int fd, uint8_t *to, size_t bytes, uint64_t at)
{
    while (bytes) {
        ssize_t n = pread(fd, to, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail("at byte %llu: %s", (unsigned long long)at,
                        n ? strerror(errno) : "the file has become shorter");
        to += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* As many pieces as fit, and then their bytes as the files have them. */
static int fill(void *self)
{
    struct recall *r = self;
    struct recall_stretch *s = &r->coming;
    struct entry *table = (struct entry *)(void *)(s->data + r->room);
    size_t used = 0, n = 0;
    for (; r->more; r->more = r->next(r->self, &r->piece)) {
        if (used + r->piece.bytes + SORT_COPIES * sizeof *table * (n + 1) > r->room)
            break;
        *--table = (struct entry){r->piece.at, r->piece.file, r->piece.bytes, (uint32_t)used};
        used += r->piece.bytes;
        n++;
    }
    assert(n || !r->more);
    s->pieces = n;
    if (n)
        qsort(table, n, sizeof *table, by_place);
    for (size_t i = 0; i < n; i++)
        if (read_at(r->fds[table[i].file], s->data + table[i].to, table[i].bytes, table[i].at))
            return -1;
    return 0;
}

const void *recall_next(struct recall *r, size_t bytes)
{
    if (r->left == 0) {
        if (worker_wait(&r->behind))
            return NULL;
        struct recall_stretch done = r->now;
        r->now = r->coming;
        r->coming = done;
        r->left = r->now.pieces;
        r->at = 0;
        if (r->more && worker_give(&r->behind, fill, r))
            return NULL;
    }
    assert(r->left);
    const uint8_t *piece = r->now.data + r->at;
    r->at += bytes;
    r->left--;
    return piece;
}
