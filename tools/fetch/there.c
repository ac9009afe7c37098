/* there.c -- whether a file here is an object already, and the note that makes the answer quick. */
#include "there.h"
#include "checksum.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char attribute[] = "user.ttt-fetch";
enum { READ_BYTES = 1 << 20, NOTE_BYTES = 512 };

/* The note that the file ought to carry; false when it would be too long. */
static bool note_of(char *note, int fd, const struct object *o)
{
    struct stat st;
    if (fstat(fd, &st))
        return false;
    int n =
        snprintf(note, NOTE_BYTES, "2 %08" PRIx32 " %" PRIu64 "+%" PRIu64 " %s %lld %lld.%09ld %s",
                 o->has_crc32c ? o->crc32c : 0, o->base, o->size, o->unpack ? "unpacked" : "stored",
                 (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                 o->version);
    return n < NOTE_BYTES;
}

void there_note(int fd, const struct object *o)
{
    char note[NOTE_BYTES];
    if (*o->version && note_of(note, fd, o))
        (void)!fsetxattr(fd, attribute, note, strlen(note), 0);
}

static bool has_note(int fd, const struct object *o)
{
    char want[NOTE_BYTES], have[NOTE_BYTES];
    ssize_t n = fgetxattr(fd, attribute, have, sizeof have);
    return n > 0 && *o->version && note_of(want, fd, o) && (size_t)n == strlen(want) &&
           !memcmp(have, want, (size_t)n);
}

static int hash(int fd, const struct object *o, const volatile sig_atomic_t *interrupted,
                uint32_t *crc)
{
    uint8_t *buffer = malloc(READ_BYTES);
    struct progress shown;
    uint64_t done = 0;
    ssize_t n = 0;
    if (!buffer)
        return fail("out of memory");
    *crc = 0;
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    progress_begin(&shown, "read what is here:", "B", o->size);
    while (!*interrupted && (n = read(fd, buffer, READ_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        *crc = crc32c(*crc, buffer, (size_t)n);
        progress_to(&shown, done += (uint64_t)n);
    }
    int error = errno;
    progress_end(&shown);
    free(buffer);
    return *interrupted ? fail("interrupted") : n ? fail("%s: %s", o->path, strerror(error)) : 0;
}

int there_is(const struct object *o, bool rehash, const volatile sig_atomic_t *interrupted)
{
    struct stat st;
    uint32_t crc = 0;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail("%s: %s", o->path, strerror(errno));
    int answer = 0;
    if (fstat(fd, &st))
        answer = fail("%s: %s", o->path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        answer = fail("%s: is a folder here, but an object in the bucket", o->path);
    else if (!S_ISREG(st.st_mode))
        answer = 0;
    else if (!rehash && has_note(fd, o))
        answer = 1;
    else if (o->sized && object_is_whole(o) && !o->unpack && (uint64_t)st.st_size == o->size &&
             o->has_crc32c) {
        answer = hash(fd, o, interrupted, &crc);
        if (!answer) {
            answer = crc == o->crc32c;
            if (answer)
                there_note(fd, o);
        }
    }
    close(fd);
    return answer;
}
