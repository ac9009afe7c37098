/* tensors.c -- safetensors files: named arrays behind a JSON header. */
#include "tensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_HEADER_BYTES = 100 * 1000 * 1000 };

static const char METADATA[] = "__metadata__";

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [TENSOR_BOOL] = {"BOOL", 1}, [TENSOR_U8] = {"U8", 1},   [TENSOR_I8] = {"I8", 1},
    [TENSOR_U16] = {"U16", 2},   [TENSOR_I16] = {"I16", 2}, [TENSOR_F16] = {"F16", 2},
    [TENSOR_BF16] = {"BF16", 2}, [TENSOR_U32] = {"U32", 4}, [TENSOR_I32] = {"I32", 4},
    [TENSOR_F32] = {"F32", 4},   [TENSOR_U64] = {"U64", 8}, [TENSOR_I64] = {"I64", 8},
    [TENSOR_F64] = {"F64", 8},
};
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

size_t tensor_element_bytes(enum tensor_dtype d)
{
    return dtypes[d].bytes;
}

const char *tensor_dtype_name(enum tensor_dtype d)
{
    return dtypes[d].name;
}

char *tensor_shape_text(char *buf, size_t bytes, const int64_t *shape, int dims)
{
    size_t n = (size_t)snprintf(buf, bytes, "[");
    for (int i = 0; i < dims && n < bytes; i++)
        n += (size_t)snprintf(buf + n, bytes - n, "%s%" PRId64, i ? ", " : "", shape[i]);
    if (n < bytes)
        snprintf(buf + n, bytes - n, "]");
    return buf;
}

/* Fill count and bytes from shape and dtype. */
static int measure(struct tensor *t, const char *path)
{
    t->count = 1;
    for (int i = 0; i < t->dims; i++)
        if (t->shape[i] < 0 || __builtin_mul_overflow(t->count, (size_t)t->shape[i], &t->count))
            return fail("%s: tensor %s: its shape is not one an array can have", path, t->name);
    if (__builtin_mul_overflow(t->count, dtypes[t->dtype].bytes, &t->bytes))
        return fail("%s: tensor %s: larger than memory can be", path, t->name);
    return 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int read_notes(struct tensors *t, json_t *object, const char *path)
{
    if (!json_is_object(object))
        return fail("%s: __metadata__ is not an object of texts", path);
    t->note = calloc(json_object_size(object) + 1, sizeof *t->note);
    if (!t->note)
        return fail("%s: out of memory", path);
    const char *key;
    json_t *text;
    json_object_foreach(object, key, text)
    {
        if (!json_is_string(text))
            return fail("%s: __metadata__: %s is not a text", path, key);
        t->note[t->notes++] = (struct tensor_note){key, json_string_value(text)};
    }
    return 0;
}

static int read_shape(struct tensor *t, json_t *shape, const char *path)
{
    size_t dims = json_array_size(shape);
    if (!json_is_array(shape) || dims > TENSOR_DIMS)
        return fail("%s: tensor %s: its shape is not a list of at most %d sizes", path, t->name,
                    TENSOR_DIMS);
    t->dims = (int)dims;
    for (int i = 0; i < t->dims; i++) {
        json_t *size = json_array_get(shape, (size_t)i);
        if (!json_is_integer(size))
            return fail("%s: tensor %s: its shape holds something that is not a whole number", path,
                        t->name);
        t->shape[i] = json_integer_value(size);
    }
    return measure(t, path);
}

/* One entry of the header; `data` is the data section, of data_bytes. */
static int read_entry(struct tensor *t, json_t *entry, const uint8_t *data, size_t data_bytes,
                      const char *path)
{
    if (!json_is_object(entry) || json_object_size(entry) != 3)
        return fail("%s: tensor %s: expected dtype, shape and data_offsets", path, t->name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    int d = 0;
    while (d < DTYPES && (!dtype || strcmp(dtype, dtypes[d].name)))
        d++;
    if (d == DTYPES)
        return fail("%s: tensor %s: %s is not a dtype this program reads", path, t->name,
                    dtype ? dtype : "what it has");
    t->dtype = (enum tensor_dtype)d;
    if (read_shape(t, json_object_get(entry, "shape"), path))
        return -1;

    json_t *offsets = json_object_get(entry, "data_offsets");
    json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return fail("%s: tensor %s: data_offsets are not two whole numbers", path, t->name);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes)
        return fail("%s: tensor %s: data_offsets %" PRId64 " to %" PRId64
                    " do not lie in the %zu bytes of data; is the file cut?",
                    path, t->name, (int64_t)begin, (int64_t)end, data_bytes);
    if ((uint64_t)(end - begin) != t->bytes)
        return fail("%s: tensor %s: data_offsets hold %" PRId64 " bytes, its shape and dtype %zu",
                    path, t->name, (int64_t)(end - begin), t->bytes);
    t->data = data + begin;
    return 0;
}

/* Empty tensors first where several begin at one place. */
static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int check_no_holes(const struct tensors *t, const uint8_t *data, const char *path)
{
    const uint8_t *at = data;
    for (int i = 0; i < t->count; i++) {
        const struct tensor *one = &t->list[i];
        if (one->data != at)
            return fail("%s: tensor %s: its data %s", path, one->name,
                        (const uint8_t *)one->data < at ? "overlaps another tensor's"
                                                        : "does not follow the one before");
        at += one->bytes;
    }
    size_t rest = (size_t)(t->map.data + t->map.bytes - at);
    if (rest)
        return fail("%s: %zu bytes at the end belong to no tensor", path, rest);
    return 0;
}

static int read_header(struct tensors *t, const char *path)
{
    if (t->map.bytes < 8)
        return fail("%s: %zu bytes are too few for a safetensors file", path, t->map.bytes);
    uint64_t header_bytes = le64(t->map.data);
    if (header_bytes > MAX_HEADER_BYTES)
        return fail("%s: a header of %" PRIu64 " bytes is not a safetensors file's", path,
                    header_bytes);
    if (header_bytes > t->map.bytes - 8)
        return fail("%s: the file ends inside its header of %" PRIu64 " bytes", path, header_bytes);
    json_error_t error;
    json_t *root =
        json_loadb((const char *)t->map.data + 8, header_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return fail("%s: header, byte %d: %s", path, error.position, error.text);
    t->header = root;
    if (!json_is_object(root))
        return fail("%s: the header is not a JSON object", path);
    t->list = calloc(json_object_size(root) + 1, sizeof *t->list);
    if (!t->list)
        return fail("%s: out of memory", path);

    const uint8_t *data = t->map.data + 8 + header_bytes;
    size_t data_bytes = t->map.bytes - 8 - (size_t)header_bytes;
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        if (!strcmp(name, METADATA)) {
            if (read_notes(t, entry, path))
                return -1;
            continue;
        }
        t->list[t->count].name = name;
        if (read_entry(&t->list[t->count], entry, data, data_bytes, path))
            return -1;
        t->count++;
    }
    qsort(t->list, (size_t)t->count, sizeof *t->list, by_place);
    return check_no_holes(t, data, path);
}

int tensors_open(struct tensors *t, const char *path)
{
    *t = (struct tensors){0};
    if (map_open(&t->map, path))
        return -1;
    if (!read_header(t, path))
        return 0;
    tensors_close(t);
    return -1;
}

void tensors_close(struct tensors *t)
{
    json_decref(t->header);
    free(t->list);
    free(t->note);
    map_close(&t->map);
    *t = (struct tensors){0};
}

const struct tensor *tensors_find(const struct tensors *t, const char *name)
{
    for (int i = 0; i < t->count; i++)
        if (!strcmp(t->list[i].name, name))
            return &t->list[i];
    return NULL;
}

const char *tensors_note(const struct tensors *t, const char *key)
{
    for (int i = 0; i < t->notes; i++)
        if (!strcmp(t->note[i].key, key))
            return t->note[i].text;
    return NULL;
}

/* ---- writing ------------------------------------------------------------------------------ */

static json_t *entry_of(const struct tensor *t, uint64_t begin)
{
    json_t *shape = json_array();
    for (int i = 0; i < t->dims; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtypes[t->dtype].name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + t->bytes));
}

/* The header as text, owned by the caller; *data_bytes is what follows it. */
static char *header_of(const struct tensor *list, int count, const struct tensor_note *note,
                       int notes, uint64_t *data_bytes, const char *path)
{
    json_t *root = json_object(), *texts = json_object();
    char *header = NULL;
    int bad = !root || !texts;
    for (int i = 0; i < notes && !bad; i++)
        bad = json_object_set_new(texts, note[i].key, json_string(note[i].text));
    if (notes && !bad)
        bad = json_object_set(root, METADATA, texts);
    *data_bytes = 0;
    for (int i = 0; i < count && !bad; i++) {
        struct tensor t = list[i];
        if (t.dims < 0 || t.dims > TENSOR_DIMS || json_object_get(root, t.name)) {
            fail("%s: tensor %s is listed twice or has %d dimensions", path, t.name, t.dims);
            goto done;
        }
        if (measure(&t, path))
            goto done;
        bad = json_object_set_new(root, t.name, entry_of(&t, *data_bytes));
        *data_bytes += t.bytes;
    }
    if (!bad)
        header = json_dumps(root, JSON_COMPACT);
    if (!header)
        fail("%s: the header could not be made: a name is not UTF-8, or memory is short", path);
done:
    json_decref(texts);
    json_decref(root);
    return header;
}

static int put(struct tensors_writer *w, const void *data, size_t bytes)
{
    xxh3_add(&w->hash, data, bytes);
    return writer_put(&w->out, data, bytes);
}

int tensors_create(struct tensors_writer *w, const char *path, const struct tensor *list, int count,
                   const struct tensor_note *note, int notes)
{
    *w = (struct tensors_writer){.out.fd = -1};
    uint64_t data_bytes;
    char *header = header_of(list, count, note, notes, &data_bytes, path);
    if (!header)
        return -1;
    size_t text_bytes = strlen(header), pad = (8 - text_bytes % 8) % 8;
    uint64_t header_bytes = text_bytes + pad;
    int status = -1;
    if (header_bytes > MAX_HEADER_BYTES)
        fail("%s: the names of %d tensors do not fit a safetensors header", path, count);
    else
        status = writer_open(&w->out, path);
    if (!status) {
        xxh3_begin(&w->hash);
        w->end = 8 + header_bytes + data_bytes;
        if (put(w, &header_bytes, 8) || put(w, header, text_bytes) || put(w, "        ", pad)) {
            tensors_abandon(w);
            status = -1;
        }
    }
    free(header);
    return status;
}

int tensors_put(struct tensors_writer *w, const void *data, size_t bytes)
{
    if (bytes > w->end - w->out.bytes)
        return fail("%s: more data than its header announces", w->out.path);
    return put(w, data, bytes);
}

int tensors_commit(struct tensors_writer *w, struct xxh3 *digest)
{
    if (w->out.bytes != w->end) {
        fail("%s: %" PRIu64 " bytes of tensors are missing", w->out.path, w->end - w->out.bytes);
        tensors_abandon(w);
        return -1;
    }
    struct xxh3 hash = xxh3_end(&w->hash);
    if (digest)
        *digest = hash;
    return writer_commit(&w->out);
}

void tensors_abandon(struct tensors_writer *w)
{
    if (w->hash.state)
        xxh3_end(&w->hash);
    writer_abandon(&w->out);
}
