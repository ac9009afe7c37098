/* input.c -- a file or standard input as streams of bytes, decompressed and unpacked by content. */
#include "input.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK_BYTES = 1 << 18, HEAD_BYTES = 4096, TAR_BYTES = 512 };

static long unpack(struct input *in, void *data, size_t bytes);
static long stored_take(struct input *in, void *data, size_t bytes);

/* ---- the file's own bytes ----------------------------------------------------------------- */

static long read_fd(struct input *in, void *data, size_t bytes)
{
    long n;
    do
        n = read(in->fd, data, bytes);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EISDIR)
        return fail("%s: is a directory; add -r to take the files in it", in->path);
    if (n < 0)
        return fail("%s: %s at byte %" PRIu64, in->path, strerror(errno), in->stored_offset);
    in->stored_offset += (uint64_t)n;
    return n;
}

/* Put the next bytes of the file into the block; their number, 0 at the end, -1. */
static long refill(struct input *in)
{
    long n = in->around ? unpack(in->around, in->block, BLOCK_BYTES)
                        : read_fd(in, in->block, BLOCK_BYTES);
    if (n < 0)
        return -1;
    in->at = 0;
    in->held = (size_t)n;
    if (in->around)
        in->stored_offset += (uint64_t)n;
    return n;
}

/* Bytes as they are stored, from the block first. */
static long plain_take(struct input *in, void *data, size_t bytes)
{
    if (bytes > in->left)
        bytes = (size_t)in->left;
    if (bytes == 0)
        return 0;
    if (in->at == in->held && (bytes >= BLOCK_BYTES || in->around)) {
        long n = in->around ? unpack(in->around, data, bytes) : read_fd(in, data, bytes);
        in->left -= n > 0 ? (uint64_t)n : 0;
        return n;
    }
    if (in->at == in->held) {
        long n = refill(in);
        if (n <= 0)
            return n;
    }
    size_t n = in->held - in->at < bytes ? in->held - in->at : bytes;
    memcpy(data, in->block + in->at, n);
    in->at += n;
    in->left -= n;
    return (long)n;
}

/* ---- gzip --------------------------------------------------------------------------------- */

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

/* ---- libarchive: other compressions, and archives ------------------------------------------- */

static la_ssize_t told(struct archive *a, long n)
{
    if (n < 0)
        archive_set_error(a, EIO, "%s", why());
    return (la_ssize_t)n;
}

/* The filter asks for the next bytes of the file. */
static la_ssize_t feed_filter(struct archive *a, void *self, const void **data)
{
    struct input *in = self;
    long n = in->at < in->held ? (long)(in->held - in->at) : refill(in);
    *data = in->block + in->at;
    in->at = in->held;
    return told(a, n);
}

/* The archive asks for the next decompressed bytes; what was looked at comes first. */
static la_ssize_t feed_archive(struct archive *a, void *self, const void **data)
{
    struct input *in = self;
    size_t left = in->head_held - in->head_at;
    *data = left ? in->head + in->head_at : in->made;
    in->head_at = in->head_held;
    return told(a, left ? (long)left : stored_take(in, in->made, BLOCK_BYTES));
}

static int trouble(const struct input *in, struct archive *a, const char *what)
{
    const char *reason = archive_error_string(a);
    if (archive_errno(a) == EIO && reason)
        return fail("%s", reason); /* our own sentence */
    int64_t used = a == in->filter ? archive_filter_bytes(a, -1) : -1;
    return fail("%s: the %s damaged or cut short near byte %" PRIu64 " (%s)", in->name, what,
                used < 0 ? in->stored_offset : (uint64_t)used, /* -1 once a filter broke down */
                reason ? reason : "no reason given");
}

static int filter_trouble(const struct input *in)
{
    return trouble(in, in->filter, "compressed data are");
}

/* Only the raw format: others would read ahead and lose the filter's errors. */
static int filter_start(struct input *in)
{
    struct archive *a = in->filter = archive_read_new();
    struct archive_entry *raw;
    if (!a)
        return fail("%s: out of memory", in->name);
    archive_read_support_filter_zstd(a);
    archive_read_support_filter_xz(a);
    archive_read_support_filter_bzip2(a);
    archive_read_support_filter_lz4(a);
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    if (archive_read_open(a, in, NULL, feed_filter, NULL) != ARCHIVE_OK)
        return filter_trouble(in);
    int got = archive_read_next_header(a, &raw);
    in->filtered = got == ARCHIVE_EOF;
    return got == ARCHIVE_EOF || got == ARCHIVE_OK ? 0 : filter_trouble(in);
}

static long filter_take(struct input *in, void *data, size_t bytes)
{
    if (in->filtered)
        return 0;
    la_ssize_t n = archive_read_data(in->filter, data, bytes);
    if (n < 0)
        return filter_trouble(in);
    if (n > 0)
        return (long)n;
    /* The decompressor has finished: nothing may be left of the file. */
    in->filtered = true;
    uint64_t used = (uint64_t)archive_filter_bytes(in->filter, -1);
    if (used == in->stored_offset && refill(in) < 0)
        return -1;
    if (used != in->stored_offset)
        return fail("%s: something else follows the compressed data at byte %" PRIu64, in->name,
                    used);
    return 0;
}

/* Decompressed bytes of the file. */
static long stored_take(struct input *in, void *data, size_t bytes)
{
    return in->filter   ? filter_take(in, data, bytes)
           : in->gzip.z ? gzip_take(in, data, bytes)
                        : plain_take(in, data, bytes);
}

static int archive_trouble(const struct input *in)
{
    return trouble(in, in->archive, "archive is");
}

static int archive_start(struct input *in)
{
    struct archive *a = in->archive = archive_read_new();
    in->made = malloc(BLOCK_BYTES);
    if (!a || !in->made)
        return fail("%s: out of memory", in->name);
    archive_read_support_format_tar(a);
    archive_read_support_format_zip_streamable(a);
    return archive_read_open(a, in, NULL, feed_archive, NULL) == ARCHIVE_OK ? 0
                                                                            : archive_trouble(in);
}

/* Bytes of the archive's file as they are stored in it. */
static long unpack(struct input *in, void *data, size_t bytes)
{
    la_ssize_t n = archive_read_data(in->archive, data, bytes);
    return n < 0 ? archive_trouble(in) : (long)n;
}

/* ---- what it is --------------------------------------------------------------------------- */

/* A tar header carries the sum of its bytes. */
static bool is_tar(const uint8_t *p, size_t bytes)
{
    if (bytes < TAR_BYTES)
        return false;
    unsigned long sum = 8 * ' ', said = 0;
    for (int i = 0; i < TAR_BYTES; i++)
        sum += i >= 148 && i < 156 ? 0 : p[i];
    int i = 148;
    while (i < 156 && p[i] == ' ')
        i++;
    for (; i < 156 && p[i] >= '0' && p[i] <= '7'; i++)
        said = said * 8 + (p[i] - '0');
    return said == sum && p[0];
}

/* Compressions that libarchive reads. */
static bool is_compressed(const uint8_t *p, size_t bytes)
{
    static const struct {
        const char *magic;
        size_t bytes;
    } known[] = {{"\x28\xb5\x2f\xfd", 4},
                 {"\xfd"
                  "7zXZ",
                  6},
                 {"BZh", 3},
                 {"\x04\x22\x4d\x18", 4}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (bytes >= known[i].bytes && !memcmp(p, known[i].magic, known[i].bytes))
            return true;
    /* A zstd or lz4 frame to be passed over. */
    return bytes >= 4 && (p[0] & 0xf0) == 0x50 && !memcmp(p + 1, "\x2a\x4d\x18", 3);
}

static bool is_zip(const uint8_t *p, size_t bytes)
{
    return bytes >= 4 && (!memcmp(p, "PK\3\4", 4) || !memcmp(p, "PK\5\6", 4));
}

/* Fill the head as far as `bytes`; fewer only at the end. */
static int look(struct input *in, size_t bytes, long (*take)(struct input *, void *, size_t))
{
    while (in->head_held < bytes) {
        long n = take(in, in->head + in->head_held, bytes - in->head_held);
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        in->head_held += (size_t)n;
    }
    return 0;
}

/* Know what the file is: by its first bytes, and by the first ones that come out of them. */
static int recognize(struct input *in)
{
    in->left = UINT64_MAX;
    if (refill(in) < 0)
        return -1;
    int status = 0;
    if (in->held >= 2 && in->block[0] == 0x1f && in->block[1] == 0x8b)
        status = gunzip_open(&in->gzip) ? fail("%s: %s", in->name, why()) : 0;
    else if (is_compressed(in->block, in->held))
        status = filter_start(in);
    else
        in->plain = true;
    if (status || look(in, TAR_BYTES, stored_take))
        return -1;
    if (in->around || (!is_zip(in->head, in->head_held) && !is_tar(in->head, in->head_held)))
        return 0;
    in->plain = false;
    in->packed = true;
    return archive_start(in);
}

/* ---- the stream --------------------------------------------------------------------------- */

static int start(struct input *in)
{
    in->block = malloc(BLOCK_BYTES);
    in->head = malloc(HEAD_BYTES);
    if (!in->block || !in->head)
        return fail("%s: out of memory", in->name);
    return recognize(in);
}

int input_open(struct input *in, const char *path)
{
    bool from_stdin = !strcmp(path, "-");
    *in = (struct input){.path = from_stdin ? "standard input" : path, .owns_fd = !from_stdin};
    in->name = in->path;
    in->fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0) {
        fail("%s: %s", path, strerror(errno));
        *in = (struct input){0};
        return -1;
    }
    if (!start(in) && input_next(in) >= 0)
        return 0;
    input_close(in);
    return -1;
}

static void inner_close(struct input *in)
{
    if (in->inner)
        input_close(in->inner);
    free(in->inner);
    in->inner = NULL;
}

void input_close(struct input *in)
{
    inner_close(in);
    if (in->archive)
        archive_read_free(in->archive);
    if (in->filter)
        archive_read_free(in->filter);
    gunzip_close(&in->gzip);
    free(in->block);
    free(in->made);
    free(in->head);
    free(in->member);
    if (in->owns_fd)
        close(in->fd);
    *in = (struct input){0};
}

/* The archive's next file, which may be compressed. */
static int enter_file(struct input *in, struct archive_entry *entry)
{
    const char *name = archive_entry_pathname(entry);
    free(in->member);
    in->member = NULL;
    if (asprintf(&in->member, "%s:%s", in->path, name ? name : "?") < 0) {
        in->member = NULL;
        return fail("%s: out of memory", in->path);
    }
    in->name = in->member;
    inner_close(in);
    in->inner = calloc(1, sizeof *in->inner);
    if (!in->inner)
        return fail("%s: out of memory", in->path);
    *in->inner = (struct input){.path = in->name, .name = in->name, .around = in};
    return start(in->inner);
}

int input_next(struct input *in)
{
    struct archive_entry *entry;
    bool first = !in->entered;
    in->entered = true;
    in->ended = in->finished = !in->archive && !first;
    if (!in->archive)
        return first;
    while (!in->finished) {
        int got = archive_read_next_header(in->archive, &entry);
        in->ended = in->finished = got == ARCHIVE_EOF;
        if (got == ARCHIVE_EOF)
            break;
        if (got < ARCHIVE_WARN)
            return archive_trouble(in);
        if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry))
            continue;
        in->offset = 0;
        return enter_file(in, entry) ? -1 : 1;
    }
    return 0;
}

/* The stream's bytes lie in what decompresses the archive's file, if there is an archive. */
static struct input *stream_of(struct input *in)
{
    return in->inner ? in->inner : in;
}

long input_read(struct input *in, void *data, size_t bytes)
{
    struct input *from = stream_of(in);
    long n;
    if (from->head_at < from->head_held) {
        size_t left = from->head_held - from->head_at;
        n = (long)(bytes < left ? bytes : left);
        memcpy(data, from->head + from->head_at, (size_t)n);
        from->head_at += (size_t)n;
    } else {
        n = in->ended ? 0 : stored_take(from, data, bytes);
        in->ended = n <= 0;
    }
    if (n > 0)
        in->offset += (uint64_t)n;
    return n;
}

int input_range(struct input *in, uint64_t from, uint64_t to)
{
    if (lseek(in->fd, (off_t)from, SEEK_SET) < 0)
        return fail("%s: %s: byte %" PRIu64 " cannot be gone to", in->name, strerror(errno), from);
    in->at = in->held = in->head_at = in->head_held = 0; /* what was looked at is read again */
    in->ended = false;
    in->stored_offset = in->offset = from;
    in->left = to - from;
    return 0;
}

int input_skip(struct input *in, uint64_t bytes)
{
    while (bytes) {
        uint8_t passed[1 << 14];
        long n = input_read(in, passed, bytes < sizeof passed ? (size_t)bytes : sizeof passed);
        if (n < 0)
            return -1;
        if (n == 0)
            return fail("%s: shorter than it was: it ends at byte %" PRIu64, in->name, in->offset);
        bytes -= (uint64_t)n;
    }
    return 0;
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

enum input_format input_name_format(const char *name)
{
    static const char *const packed[] = {".gz", ".zst", ".xz", ".bz2", ".lz4"};
    static const char *const json[] = {".jsonl", ".ndjson", ".json", ".tar",
                                       ".tgz",   ".tbz2",   ".txz",  ".zip"};
    size_t bytes = strlen(name);
    for (size_t i = 0; i < sizeof packed / sizeof *packed; i++)
        if (ends_with(name, bytes, packed[i])) {
            bytes -= strlen(packed[i]);
            break;
        }
    for (size_t i = 0; i < sizeof json / sizeof *json; i++)
        if (ends_with(name, bytes, json[i]))
            return INPUT_JSONL;
    return ends_with(name, bytes, ".txt") ? INPUT_TEXT : INPUT_UNKNOWN;
}

int input_guess(struct input *in, enum input_format *format)
{
    struct input *from = stream_of(in);
    const uint8_t *head = from->head;
    *format = input_name_format(in->name);
    while (*format == INPUT_UNKNOWN) {
        size_t held = from->head_held, i = held >= 3 && !memcmp(head, "\xef\xbb\xbf", 3) ? 3 : 0;
        while (i < held && memchr(" \t\r\n", head[i], 4))
            i++;
        if (i < held && (head[i] == '{' || head[i] == '['))
            *format = INPUT_JSONL;
        if (i < held || held == HEAD_BYTES)
            break;
        if (look(from, held + 1, stored_take))
            return -1;
        if (from->head_held == held) {
            if (held == 0)
                *format = INPUT_JSONL;
            break;
        }
    }
    return 0;
}
