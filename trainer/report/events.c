/* events.c -- TensorBoard's event files: numbers and pictures by step. */
#include "events.h"
#include "checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { START = 1 }; /* SessionLog's status */

/* ---- protocol buffers ----------------------------------------------------------------------- */

static int put(struct events *e, const void *data, size_t bytes)
{
    if (e->room < e->bytes + bytes) {
        size_t room = 2 * (e->bytes + bytes) + 256;
        uint8_t *larger = realloc(e->record, room);
        if (!larger)
            return fail("%s: out of memory", e->path);
        e->record = larger;
        e->room = room;
    }
    memcpy(e->record + e->bytes, data, bytes);
    e->bytes += bytes;
    return 0;
}

static int put_varint(struct events *e, uint64_t value)
{
    uint8_t text[10];
    size_t n = 0;
    for (; value > 0x7F; value >>= 7)
        text[n++] = (uint8_t)(value | 0x80);
    text[n++] = (uint8_t)value;
    return put(e, text, n);
}

static size_t varint_bytes(uint64_t value)
{
    size_t n = 1;
    for (; value > 0x7F; value >>= 7)
        n++;
    return n;
}

enum wire { VARINT, DOUBLE, BYTES, FLOAT = 5 };

static int put_key(struct events *e, unsigned field, enum wire wire)
{
    return put_varint(e, field << 3 | (unsigned)wire);
}

static int put_number(struct events *e, unsigned field, uint64_t value)
{
    return put_key(e, field, VARINT) || put_varint(e, value) ? -1 : 0;
}

/* The head of a field of so many bytes, which follow. */
static int put_head(struct events *e, unsigned field, size_t bytes)
{
    return put_key(e, field, BYTES) || put_varint(e, bytes) ? -1 : 0;
}

static int put_bytes(struct events *e, unsigned field, const void *data, size_t bytes)
{
    return put_head(e, field, bytes) || put(e, data, bytes) ? -1 : 0;
}

/* What a field of so many bytes takes in all; fields are below 16. */
static size_t field_bytes(size_t bytes)
{
    return 1 + varint_bytes(bytes) + bytes;
}

/* ---- records ------------------------------------------------------------------------------ */

static uint32_t masked(const void *data, size_t bytes)
{
    uint32_t crc = crc32c(0, data, bytes);
    return (crc >> 15 | crc << 17) + 0xa282ead8;
}

/* Begin an event: time and step. */
static int begin(struct events *e, int64_t step)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double wall_s = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    e->bytes = 0;
    return put(e, "\0\0\0\0\0\0\0\0\0\0\0\0", 12) || put_key(e, 1, DOUBLE) ||
                   put(e, &wall_s, sizeof wall_s) || put_number(e, 2, (uint64_t)step)
               ? -1
               : 0;
}

/* Write it, whole or not at all. */
static int end(struct events *e)
{
    uint64_t length = e->bytes - 12;
    uint32_t of_length = masked(&length, sizeof length), of_data = masked(e->record + 12, length);
    memcpy(e->record, &length, sizeof length);
    memcpy(e->record + 8, &of_length, sizeof of_length);
    if (put(e, &of_data, sizeof of_data))
        return -1;
    for (size_t done = 0; done < e->bytes;) {
        ssize_t n = write(e->fd, e->record + done, e->bytes - done);
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            fail("%s: %s", e->path, strerror(errno));
            (void)!ftruncate(e->fd, e->good_bytes);
            return -1;
        }
    }
    e->good_bytes += (int64_t)e->bytes;
    return 0;
}

int events_open(struct events *e, const char *dir, int64_t step)
{
    static const char version[] = "brain.Event:2";
    const uint8_t session[] = {1 << 3 | VARINT, START};
    char host[256] = "localhost";
    *e = (struct events){0};
    gethostname(host, sizeof host - 1);
    if (snprintf(e->path, sizeof e->path, "%s/events.out.tfevents.%010lld.%s.%ld", dir,
                 (long long)time(NULL), host, (long)getpid()) >= (int)sizeof e->path)
        return fail("%s: the path is too long", dir);
    e->fd = open(e->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (e->fd < 0)
        return fail("%s: %s", e->path, strerror(errno));
    e->good_bytes = lseek(e->fd, 0, SEEK_END);
    int status =
        begin(e, 0) || put_bytes(e, 3, version, sizeof version - 1) || end(e) ||
        (step > 1 && (begin(e, step) || put_bytes(e, 7, session, sizeof session) || end(e)));
    if (status)
        events_close(e);
    return status ? -1 : 0;
}

void events_close(struct events *e)
{
    if (*e->path && e->fd >= 0)
        close(e->fd);
    free(e->record);
    *e = (struct events){0};
}

int events_put(struct events *e, int64_t step, const char *tag, double value)
{
    float number = (float)value;
    size_t of_tag = strlen(tag), of_value = field_bytes(of_tag) + 1 + sizeof number;
    if (!*e->path)
        return 0;
    return begin(e, step) || put_head(e, 5, field_bytes(of_value)) || put_head(e, 1, of_value) ||
                   put_bytes(e, 1, tag, of_tag) || put_key(e, 2, FLOAT) ||
                   put(e, &number, sizeof number) || end(e)
               ? -1
               : 0;
}

int events_put_picture(struct events *e, int64_t step, const char *tag, const void *png,
                       size_t bytes, int width, int height)
{
    uint64_t w = (uint64_t)width, h = (uint64_t)height;
    size_t of_tag = strlen(tag);
    size_t of_picture = 1 + varint_bytes(h) + 1 + varint_bytes(w) + 2 + field_bytes(bytes);
    size_t of_value = field_bytes(of_tag) + field_bytes(of_picture);
    if (!*e->path)
        return 0;
    return begin(e, step) || put_head(e, 5, field_bytes(of_value)) || put_head(e, 1, of_value) ||
                   put_bytes(e, 1, tag, of_tag) || put_head(e, 4, of_picture) ||
                   put_number(e, 1, h) || put_number(e, 2, w) || put_number(e, 3, 3) ||
                   put_bytes(e, 4, png, bytes) || end(e)
               ? -1
               : 0;
}
