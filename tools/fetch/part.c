/* part.c -- an object on its way: NAME.ttt-part, its journal, and how it gets its name. */
#include "part.h"
#include "checksum.h"
#include "file.h"
#include "gunzip.h"
#include "localname.h"
#include "report.h"
#include "there.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20 };

/* ---- names -------------------------------------------------------------------------------- */

static int name_files(struct part *p, const struct object *o)
{
    p->path = localname_beside(o->path, PART_SUFFIX);
    p->journal_path = localname_beside(o->path, JOURNAL_SUFFIX);
    return p->path && p->journal_path ? 0 : fail("out of memory");
}

void part_close(struct part *p)
{
    if (p->path && p->fd >= 0)
        close(p->fd);
    if (p->path && p->journal_fd >= 0)
        close(p->journal_fd);
    free(p->path);
    free(p->journal_path);
    journal_free(&p->journal);
    *p = (struct part){.fd = -1, .journal_fd = -1};
}

void part_remove(struct part *p)
{
    if (p->path) {
        unlink(p->journal_path);
        unlink(p->path);
    }
    part_close(p);
}

/* ---- what is there ------------------------------------------------------------------------ */

/* What makes a part continuable: the same bytes of the same version. */
static char *identity(const struct object *o)
{
    char *text;
    int n = asprintf(&text, "%s crc32c=%08" PRIx32 "%s from=%" PRIu64, o->version, o->crc32c,
                     o->has_crc32c ? "" : "?", o->base);
    return n < 0 ? NULL : text;
}

/* Read the journal beside the part. 0 with p->journal filled when the part can be continued. */
static int read_journal(struct part *p, const struct object *o, bool aloud)
{
    struct map m;
    struct stat st;
    if (stat(p->journal_path, &st) || stat(p->path, &st) || !o->sized)
        return -1;
    if (!*o->version && !o->has_crc32c)
        return -1; /* nothing would tell a mixture of two versions */
    if (map_open(&m, p->journal_path))
        return -1;
    int status = journal_read(&p->journal, (const char *)m.data, m.bytes);
    map_close(&m);
    char *version = identity(o);
    if (status) {
        if (aloud)
            say("%s: %s; starting %s again", p->journal_path, why(), o->source);
    } else if (!version || strcmp(p->journal.source, o->source) ||
               strcmp(p->journal.version, version) || p->journal.size != o->size) {
        if (aloud)
            say("%s: was replaced since this copy began; starting it again", o->source);
        status = -1;
    } else if ((uint64_t)st.st_size != o->size) {
        if (aloud)
            say("%s: is not the file that its journal tells of; starting %s again", p->path,
                o->source);
        status = -1;
    }
    free(version);
    if (status)
        journal_free(&p->journal);
    return status;
}

void part_forget_journal(const struct object *o)
{
    char *journal = localname_beside(o->path, JOURNAL_SUFFIX);
    char *part = localname_beside(o->path, PART_SUFFIX);
    if (journal && part && access(part, F_OK) && errno == ENOENT)
        unlink(journal);
    free(journal);
    free(part);
}

void part_look(const struct object *o, uint64_t *allocated, uint64_t *finished)
{
    struct part p = {.fd = -1, .journal_fd = -1};
    struct stat st;
    *allocated = *finished = 0;
    if (!name_files(&p, o) && !stat(p.path, &st)) {
        *allocated = (uint64_t)st.st_blocks * 512;
        if (!read_journal(&p, o, false))
            for (uint64_t i = 0; i < p.journal.ranges; i++)
                *finished += p.journal.marks[i].state ? part_range_bytes(&p, i) : 0;
    }
    part_close(&p);
}

/* ---- opening ------------------------------------------------------------------------------ */

static int begin_journal(struct part *p, const struct object *o, uint64_t range_bytes)
{
    uint64_t size = o->sized ? o->size : 0;
    if (range_bytes == 0)
        range_bytes = 1;
    p->journal = (struct journal){.size = size, .range_bytes = range_bytes};
    p->journal.ranges = size / range_bytes + (size % range_bytes != 0);
    p->journal.marks = calloc(p->journal.ranges + 1, sizeof *p->journal.marks);
    if (!p->journal.marks)
        return fail("out of memory");
    unlink(p->journal_path);
    if (ftruncate(p->fd, 0))
        return fail("%s: %s", p->path, strerror(errno));
    if (p->journal.ranges < 2)
        return 0;
    char *version = identity(o);
    char *line = version ? journal_first(size, range_bytes, o->source, version) : NULL;
    free(version);
    if (!line)
        return fail("out of memory");
    int status = 0;
    p->journal_fd =
        open(p->journal_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0666);
    if (p->journal_fd < 0 || write(p->journal_fd, line, strlen(line)) != (ssize_t)strlen(line))
        status = fail("%s: %s", p->journal_path, strerror(errno));
    free(line);
    return status;
}

static int continue_journal(struct part *p)
{
    p->journal_fd = open(p->journal_path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (p->journal_fd < 0 || ftruncate(p->journal_fd, (off_t)p->journal.good_bytes))
        return fail("%s: %s", p->journal_path, strerror(errno));
    return 0;
}

static int reserve(struct part *p, uint64_t size)
{
    if (!size || !fallocate(p->fd, 0, 0, (off_t)size))
        return 0;
    if (errno != ENOSPC && errno != EFBIG && errno != EDQUOT && !ftruncate(p->fd, (off_t)size))
        return 0; /* a file system that cannot reserve */
    return fail("%s: %s: it needs %" PRIu64 " bytes", p->path, strerror(errno), size);
}

static int open_files(struct part *p, const struct object *o, uint64_t range_bytes)
{
    struct stat opened, named;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (p->fd < 0)
        return fail("%s: cannot be created: %s", p->path, strerror(errno));
    /* Between open and lock another run may have given the file its name: then it is no part. */
    if ((flock(p->fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) || fstat(p->fd, &opened) ||
        stat(p->path, &named) || opened.st_dev != named.st_dev || opened.st_ino != named.st_ino)
        return fail("%s: another ttt-fetch is writing it; wait for its end, or stop it", p->path);
    bool begin = read_journal(p, o, true) || p->journal.ranges < 2;
    if (begin) {
        journal_free(&p->journal);
        if (begin_journal(p, o, range_bytes))
            return -1;
    } else if (continue_journal(p))
        return -1;
    if (o->sized && reserve(p, o->size))
        return -1;
    for (uint64_t i = 0; i < p->journal.ranges; i++)
        p->resumed_bytes += p->journal.marks[i].state ? part_range_bytes(p, i) : 0;
    return 0;
}

int part_open(struct part *p, const struct object *o, uint64_t range_bytes)
{
    *p = (struct part){.fd = -1, .journal_fd = -1};
    if (!name_files(p, o) && !open_files(p, o, range_bytes))
        return 0;
    part_close(p);
    return -1;
}

uint64_t part_range_bytes(const struct part *p, uint64_t i)
{
    uint64_t left = p->journal.size - i * p->journal.range_bytes;
    return left < p->journal.range_bytes ? left : p->journal.range_bytes;
}

uint32_t part_crc32c(const struct part *p)
{
    uint32_t crc = 0;
    for (uint64_t i = 0; i < p->journal.ranges; i++)
        crc = crc32c_combine(crc, p->journal.marks[i].crc32c, part_range_bytes(p, i));
    return crc;
}

/* ---- behind ------------------------------------------------------------------------------- */

int part_mark(struct part *p, const struct part_mark *marks, size_t count)
{
    char lines[64 * 48];
    size_t n = 0;
    if (fdatasync(p->fd))
        return fail("%s: %s", p->path, strerror(errno));
    for (size_t i = 0; i < count; i++) {
        n += journal_line(lines + n, marks[i].index, marks[i].crc32c);
        if (i + 1 < count && n + 48 <= sizeof lines)
            continue;
        if (write(p->journal_fd, lines, n) != (ssize_t)n)
            return fail("%s: %s", p->journal_path, strerror(errno));
        n = 0;
    }
    if (fdatasync(p->journal_fd))
        return fail("%s: %s", p->journal_path, strerror(errno));
    if (!p->named && sync_parent(p->journal_path))
        return -1;
    p->named = true;
    return 0;
}

/* Read `bytes` of the part at `offset` into the checksum. */
static int hash(const struct part *p, uint8_t *buffer, uint64_t offset, uint64_t bytes,
                const volatile sig_atomic_t *interrupted, uint32_t *crc)
{
    *crc = 0;
    while (bytes) {
        if (*interrupted)
            return fail("interrupted");
        size_t want = bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES;
        ssize_t n = pread(p->fd, buffer, want, (off_t)offset);
        if (n < 0)
            return fail("%s: %s at byte %" PRIu64, p->path, strerror(errno), offset);
        if (n == 0)
            return fail("%s: ends at byte %" PRIu64, p->path, offset);
        *crc = crc32c(*crc, buffer, (size_t)n);
        offset += (uint64_t)n;
        bytes -= (uint64_t)n;
    }
    return 0;
}

int part_prove(struct part *p, const volatile sig_atomic_t *interrupted, uint64_t *damaged)
{
    uint8_t *buffer = malloc(COPY_BYTES);
    int status = buffer ? 0 : fail("out of memory");
    *damaged = 0;
    for (uint64_t i = 0; !status && i < p->journal.ranges; i++) {
        struct range_mark *m = &p->journal.marks[i];
        uint32_t crc;
        if (m->state != RANGE_FINISHED)
            continue;
        status =
            hash(p, buffer, i * p->journal.range_bytes, part_range_bytes(p, i), interrupted, &crc);
        if (!status && crc != m->crc32c) {
            m->state = RANGE_WANTED;
            ++*damaged;
        }
    }
    free(buffer);
    return status;
}

static int unpack_to(struct writer *w, const struct part *p)
{
    struct gunzip g;
    uint8_t *in = malloc(COPY_BYTES), *out = malloc(COPY_BYTES);
    uint64_t offset = 0;
    int status = gunzip_open(&g);
    if (!in || !out)
        status = fail("out of memory");
    ssize_t have = 0;
    while (!status && (have = pread(p->fd, in, COPY_BYTES, (off_t)offset)) > 0) {
        offset += (uint64_t)have;
        for (size_t at = 0; !status;) {
            size_t used = (size_t)have - at;
            long made = gunzip_more(&g, in + at, &used, out, COPY_BYTES);
            at += used;
            if (made < 0)
                status = -1;
            else if (made == 0)
                break;
            else
                status = writer_put(w, out, (size_t)made);
        }
    }
    if (!status && have < 0)
        status = fail("%s", strerror(errno));
    if (!status && g.inside)
        status = fail("the gzip data ends too early");
    gunzip_close(&g);
    free(in);
    free(out);
    return status;
}

static int unpack(const struct part *p, const struct object *o)
{
    struct writer w;
    if (writer_open(&w, o->path))
        return -1;
    if (unpack_to(&w, p)) {
        writer_abandon(&w);
        return fail("%s: cannot be unpacked: %s; without --decompress it is kept as it is stored",
                    o->source, why());
    }
    return writer_commit(&w);
}

static int give_name(struct part *p, const struct object *o)
{
    if (!o->unpack) {
        if (fsync(p->fd))
            return fail("%s: %s", p->path, strerror(errno));
        there_note(p->fd, o);
        return rename(p->path, o->path) ? fail("%s: %s", o->path, strerror(errno)) : 0;
    }
    if (unpack(p, o))
        return -1;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        there_note(fd, o);
        close(fd);
    }
    unlink(p->path);
    return 0;
}

int part_finish(struct part *p, const struct object *o)
{
    /* The journal goes last: until the name is safe it tells what to go on with. */
    if (give_name(p, o) || sync_parent(o->path))
        return -1;
    part_forget_journal(o); /* unless another run has begun a part of its own since the rename */
    return 0;
}
