/* test_input.c -- inputs as streams: every compression, several members, cut and flipped files. */
#include "check.h"
#include "input.h"
#include "scratch.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

struct bytes {
    uint8_t *data; /* owned */
    size_t count;
};

/* Text with repetitions, but none of one length. */
static struct bytes sample(size_t count)
{
    struct bytes b = {malloc(count + 1), count};
    uint32_t seed = 7;
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525 + 1013904223;
        b.data[i] = (uint8_t) "etaoin shrdlu\n{}"[seed >> 28];
        if (seed >> 20 & 1 && i > 40)
            b.data[i] = b.data[i - 40];
    }
    return b;
}

static struct bytes gzip(struct bytes plain)
{
    struct bytes b = {malloc(plain.count + 1000), 0};
    z_stream z = {.next_in = plain.data,
                  .avail_in = (unsigned)plain.count,
                  .next_out = b.data,
                  .avail_out = (unsigned)plain.count + 1000};
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    b.count = z.total_out;
    deflateEnd(&z);
    return b;
}

/* By libarchive's filter of that name. */
static struct bytes packed(struct bytes plain, const char *filter)
{
    struct bytes b = {malloc(plain.count + 4000), 0};
    struct archive *a = archive_write_new();
    CHECK(archive_write_add_filter_by_name(a, filter) == ARCHIVE_OK);
    CHECK(archive_write_set_format_raw(a) == ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(a, 1); /* no padding */
    CHECK(archive_write_open_memory(a, b.data, plain.count + 4000, &b.count) == ARCHIVE_OK);
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_filetype(entry, AE_IFREG);
    CHECK(archive_write_header(a, entry) == ARCHIVE_OK);
    CHECK(archive_write_data(a, plain.data, plain.count) == (la_ssize_t)plain.count);
    CHECK(archive_write_close(a) == ARCHIVE_OK);
    archive_write_free(a);
    archive_entry_free(entry);
    return b;
}

static struct bytes joined(struct bytes a, struct bytes b)
{
    struct bytes both = {malloc(a.count + b.count + 1), a.count + b.count};
    memcpy(both.data, a.data, a.count);
    memcpy(both.data + a.count, b.data, b.count);
    return both;
}

/* What the zstd program makes of the verse. It adds a checksum; libarchive does not. */
static const char verse[] =
    "In the beginning God created the heaven and the earth. And the earth was without form, and "
    "void; and the darkness was upon the face of the deep.\n";
static uint8_t verse_zstd[] = {0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x91, 0x05, 0x03, 0x00, 0xb2, 0xc5,
                               0x11, 0x11, 0xa0, 0x6f, 0x60, 0x68, 0x05, 0x87, 0x2c, 0x79, 0xd3,
                               0xa7, 0x7a, 0x47, 0x7c, 0xf9, 0x2d, 0xe2, 0x01, 0x40, 0x44, 0x77,
                               0x05, 0xd9, 0x51, 0x2b, 0x18, 0xeb, 0x9c, 0xfe, 0x4e, 0x76, 0x1a,
                               0xa9, 0x41, 0x1b, 0x9e, 0x84, 0x8a, 0x69, 0x85, 0x8c, 0xb6, 0xcb,
                               0xb3, 0x2f, 0x13, 0x16, 0x8c, 0xca, 0xf6, 0x6f, 0x7e, 0xb7, 0xed,
                               0x2c, 0x39, 0x6d, 0x97, 0x88, 0x13, 0x2c, 0xbc, 0xbe, 0xfd, 0xb7,
                               0xe5, 0x87, 0x9d, 0x51, 0x7e, 0x13, 0x08, 0x00, 0x45, 0x87, 0xd9,
                               0xc3, 0x0c, 0xa8, 0x2e, 0xe7, 0xaa, 0x34, 0xa9, 0xae, 0x00, 0x78,
                               0x94, 0x39, 0x92, 0xbe, 0x66, 0x1e, 0x5e, 0xef, 0x9d, 0xb6};

/* A file that takes no disk: its path. */
static const char *file_of(struct bytes b)
{
    static int fd = -1;
    static char path[64];
    if (fd >= 0)
        close(fd);
    fd = memfd_create("input", 0);
    CHECK(fd >= 0 && write(fd, b.data, b.count) == (ssize_t)b.count);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Read the file in pieces. -1 with why(), naming it; else 0. */
static int read_back(const char *path, size_t piece, struct bytes *got)
{
    struct input in;
    size_t room = piece;
    *got = (struct bytes){malloc(room), 0};
    if (input_open(&in, path))
        return -1;
    long n;
    while ((n = input_read(&in, got->data + got->count, piece)) > 0) {
        got->count += (size_t)n;
        if (got->count + piece > room) {
            room = 2 * room + piece;
            got->data = realloc(got->data, room);
        }
    }
    CHECK(n < 0 || in.offset == got->count);
    input_close(&in);
    input_close(&in);
    return (int)n;
}

static bool same(struct bytes a, struct bytes b)
{
    return a.count == b.count && !memcmp(a.data, b.data, a.count);
}

/* The file reads as `want`, or, with want.data NULL, is refused by name. */
static void expect(const char *name, struct bytes file, struct bytes want)
{
    case_begin(name);
    const char *path = file_of(file);
    for (size_t piece = 1; piece < 100000; piece = piece * 37 + 5) {
        struct bytes got;
        int status = read_back(path, piece, &got);
        CHECK(want.data ? !status && same(got, want) : status == -1 && strstr(why(), path));
        free(got.data);
    }
    case_end(want.data ? "" : strstr(why(), ": "));
}

/* No cut and no flipped bit changes what is read without a word. Where the first bytes are
   damaged, the file is taken for a plain one: that is seen by who reads its records. */
static void damage(const char *name, struct bytes file, struct bytes plain)
{
    char note[80];
    size_t refused = 0, unseen = 0;
    case_begin(name);
    uint8_t *copy = malloc(file.count);
    for (size_t i = 0; i < 9 * file.count; i++) {
        memcpy(copy, file.data, file.count);
        struct bytes damaged = {copy, i < file.count ? i : file.count}, got;
        if (i >= file.count)
            copy[i % file.count] ^= (uint8_t)(1 << (i / file.count - 1));
        if (read_back(file_of(damaged), 4096, &got))
            refused++;
        else {
            bool harmless = same(got, plain) && i >= file.count;
            unseen += !harmless && !same(got, damaged);
        }
        free(got.data);
    }
    CHECK(unseen == 0 && refused > 7 * file.count);
    snprintf(note, sizeof note, "%zu of %zu refused", refused, 9 * file.count);
    free(copy);
    case_end(note);
}

static void test_compressions(void)
{
    static const char *const filters[] = {"zstd", "xz", "bzip2", "lz4"};
    static uint8_t zeros[300];
    struct bytes refused = {0}, big = sample(600000), small = sample(300),
                 twice = joined(small, small);
    expect("plain", big, big);
    expect("an empty file", (struct bytes){zeros, 0}, (struct bytes){zeros, 0});

    struct bytes z = gzip(big), s = gzip(small), members = joined(s, s);
    struct bytes padded = joined(members, (struct bytes){zeros, 300}), tail = joined(s, small);
    struct bytes e = gzip((struct bytes){zeros, 0});
    expect("gzip", z, big);
    expect("gzip of two members", members, twice);
    expect("gzip with zeros behind it", padded, twice);
    expect("gzip of nothing", e, (struct bytes){zeros, 0});
    expect("gzip with something behind it", tail, refused);
    damage("damaged gzip", s, small);
    free(z.data), free(s.data), free(members.data), free(padded.data), free(tail.data),
        free(e.data);

    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        char name[4][40];
        snprintf(name[0], sizeof name[0], "%s", filters[i]);
        snprintf(name[1], sizeof name[1], "%s with something behind it", filters[i]);
        snprintf(name[2], sizeof name[2], "damaged %s", filters[i]);
        snprintf(name[3], sizeof name[3], "%s of two frames", filters[i]);
        z = packed(big, filters[i]), s = packed(small, filters[i]), tail = joined(s, small);
        members = joined(s, s);
        expect(name[0], z, big);
        expect(name[3], members, twice);
        expect(name[1], tail, refused);
        if (i > 0)
            damage(name[2], s, small);
        else
            damage(name[2], (struct bytes){verse_zstd, sizeof verse_zstd},
                   (struct bytes){(uint8_t *)verse, sizeof verse - 1});
        free(z.data), free(s.data), free(tail.data), free(members.data);
    }
    free(big.data), free(small.data), free(twice.data);
}

static void test_guess(void)
{
    static const struct {
        const char *name, *data;
        enum input_format want;
    } cases[] = {
        {"a.jsonl", "text", INPUT_JSONL},
        {"a.ndjson.zst", "x", INPUT_JSONL},
        {"a.json", "x", INPUT_JSONL},
        {"a.txt", "{}", INPUT_TEXT},
        {"a.txt.gz", "{}", INPUT_TEXT},
        {"unnamed", "{}", INPUT_JSONL},
        {"blanks", "\n \t\r\n[", INPUT_JSONL},
        {"bom", "\xef\xbb\xbf {", INPUT_JSONL},
        {"empty", "", INPUT_JSONL},
        {"prose", "In the beginning", INPUT_UNKNOWN},
        {"blank", "  \n", INPUT_UNKNOWN},

    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        case_begin(cases[i].name);
        const char *path = scratch(cases[i].name);
        scratch_write(path, cases[i].data, strlen(cases[i].data));
        struct input in;
        enum input_format format;
        CHECK(!input_open(&in, path));
        CHECK(!input_guess(&in, &format) && format == cases[i].want);
        char back[64];
        size_t n = 0;
        for (long k; (k = input_read(&in, back + n, 3)) > 0;)
            n += (size_t)k;
        CHECK(n == strlen(cases[i].data) && !memcmp(back, cases[i].data, n));
        input_close(&in);
        case_end("");
    }
}

static void test_refused(void)
{
    case_begin("what cannot be opened");
    struct input in;
    CHECK(input_open(&in, scratch("nowhere")) == -1 && strstr(why(), "nowhere: No such file"));
    CHECK(input_open(&in, scratch_dir) == -1 && strstr(why(), "directory"));
    case_end("");
}

int main(void)
{
    scratch_make();
    test_compressions();
    test_guess();
    test_refused();
    return check_finish();
}
