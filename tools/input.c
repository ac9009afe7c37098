/* input.c -- a file or standard input as one stream of bytes, decompressed by its content. */
#include "input.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 18, HEAD_BYTES = 4096 };

/* ---- the file's own bytes ----------------------------------------------------------------- */

/* Put the next bytes of the file into the block; their number, 0 at the end, -1. */
static long refill(struct input *in)
{
    long n;
    do
        n = read(in->fd, in->block, BLOCK_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EISDIR)
        return fail("%s: is a directory; name the files in it", in->name);
    if (n < 0)
        return fail("%s: %s at byte %" PRIu64, in->name, strerror(errno), in->stored_offset);
    in->at = 0;
    in->held = (size_t)n;
    in->stored_offset += (uint64_t)n;
    return n;
}

/* libarchive asks for the next bytes. */
static la_ssize_t feed(struct archive *a, void *self, const void **data)
{
    struct input *in = self;
    if (in->at == in->held && refill(in) < 0) {
        archive_set_error(a, EIO, "%s", why());
        return -1;
    }
    *data = in->block + in->at;
    size_t n = in->held - in->at;
    in->at = in->held;
    return (la_ssize_t)n;
}

/* ---- decompression ------------------------------------------------------------------------ */

static int archive_trouble(struct input *in)
{
    const char *reason = archive_error_string(in->archive);
    if (archive_errno(in->archive) == EIO && reason)
        return fail("%s", reason);                        /* refill's own sentence */
    int64_t used = archive_filter_bytes(in->archive, -1); /* -1 once a filter has broken down */
    return fail("%s: the compressed data are damaged or cut short near byte %" PRIu64 " (%s)",
                in->name, used < 0 ? in->stored_offset : (uint64_t)used,
                reason ? reason : "no reason given");
}

static int archive_start(struct input *in)
{
    struct archive *a = in->archive = archive_read_new();
    if (!a)
        return fail("%s: out of memory", in->name);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_lz4(a);
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    if (archive_read_open(a, in, NULL, feed, NULL) != ARCHIVE_OK)
        return archive_trouble(in);
    struct archive_entry *entry;
    int got = archive_read_next_header(a, &entry);
    if (got == ARCHIVE_EOF)
        in->ended = true;
    else if (got != ARCHIVE_OK)
        return archive_trouble(in);
    return 0;
}

/* The decompressor has finished: nothing may be left of the file. */
static int archive_finish(struct input *in)
{
    uint64_t used = (uint64_t)archive_filter_bytes(in->archive, -1);
    if (used == in->stored_offset && refill(in) < 0)
        return -1;
    if (used != in->stored_offset)
        return fail("%s: something else follows the compressed data at byte %" PRIu64, in->name,
                    used);
    return 0;
}

static long archive_take(struct input *in, void *data, size_t bytes)
{
    la_ssize_t n = archive_read_data(in->archive, data, bytes);
    if (n < 0)
        return archive_trouble(in);
    return n ? (long)n : archive_finish(in);
}

static long gzip_take(struct input *in, void *data, size_t bytes)
{
    for (;;) {
        if (in->at == in->held) {
            long n = refill(in);
            if (n < 0)
                return -1;
            if (n == 0 && in->gzip.inside)
                return fail("%s: the gzip data are cut short at byte %" PRIu64, in->name,
                            in->stored_offset);
            if (n == 0)
                return 0;
        }
        size_t used = in->held - in->at;
        long made = gunzip_more(&in->gzip, in->block + in->at, &used, data, bytes);
        in->at += used;
        if (made < 0)
            return fail("%s: %s near byte %" PRIu64, in->name, why(),
                        in->stored_offset - (in->held - in->at));
        if (made > 0)
            return made;
    }
}

/* ---- the stream --------------------------------------------------------------------------- */

int input_open(struct input *in, const char *path)
{
    bool from_stdin = !strcmp(path, "-");
    *in = (struct input){.name = from_stdin ? "standard input" : path, .owns_fd = !from_stdin};
    in->fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0) {
        fail("%s: %s", path, strerror(errno));
        *in = (struct input){0};
        return -1;
    }
    in->block = malloc(BLOCK_BYTES);
    in->head = malloc(HEAD_BYTES);
    int status = in->block && in->head ? 0 : fail("%s: out of memory", in->name);
    if (!status)
        status = refill(in) < 0 ? -1 : 0;
    if (!status && in->held >= 2 && in->block[0] == 0x1f && in->block[1] == 0x8b)
        status = gunzip_open(&in->gzip) ? fail("%s: %s", in->name, why()) : 0;
    else if (!status)
        status = archive_start(in);
    if (status)
        input_close(in);
    return status;
}

void input_close(struct input *in)
{
    if (in->archive)
        archive_read_free(in->archive);
    gunzip_close(&in->gzip);
    free(in->block);
    free(in->head);
    if (in->owns_fd)
        close(in->fd);
    *in = (struct input){0};
}

/* Bytes that have not been looked at. */
static long take(struct input *in, void *data, size_t bytes)
{
    if (in->ended)
        return 0;
    long n = in->gzip.z ? gzip_take(in, data, bytes) : archive_take(in, data, bytes);
    in->ended = n <= 0;
    return n;
}

long input_read(struct input *in, void *data, size_t bytes)
{
    long n;
    if (in->head_at < in->head_held) {
        size_t left = in->head_held - in->head_at;
        n = (long)(bytes < left ? bytes : left);
        memcpy(data, in->head + in->head_at, (size_t)n);
        in->head_at += (size_t)n;
    } else
        n = take(in, data, bytes);
    if (n > 0)
        in->offset += (uint64_t)n;
    return n;
}

static long read_for_jsonl(void *in, void *data, size_t bytes)
{
    return input_read(in, data, bytes);
}

struct byte_source input_source(struct input *in)
{
    return (struct byte_source){.read = read_for_jsonl, .from = in};
}

/* ---- what it holds ------------------------------------------------------------------------ */

static bool ends_with(const char *text, size_t bytes, const char *suffix)
{
    size_t n = strlen(suffix);
    return bytes > n && !memcmp(text + bytes - n, suffix, n);
}

int input_guess(struct input *in, enum input_format *format)
{
    static const char *const packed[] = {".gz", ".zst", ".xz", ".bz2", ".lz4"};
    size_t bytes = strlen(in->name);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends_with(in->name, bytes, packed[i])) {
            bytes -= strlen(packed[i]);
            break;
        }
    *format = INPUT_JSONL;
    if (ends_with(in->name, bytes, ".jsonl") || ends_with(in->name, bytes, ".ndjson") ||
        ends_with(in->name, bytes, ".json"))
        return 0;
    if (ends_with(in->name, bytes, ".txt")) {
        *format = INPUT_TEXT;
        return 0;
    }
    while (in->head_held < HEAD_BYTES) {
        long n = take(in, in->head + in->head_held, HEAD_BYTES - in->head_held);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        in->head_held += (size_t)n;
        size_t i = in->head_held >= 3 && !memcmp(in->head, "\xef\xbb\xbf", 3) ? 3 : 0;
        while (i < in->head_held && memchr(" \t\r\n", in->head[i], 4))
            i++;
        if (i < in->head_held && (in->head[i] == '{' || in->head[i] == '['))
            return 0;
        if (i < in->head_held && !(i == 0 && in->head[0] == 0xef && in->head_held < 3))
            break;
    }
    if (in->head_held == 0)
        return 0;
    return fail("%s: neither its name (.jsonl, .txt) nor its first character ({ or [) says what it "
                "is; add --format=jsonl or --format=text",
                in->name);
}
