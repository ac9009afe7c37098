/* there.c -- whether a file here is an object already, and the note that makes the answer quick. */
#include "there.h"
#include "checksum.h"

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
    int n = snprintf(note, NOTE_BYTES, "1 %08" PRIx32 " %" PRIu64 " %lld %lld.%09ld %s",
                     o->has_crc32c ? o->crc32c : 0, o->size, (long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, o->version);
    return n < NOTE_BYTES;
}

void there_note(int fd, const struct object *o)
{
    char note[NOTE_BYTES];
    if (object_is_whole(o) && *o->version && note_of(note, fd, o))
        (void)!fsetxattr(fd, attribute, note, strlen(note), 0);
}

static bool has_note(int fd, const struct object *o)
{
    char want[NOTE_BYTES], have[NOTE_BYTES];
    ssize_t n = fgetxattr(fd, attribute, have, sizeof have);
    return n > 0 && *o->version && note_of(want, fd, o) && (size_t)n == strlen(want) &&
           !memcmp(have, want, (size_t)n);
}

static int hash(int fd, const struct object *o, uint32_t *crc, uint64_t *read_bytes)
{
    uint8_t *buffer = malloc(READ_BYTES);
    ssize_t n = -1;
    *crc = 0;
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (buffer && (n = read(fd, buffer, READ_BYTES)) > 0) {
        *crc = crc32c(*crc, buffer, (size_t)n);
        *read_bytes += (uint64_t)n;
    }
    free(buffer);
    return n == 0 ? 0 : fail("%s: %s", o->path, strerror(errno));
}

int there_is(const struct object *o, bool rehash, uint64_t *read_bytes)
{
    struct stat st;
    uint32_t crc;
    *read_bytes = 0;
    int fd = open(o->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail("%s: %s", o->path, strerror(errno));
    int answer = 0;
    if (fstat(fd, &st))
        answer = fail("%s: %s", o->path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        answer = fail("%s: is a folder here, but an object in the bucket", o->path);
    else if (!S_ISREG(st.st_mode) || !object_is_whole(o))
        answer = 0;
    else if (!rehash && has_note(fd, o))
        answer = 1;
    else if (o->sized && (uint64_t)st.st_size == o->size && o->has_crc32c) {
        answer = hash(fd, o, &crc, read_bytes);
        if (!answer) {
            answer = crc == o->crc32c;
            if (answer)
                there_note(fd, o);
        }
    }
    close(fd);
    return answer;
}
