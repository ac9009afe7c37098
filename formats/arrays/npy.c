/* npy.c -- numpy's .npy arrays: mapped to read; one flat array streamed to write. */
#include "npy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static const struct {
    const char *descr, *name;
    size_t bytes;
} dtypes[] = {
    [NPY_U1] = {"|u1", "uint8", 1},   [NPY_I1] = {"|i1", "int8", 1},
    [NPY_U2] = {"<u2", "uint16", 2},  [NPY_I4] = {"<i4", "int32", 4},
    [NPY_U4] = {"<u4", "uint32", 4},  [NPY_I8] = {"<i8", "int64", 8},
    [NPY_U8] = {"<u8", "uint64", 8},  [NPY_F4] = {"<f4", "float32", 4},
    [NPY_F8] = {"<f8", "float64", 8},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

static const char magic[6] = "\x93NUMPY";

size_t npy_item_bytes(enum npy_dtype dtype)
{
    return dtypes[dtype].bytes;
}

const char *npy_dtype_name(enum npy_dtype dtype)
{
    return dtypes[dtype].name;
}

/* ---- the header: a Python dictionary literal ---------------------------------------------- */

struct cursor {
    const char *at, *end;
};

static void blanks(struct cursor *c)
{
    while (c->at < c->end && *c->at == ' ')
        c->at++;
}

/* Skip blanks, then `c` if it comes next. */
static bool next_is(struct cursor *c, char expected)
{
    blanks(c);
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static bool word_is(struct cursor *c, const char *word)
{
    size_t n = strlen(word);
    blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n))
        return false;
    c->at += n;
    return true;
}

/* A quoted string without escapes into text; false when it is none or does not fit. */
static bool string(struct cursor *c, char *text, size_t room)
{
    blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    char quote = *c->at++;
    size_t n = 0;
    while (c->at < c->end && *c->at != quote && *c->at != '\\' && n + 1 < room)
        text[n++] = *c->at++;
    text[n] = 0;
    return next_is(c, quote);
}

static bool number(struct cursor *c, uint64_t *value)
{
    blanks(c);
    const char *from = c->at;
    for (*value = 0; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, (uint64_t)(*c->at - '0'), value))
            return false;
    if (c->at < c->end && *c->at == 'L') /* Python 2 wrote long integers so */
        c->at++;
    return c->at > from;
}

static int shape_parse(struct npy *a, struct cursor *c)
{
    if (!next_is(c, '('))
        return fail("'shape' is not a tuple");
    bool comma = true;
    for (a->dims = 0; !next_is(c, ')'); a->dims++) {
        if (!comma || a->dims == NPY_MAX_DIMS || !number(c, &a->shape[a->dims]))
            return fail("'shape' is not a tuple of at most %d numbers", NPY_MAX_DIMS);
        comma = next_is(c, ',');
    }
    if (a->dims == 1 && !comma)
        return fail("'shape' is a number in brackets, not a tuple");
    return 0;
}

static int descr_parse(struct npy *a, struct cursor *c)
{
    char descr[16] = "";
    if (!string(c, descr, sizeof descr))
        return fail("'descr' is not a plain type: structured arrays are not read");
    for (int d = 0; d < DTYPES; d++)
        if (!strcmp(descr, dtypes[d].descr)) {
            a->dtype = (enum npy_dtype)d;
            return 0;
        }
    return fail("its type '%s' is not read: expected |u1 |i1 <u2 <i4 <u4 <i8 <u8 <f4 or <f8",
                descr);
}

static int dictionary(struct npy *a, struct cursor *c)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    unsigned seen = 0, key;
    bool fortran = false, comma = true;
    if (!next_is(c, '{'))
        return fail("its header is not a dictionary");
    while (!next_is(c, '}')) {
        char name[16] = "";
        if (!comma || !string(c, name, sizeof name) || !next_is(c, ':'))
            return fail("its header is not a dictionary");
        if (!strcmp(name, "descr")) {
            key = DESCR;
            if (descr_parse(a, c))
                return -1;
        } else if (!strcmp(name, "fortran_order")) {
            key = ORDER;
            fortran = word_is(c, "True");
            if (!fortran && !word_is(c, "False"))
                return fail("'fortran_order' is neither True nor False");
        } else if (!strcmp(name, "shape")) {
            key = SHAPE;
            if (shape_parse(a, c))
                return -1;
        } else
            return fail("its header has an unknown or damaged member");
        if (seen & key)
            return fail("its header has '%s' twice", name);
        seen |= key;
        comma = next_is(c, ',');
    }
    blanks(c);
    if (c->end - c->at != 1 || *c->at != '\n')
        return fail("its header does not end with blanks and a newline");
    if (seen != (DESCR | ORDER | SHAPE))
        return fail("its header lacks one of 'descr', 'fortran_order' and 'shape'");
    if (fortran && a->dims > 1)
        return fail("it is in Fortran order: save numpy.ascontiguousarray() of it");
    return 0;
}

static int header_parse(struct npy *a)
{
    const uint8_t *h = a->map.data;
    size_t bytes = a->map.bytes;
    if (bytes < 10 || memcmp(h, magic, sizeof magic))
        return fail("not an .npy file: it does not begin with \\x93NUMPY");
    if ((h[6] != 1 && h[6] != 2) || h[7] != 0 || (h[6] == 2 && bytes < 12))
        return fail(".npy version %u.%u is not read: expected 1.0 or 2.0", h[6], h[7]);
    size_t start = h[6] == 1 ? 10 : 12;
    size_t length = h[6] == 1 ? le16(h + 8) : le32(h + 8);
    if (length > bytes - start)
        return fail("cut short inside its header");
    struct cursor c = {(const char *)h + start, (const char *)h + start + length};
    if (dictionary(a, &c))
        return -1;
    uint64_t want = npy_item_bytes(a->dtype);
    a->count = 1;
    for (int d = 0; d < a->dims; d++)
        if (__builtin_mul_overflow(a->count, a->shape[d], &a->count))
            return fail("its shape has more items than 64 bits count");
    if (__builtin_mul_overflow(want, a->count, &want) || want != bytes - start - length)
        return fail("%zu bytes of data, but %" PRIu64 " items of %zu bytes were expected: cut "
                    "short or damaged",
                    bytes - start - length, a->count, npy_item_bytes(a->dtype));
    a->data = h + start + length;
    return 0;
}

int npy_open(struct npy *a, const char *path)
{
    *a = (struct npy){0};
    if (map_open(&a->map, path))
        return -1;
    if (!header_parse(a))
        return 0;
    fail("%s: %s", path, why());
    npy_close(a);
    return -1;
}

void npy_close(struct npy *a)
{
    map_close(&a->map);
    *a = (struct npy){0};
}

/* ---- writing ------------------------------------------------------------------------------ */

void npy_header(uint8_t out[NPY_HEADER_BYTES], enum npy_dtype dtype, uint64_t count)
{
    char text[NPY_HEADER_BYTES];
    int n = snprintf(text, sizeof text,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRIu64 ",), }",
                     dtypes[dtype].descr, count);
    memset(out, ' ', NPY_HEADER_BYTES);
    memcpy(out, magic, sizeof magic);
    out[6] = 1;
    out[7] = 0;
    out[8] = NPY_HEADER_BYTES - 10;
    out[9] = 0;
    memcpy(out + 10, text, (size_t)n);
    out[NPY_HEADER_BYTES - 1] = '\n';
}

int npy_writer_open(struct npy_writer *w, const char *path, enum npy_dtype dtype, uint64_t count)
{
    uint8_t header[NPY_HEADER_BYTES];
    *w = (struct npy_writer){.dtype = dtype, .promised = count};
    npy_header(header, dtype, count);
    if (writer_open(&w->file, path))
        return -1;
    if (count && writer_reserve(&w->file, NPY_HEADER_BYTES + count * npy_item_bytes(dtype))) {
        npy_writer_abandon(w);
        return -1;
    }
    xxh3_begin(&w->stream);
    xxh3_add(&w->stream, header, sizeof header);
    blocks_add(&w->blocks, header, sizeof header);
    if (!writer_put(&w->file, header, sizeof header))
        return 0;
    npy_writer_abandon(w);
    return -1;
}

int npy_writer_open_raw(struct npy_writer *w, const char *path, enum npy_dtype dtype)
{
    *w = (struct npy_writer){.dtype = dtype, .raw = true};
    if (writer_open(&w->file, path))
        return -1;
    xxh3_begin(&w->stream);
    return 0;
}

int npy_writer_put(struct npy_writer *w, const void *items, size_t count)
{
    size_t bytes = count * npy_item_bytes(w->dtype);
    w->count += count;
    blocks_add(&w->blocks, items, bytes);
    xxh3_add(&w->stream, items, bytes);
    return writer_put(&w->file, items, bytes);
}

int npy_writer_put_ids(struct npy_writer *w, const uint32_t *ids, size_t count)
{
    uint32_t most = w->dtype == NPY_U2 ? UINT16_MAX : INT32_MAX;
    uint16_t narrow[4096];
    while (count) {
        size_t n = count < 4096 ? count : 4096;
        for (size_t i = 0; i < n; i++) {
            if (ids[i] > most)
                return fail("%s: id %u does not fit %s", w->file.path, ids[i],
                            npy_dtype_name(w->dtype));
            narrow[i] = (uint16_t)ids[i];
        }
        if (npy_writer_put(w, w->dtype == NPY_U2 ? (const void *)narrow : ids, n))
            return -1;
        ids += n;
        count -= n;
    }
    return 0;
}

int npy_writer_sum_again(struct npy_writer *w)
{
    struct map m;
    if (map_open(&m, w->file.part))
        return -1;
    blocks_free(&w->blocks);
    w->xxh3 = blocks_sums(&w->blocks, m.data, m.bytes);
    w->crc32c = blocks_crc32c(&w->blocks);
    map_close(&m);
    return 0;
}

int npy_writer_seal(struct npy_writer *w)
{
    uint8_t header[NPY_HEADER_BYTES];
    npy_header(header, w->dtype, w->count);
    w->bytes = w->file.bytes;
    w->xxh3 = xxh3_end(&w->stream);
    w->crc32c = blocks_crc32c(&w->blocks);
    if (w->raw)
        return writer_patch(&w->file, 0, "", 0);
    /* Also when it stands there already: bytes still held are written now, so that a full disk
       shows before any file gets its name. */
    if (writer_patch(&w->file, 0, header, sizeof header))
        return -1;
    return w->count == w->promised ? 0 : npy_writer_sum_again(w);
}

int npy_writer_commit(struct npy_writer *w)
{
    assert(!w->stream.state); /* sealed */
    blocks_free(&w->blocks);
    return writer_commit(&w->file);
}

void npy_writer_abandon(struct npy_writer *w)
{
    if (w->stream.state)
        xxh3_end(&w->stream);
    blocks_free(&w->blocks);
    writer_abandon(&w->file);
}
