/* flax.c -- the reference's checkpoint files: a stream of msgpack pairs, a name and an array. */
#include "flax.h"

#include <assert.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>

enum { EXT_ARRAY = 1, CHUNKED_ABOVE = 1 << 30, CUT = '\n' };

static const struct {
    enum tensor_dtype dtype;
    const char *name;
} dtypes[] = {
    {TENSOR_F32, "float32"},
    {TENSOR_BF16, "bfloat16"},
    {TENSOR_I32, "int32"},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

/* ---- reading: one value ------------------------------------------------------------------- */

/* A stretch of the file that is msgpack. */
struct cursor {
    const char *path;
    const char *data; /* the file's first byte */
    size_t at, end;
};

static int expected(const struct cursor *c, const char *what)
{
    return fail("%s: byte %zu: expected %s; not a checkpoint of the reference, or cut or damaged",
                c->path, c->at, what);
}

/* The number of parts of an array, or -1. Arrays here are short, and only the form for these is
   taken: the library would make room for as many as a longer form promises. */
static int take_array(struct cursor *c, const char *what)
{
    uint8_t head = c->at < c->end ? (uint8_t)c->data[c->at] : 0;
    if (head < 0x90 || head > 0x9f)
        return expected(c, what);
    c->at++;
    return head & 15;
}

/* A value that is no array or map, still in the file's bytes. */
static int take(struct cursor *c, msgpack_object_type type, const char *what, msgpack_object *o)
{
    uint8_t head = c->at < c->end ? (uint8_t)c->data[c->at] : 0xc1;
    bool has_parts = (head >= 0x80 && head <= 0x9f) || (head >= 0xdc && head <= 0xdf);
    if (has_parts || head == 0xc1)
        return expected(c, what);
    msgpack_unpacked got;
    msgpack_unpacked_init(&got);
    size_t at = c->at;
    bool good = msgpack_unpack_next(&got, c->data, c->end, &at) == MSGPACK_UNPACK_SUCCESS &&
                got.data.type == type;
    *o = got.data;
    msgpack_unpacked_destroy(&got);
    if (!good)
        return expected(c, what);
    c->at = at;
    return 0;
}

/* The bytes of a value that was taken last: msgpack themselves. */
static struct cursor inside(const struct cursor *c, const char *bytes, uint32_t count)
{
    size_t begin = (size_t)(bytes - c->data);
    return (struct cursor){c->path, c->data, begin, begin + count};
}

static int take_end(const struct cursor *c, const char *what)
{
    return c->at == c->end ? 0 : expected(c, what);
}

/* ---- reading: a pair ---------------------------------------------------------------------- */

/* Add one pair's key to names, or only count its bytes when that is NULL. */
static int take_key(struct cursor *c, char *names, size_t *bytes)
{
    msgpack_object text;
    int parts = take_array(c, "the key of an array, a few texts");
    if (parts < 0)
        return -1;
    if (!parts)
        return expected(c, "a key that is not empty");
    for (int i = 0; i < parts; i++) {
        if (take(c, MSGPACK_OBJECT_STR, "a text of a key", &text))
            return -1;
        for (uint32_t k = 0; k < text.via.str.size; k++)
            if ((uint8_t)text.via.str.ptr[k] < ' ')
                return expected(c, "a key without control characters");
        if (names) {
            memcpy(names + *bytes, text.via.str.ptr, text.via.str.size);
            names[*bytes + text.via.str.size] = i + 1 < parts ? CUT : 0;
        }
        *bytes += text.via.str.size + 1;
    }
    return 0;
}

static int take_shape(struct cursor *c, struct tensor *t)
{
    msgpack_object number;
    t->dims = take_array(c, "the shape of an array");
    if (t->dims < 0)
        return -1;
    if (t->dims > TENSOR_DIMS)
        return expected(c, "a shape of at most 8 axes");
    uint64_t count = 1;
    for (int a = 0; a < t->dims; a++) {
        if (take(c, MSGPACK_OBJECT_POSITIVE_INTEGER, "the length of an axis", &number))
            return -1;
        if (__builtin_mul_overflow(count, number.via.u64, &count) || count > INT64_MAX)
            return expected(c, "a shape that memory can hold");
        t->shape[a] = (int64_t)number.via.u64;
    }
    t->count = count;
    return 0;
}

static int take_dtype(struct cursor *c, enum tensor_dtype *dtype)
{
    msgpack_object text;
    struct cursor before = *c;
    if (take(c, MSGPACK_OBJECT_STR, "the name of a dtype", &text))
        return -1;
    for (int i = 0; i < DTYPES; i++) {
        if (text.via.str.size == strlen(dtypes[i].name) &&
            !memcmp(text.via.str.ptr, dtypes[i].name, text.via.str.size)) {
            *dtype = dtypes[i].dtype;
            return 0;
        }
    }
    return expected(&before, "float32, bfloat16 or int32");
}

/* What lies in an extension of type EXT_ARRAY. */
static int take_elements(struct cursor *c, struct tensor *t)
{
    msgpack_object data;
    int parts = take_array(c, "an array's shape, dtype and elements");
    if (parts < 0)
        return -1;
    if (parts != 3)
        return expected(c, "three parts: shape, dtype, elements");
    if (take_shape(c, t) || take_dtype(c, &t->dtype))
        return -1;
    struct cursor before = *c;
    if (take(c, MSGPACK_OBJECT_BIN, "the elements of an array", &data))
        return -1;
    t->bytes = data.via.bin.size;
    t->data = data.via.bin.ptr;
    size_t bytes;
    if (__builtin_mul_overflow(t->count, tensor_element_bytes(t->dtype), &bytes) ||
        bytes != t->bytes)
        return expected(&before, "as many elements as the shape says");
    return take_end(c, "the end of an array");
}

static int take_value(struct cursor *c, struct tensor *t)
{
    msgpack_object value, ext;
    if (take(c, MSGPACK_OBJECT_BIN, "an array's bytes", &value))
        return -1;
    struct cursor in = inside(c, value.via.bin.ptr, value.via.bin.size);
    if (in.at < in.end && (uint8_t)in.data[in.at] >> 4 == 8)
        return fail("%s: byte %zu: an array above 1 GiB, in chunks, which this version does not "
                    "read",
                    in.path, in.at);
    if (take(&in, MSGPACK_OBJECT_EXT, "an array as flax writes it", &ext))
        return -1;
    if (ext.via.ext.type != EXT_ARRAY)
        return expected(&in, "an array as flax writes it before here");
    struct cursor elements = inside(&in, ext.via.ext.ptr, ext.via.ext.size);
    return take_elements(&elements, t) || take_end(&in, "the end of an array's bytes") ? -1 : 0;
}

/* ---- reading: the file -------------------------------------------------------------------- */

/* Every pair: counted when f->list is NULL, with the bytes of the names, else filled in. */
static int walk(struct flax *f, size_t *name_bytes)
{
    struct cursor c = {f->path, (const char *)f->map.data, 0, f->map.bytes};
    int count = 0;
    for (*name_bytes = 0; c.at < c.end; count++) {
        struct tensor t = {.name = f->names ? f->names + *name_bytes : NULL};
        int parts = take_array(&c, "a pair of key and array");
        if (parts < 0)
            return -1;
        if (parts != 2 || count == INT32_MAX)
            return expected(&c, "a pair of key and array before here");
        if (take_key(&c, f->names, name_bytes) || take_value(&c, &t))
            return -1;
        if (f->list)
            f->list[count] = t;
    }
    f->count = count;
    return count ? 0 : fail("%s: empty; not a checkpoint of the reference", f->path);
}

static int compare(const void *a, const void *b, void *list)
{
    const struct tensor *t = list;
    return strcmp(t[*(const int *)a].name, t[*(const int *)b].name);
}

static int sort(struct flax *f)
{
    for (int i = 0; i < f->count; i++)
        f->by_name[i] = i;
    qsort_r(f->by_name, (size_t)f->count, sizeof *f->by_name, compare, f->list);
    for (int i = 1; i < f->count; i++) {
        const struct tensor *twice = &f->list[f->by_name[i]];
        if (!strcmp(f->list[f->by_name[i - 1]].name, twice->name))
            return fail("%s: byte %zu: a second array of the same name", f->path,
                        (size_t)((const uint8_t *)twice->data - f->map.data));
    }
    return 0;
}

static int open_all(struct flax *f, const char *path)
{
    size_t name_bytes;
    if (map_open(&f->map, path))
        return -1;
    f->path = strdup(path);
    if (!f->path)
        return fail("%s: out of memory", path);
    if (walk(f, &name_bytes))
        return -1;
    f->list = calloc((size_t)f->count, sizeof *f->list);
    f->names = malloc(name_bytes);
    f->by_name = calloc((size_t)f->count, sizeof *f->by_name);
    if (!f->list || !f->names || !f->by_name)
        return fail("%s: out of memory: the names of %d arrays", path, f->count);
    return walk(f, &name_bytes) || sort(f) ? -1 : 0;
}

int flax_open(struct flax *f, const char *path)
{
    *f = (struct flax){0};
    if (!open_all(f, path))
        return 0;
    flax_close(f);
    return -1;
}

void flax_close(struct flax *f)
{
    map_close(&f->map);
    free(f->path);
    free(f->list);
    free(f->names);
    free(f->by_name);
    *f = (struct flax){0};
}

const struct tensor *flax_find(const struct flax *f, const char *name)
{
    int low = 0, high = f->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const struct tensor *t = &f->list[f->by_name[middle]];
        int order = strcmp(name, t->name);
        if (!order)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* What precedes an array's elements, or a part of it. */
struct head {
    char data[1024];
    size_t bytes;
    bool over; /* it did not fit */
};

static int put_head(void *to, const char *data, size_t bytes)
{
    struct head *h = to;
    h->over |= bytes > sizeof h->data - h->bytes;
    if (!h->over) {
        memcpy(h->data + h->bytes, data, bytes);
        h->bytes += bytes;
    }
    return 0;
}

int flax_create(struct flax_writer *w, const char *path)
{
    *w = (struct flax_writer){0};
    return writer_open_alone(&w->out, path);
}

static void pack_text(msgpack_packer *p, const char *text, size_t bytes)
{
    msgpack_pack_str(p, bytes);
    msgpack_pack_str_body(p, text, bytes);
}

static void pack_key(msgpack_packer *p, const char *name)
{
    size_t parts = 1;
    for (const char *c = name; *c; c++)
        parts += *c == CUT;
    msgpack_pack_array(p, parts);
    for (const char *c = name; parts--; c += strcspn(c, FLAX_CUT) + 1)
        pack_text(p, c, strcspn(c, FLAX_CUT));
}

static const char *dtype_name(enum tensor_dtype dtype)
{
    for (int i = 0; i < DTYPES; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].name;
    return "";
}

/* Pack t's heads, the inner ones first, for the outer ones tell their lengths. */
static void pack_heads(struct head *outer, struct head *inner, const struct tensor *t, size_t bytes)
{
    msgpack_packer p;
    msgpack_packer_init(&p, inner, put_head);
    msgpack_pack_array(&p, 3);
    msgpack_pack_array(&p, (size_t)t->dims);
    for (int a = 0; a < t->dims; a++)
        msgpack_pack_int64(&p, t->shape[a]);
    const char *dtype = dtype_name(t->dtype);
    pack_text(&p, dtype, strlen(dtype));
    msgpack_pack_bin(&p, bytes);

    struct head ext = {.bytes = 0};
    msgpack_packer_init(&p, &ext, put_head);
    msgpack_pack_ext(&p, inner->bytes + bytes, EXT_ARRAY);

    msgpack_packer_init(&p, outer, put_head);
    msgpack_pack_array(&p, 2);
    pack_key(&p, t->name);
    msgpack_pack_bin(&p, ext.bytes + inner->bytes + bytes);
    put_head(outer, ext.data, ext.bytes);
}

int flax_begin(struct flax_writer *w, const struct tensor *t)
{
    assert(w->out.bytes == w->end && *dtype_name(t->dtype) && t->dims <= TENSOR_DIMS);
    size_t count = 1, bytes;
    for (int a = 0; a < t->dims; a++)
        if (__builtin_mul_overflow(count, (size_t)t->shape[a], &count))
            count = SIZE_MAX;
    if (__builtin_mul_overflow(count, tensor_element_bytes(t->dtype), &bytes) ||
        bytes > CHUNKED_ABOVE)
        return fail("%s: an array above 1 GiB, which flax writes in chunks and this version does "
                    "not; a narrower --dtype may fit",
                    w->out.path);
    struct head outer = {.bytes = 0}, inner = {.bytes = 0};
    pack_heads(&outer, &inner, t, bytes);
    if (outer.over || inner.over)
        return fail("%s: an array's name is too long", w->out.path);
    if (writer_put(&w->out, outer.data, outer.bytes) ||
        writer_put(&w->out, inner.data, inner.bytes))
        return -1;
    w->end = w->out.bytes + bytes;
    return 0;
}

int flax_put(struct flax_writer *w, const void *data, size_t bytes)
{
    assert(bytes <= w->end - w->out.bytes);
    return writer_put(&w->out, data, bytes);
}

int flax_commit(struct flax_writer *w)
{
    assert(w->out.bytes == w->end);
    return writer_commit(&w->out);
}

void flax_abandon(struct flax_writer *w)
{
    writer_abandon(&w->out);
}
