/* file.c -- whole files: mapped to read; written beside, synced, renamed into place. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_BYTES = 1 << 20, BEHIND_BYTES = 8 << 20 };

/* ---- reading ------------------------------------------------------------------------------ */

int map_open(struct map *m, const char *path)
{
    *m = (struct map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail("%s: %s", path, strerror(errno));
    struct stat st;
    int status = 0;
    if (fstat(fd, &st))
        status = fail("%s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = fail("%s: not a regular file", path);
    else if (st.st_size == 0)
        m->data = (const uint8_t *)"";
    else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            status = fail("%s: %s", path, strerror(errno));
        else
            *m = (struct map){p, (size_t)st.st_size};
    }
    close(fd);
    return status;
}

void map_close(struct map *m)
{
    if (m->bytes)
        munmap((void *)m->data, m->bytes);
    *m = (struct map){0};
}

long read_full(int fd, void *data, size_t bytes, const char *name)
{
    size_t have = 0;
    while (have < bytes) {
        ssize_t n = read(fd, (char *)data + have, bytes - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("%s: %s", name, strerror(errno));
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (long)have;
}

/* ---- parts that a signal must remove ------------------------------------------------------ */

enum { MAX_PARTS = 64 };
static char *volatile parts[MAX_PARTS];
static pthread_mutex_t parts_lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(char *part)
{
    pthread_mutex_lock(&parts_lock);
    for (int i = 0; i < MAX_PARTS; i++)
        if (!parts[i]) {
            parts[i] = part;
            break;
        }
    pthread_mutex_unlock(&parts_lock);
}

static void forget(const char *part)
{
    pthread_mutex_lock(&parts_lock);
    for (int i = 0; i < MAX_PARTS; i++)
        if (parts[i] == part)
            parts[i] = NULL;
    pthread_mutex_unlock(&parts_lock);
}

static void clean_and_leave(int sig)
{
    for (int i = 0; i < MAX_PARTS; i++)
        if (parts[i])
            unlink(parts[i]);
    raise(sig); /* SA_RESETHAND has put the default back */
}

void writer_clean_on_signals(void)
{
    static const int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction act = {.sa_handler = clean_and_leave,
                            .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
    for (size_t i = 0; i < sizeof sigs / sizeof *sigs; i++) {
        struct sigaction before;
        sigaction(sigs[i], &act, &before);
        if (sigs[i] == SIGHUP && before.sa_handler == SIG_IGN)
            sigaction(SIGHUP, &before, NULL); /* nohup has asked for that */
    }
    signal(SIGXFSZ, SIG_IGN); /* a file size limit then fails a write, which has a sentence */
}

/* ---- writing ------------------------------------------------------------------------------ */

static const char *shown(const struct writer *w)
{
    return strcmp(w->path, "-") ? w->path : "standard output";
}

static void release(struct writer *w)
{
    if (w->part)
        forget(w->part);
    if (w->fd >= 0 && w->fd != STDOUT_FILENO)
        close(w->fd);
    free(w->part);
    free(w->path);
    free(w->buf);
    *w = (struct writer){.fd = -1};
}

/* What needs no part: 1, it is open; 0: a part is needed; -1, and it is closed. */
static int open_direct(struct writer *w, const char *path)
{
    *w = (struct writer){.fd = -1};
    w->path = strdup(path);
    w->buf = malloc(BUFFER_BYTES);
    if (!w->path || !w->buf) {
        release(w);
        return fail("%s: out of memory", path);
    }
    if (!strcmp(path, "-")) {
        w->fd = STDOUT_FILENO;
        return 1;
    }
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
        /* A rename would put a plain file where /dev/null or a pipe was. */
        w->fd = open(path, O_WRONLY | O_CLOEXEC);
        if (w->fd >= 0)
            return 1;
        fail("%s: %s", path, strerror(errno));
        release(w);
        return -1;
    }
    return 0;
}

int writer_open(struct writer *w, const char *path)
{
    int direct = open_direct(w, path);
    if (direct)
        return direct < 0 ? -1 : 0;
    if (asprintf(&w->part, "%s.part.%ld", path, (long)getpid()) < 0) {
        w->part = NULL;
        release(w);
        return fail("%s: out of memory", path);
    }
    remember(w->part);
    w->fd = open(w->part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (w->fd < 0) {
        fail("%s: cannot be created: %s", path, strerror(errno));
        release(w);
        return -1;
    }
    return 0;
}

/* Open and lock the part, and see that it is still the file of that name. 0, -1. */
static int open_locked(struct writer *w)
{
    struct stat held, named;
    for (;;) {
        w->fd = open(w->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (w->fd < 0)
            return fail("%s: cannot be created: %s", w->path, strerror(errno));
        if (flock(w->fd, LOCK_EX | LOCK_NB))
            return errno == EWOULDBLOCK
                       ? fail("%s: another process is writing it: wait until it has ended", w->path)
                       : fail("%s: cannot be locked: %s", w->part, strerror(errno));
        if (fstat(w->fd, &held))
            return fail("%s: %s", w->part, strerror(errno));
        if (!stat(w->part, &named) && held.st_ino == named.st_ino && held.st_dev == named.st_dev)
            return 0;
        close(w->fd); /* it was finished and renamed meanwhile */
    }
}

int writer_resume(struct writer *w, const char *path, uint64_t bytes)
{
    int direct = open_direct(w, path);
    if (direct)
        return direct < 0 ? -1 : 0;
    struct stat st;
    int status;
    if (asprintf(&w->part, "%s.part", path) < 0) {
        w->part = NULL;
        status = fail("%s: out of memory", path);
    } else if (!(status = open_locked(w))) {
        if (fstat(w->fd, &st) || (uint64_t)st.st_size < bytes)
            status = fail("%s: shorter than the %llu bytes that were kept of it", w->part,
                          (unsigned long long)bytes);
        else if (ftruncate(w->fd, (off_t)bytes) || lseek(w->fd, (off_t)bytes, SEEK_SET) < 0)
            status = fail("%s: %s", w->part, strerror(errno));
        w->bytes = w->begun = bytes;
    }
    if (status)
        release(w);
    return status;
}

static int write_full(struct writer *w, const uint8_t *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(w->fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("%s: %s after %llu bytes", shown(w), strerror(errno),
                        (unsigned long long)(w->bytes - w->held));
        data += n;
        bytes -= (size_t)n;
    }
    /* The disk begins at once, so that the sync at the end does not wait for all of it. */
    if (w->part && w->bytes - w->begun >= BEHIND_BYTES) {
        sync_file_range(w->fd, (off_t)w->begun, (off_t)(w->bytes - w->begun),
                        SYNC_FILE_RANGE_WRITE);
        w->begun = w->bytes;
    }
    return 0;
}

static int flush(struct writer *w)
{
    int status = write_full(w, w->buf, w->held);
    w->held = 0;
    return status;
}

int writer_put(struct writer *w, const void *data, size_t bytes)
{
    if (w->held + bytes > BUFFER_BYTES && flush(w))
        return -1;
    w->bytes += bytes;
    if (bytes >= BUFFER_BYTES)
        return write_full(w, data, bytes);
    memcpy(w->buf + w->held, data, bytes);
    w->held += bytes;
    return 0;
}

int writer_patch(struct writer *w, uint64_t offset, const void *data, size_t bytes)
{
    if (!w->part)
        return fail("%s: cannot be rewritten in place; name a file with -o", shown(w));
    if (flush(w))
        return -1;
    if (pwrite(w->fd, data, bytes, (off_t)offset) != (ssize_t)bytes)
        return fail("%s: %s at byte %llu", w->path, strerror(errno), (unsigned long long)offset);
    return 0;
}

int writer_reserve(struct writer *w, uint64_t bytes)
{
    if (!w->part || bytes > INT64_MAX || !fallocate(w->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes))
        return 0;
    if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT)
        return fail("%s: %s: %llu bytes are needed", w->path, strerror(errno),
                    (unsigned long long)bytes);
    return 0;
}

int writer_sync(struct writer *w)
{
    if (flush(w))
        return -1;
    return w->part && fdatasync(w->fd) ? fail("%s: %s", w->part, strerror(errno)) : 0;
}

void writer_pause(struct writer *w)
{
    if (!w->path)
        return;
    release(w);
}

void writer_transient(const struct writer *w)
{
    if (w->part)
        remember(w->part);
}

int writer_open_alone(struct writer *w, const char *path)
{
    if (writer_resume(w, path, 0))
        return -1;
    writer_transient(w);
    return 0;
}

int writer_commit(struct writer *w)
{
    int status = flush(w);
    if (w->part) {
        if (!status && fsync(w->fd))
            status = fail("%s: %s", w->path, strerror(errno));
        /* While its lock is held: another process must not find the part without its owner. */
        if (!status && rename(w->part, w->path))
            status = fail("%s: %s", w->path, strerror(errno));
        if (!status)
            status = sync_parent(w->path);
        else
            unlink(w->part);
    }
    release(w);
    return status;
}

void writer_abandon(struct writer *w)
{
    if (!w->path)
        return;
    if (w->part)
        unlink(w->part);
    release(w);
}

static int write_both(const char *path, const void *data, size_t bytes, const char *end)
{
    struct writer w;
    if (writer_open(&w, path))
        return -1;
    if (!writer_put(&w, data, bytes) && !writer_put(&w, end, strlen(end)))
        return writer_commit(&w);
    writer_abandon(&w);
    return -1;
}

int file_write(const char *path, const void *data, size_t bytes)
{
    return write_both(path, data, bytes, "");
}

int file_write_text(const char *path, const char *text)
{
    return write_both(path, text, strlen(text), "\n");
}

int make_dirs(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return fail("%s: out of memory", path);
    int status = 0;
    for (char *p = copy + 1; !status; p++) {
        char c = *p;
        if (c && c != '/')
            continue;
        *p = 0;
        struct stat st;
        if (mkdir(copy, 0777) && (errno != EEXIST || stat(copy, &st)))
            status = fail("%s: the directory cannot be made: %s", copy, strerror(errno));
        else if (!stat(copy, &st) && !S_ISDIR(st.st_mode))
            status = fail("%s: is not a directory", copy);
        if (!c)
            break;
        *p = '/';
    }
    free(copy);
    return status;
}

int sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = !slash          ? strdup(".")
                : slash == path ? strdup("/")
                                : strndup(path, (size_t)(slash - path));
    if (!dir)
        return fail("%s: out of memory", path);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status =
        fd < 0 || (fsync(fd) && errno != EINVAL) ? fail("%s: %s", dir, strerror(errno)) : 0;
    if (fd >= 0)
        close(fd);
    free(dir);
    return status;
}
