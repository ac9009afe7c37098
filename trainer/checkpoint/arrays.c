/* arrays.c -- families of parameter-shaped arrays to a safetensors file and back. */
#include "arrays.h"
#include "device.h"
#include "match.h"
#include "tensors.h"

#include <stdlib.h>

enum { PIECE_FLOATS = 1 << 20, FULL_NAME_BYTES = PARAM_NAME_BYTES + 16 };

/* What the file of some families has to hold: entry f * p->count + i is parameter i of family f. */
struct listing {
    struct tensor *tensor;         /* [count], owned */
    char (*name)[FULL_NAME_BYTES]; /* [count], owned */
    int count;
};

static int list_open(struct listing *l, const struct params *p, const struct arrays_family *family,
                     int families)
{
    l->count = families * p->count;
    l->tensor = calloc((size_t)l->count, sizeof *l->tensor);
    l->name = calloc((size_t)l->count, sizeof *l->name);
    if (!l->tensor || !l->name)
        return fail("out of memory: the names of %d arrays", l->count);
    for (int e = 0; e < l->count; e++) {
        const struct param *one = &p->list[e % p->count];
        snprintf(l->name[e], sizeof l->name[e], "%s%s", family[e / p->count].prefix, one->name);
        l->tensor[e] = (struct tensor){.name = l->name[e], .dtype = TENSOR_F32, .dims = one->axes};
        for (int a = 0; a < one->axes; a++)
            l->tensor[e].shape[a] = one->shape[a];
    }
    return 0;
}

static void list_close(struct listing *l)
{
    free(l->tensor);
    free(l->name);
}

/* ---- writing ------------------------------------------------------------------------------ */

static int put_array(struct tensors_writer *w, const float *from, size_t count, float *piece,
                     bool on_host)
{
    if (on_host)
        return tensors_put(w, from, count * sizeof *from);
    for (size_t at = 0; at < count; at += PIECE_FLOATS) {
        size_t n = count - at < PIECE_FLOATS ? count - at : PIECE_FLOATS;
        device_get(piece, from + at, n * sizeof *piece);
        if (tensors_put(w, piece, n * sizeof *piece))
            return -1;
    }
    return 0;
}

int arrays_save(const char *path, const struct params *p, const struct arrays_family *family,
                int families, struct xxh3 *digest)
{
    static const struct tensor_note note = {"format", "ttt"};
    struct tensors_writer w;
    struct listing l;
    float *piece = malloc(PIECE_FLOATS * sizeof *piece);
    int status = piece ? 0 : fail("%s: out of memory", path);
    if (list_open(&l, p, family, families) || status ||
        tensors_create(&w, path, l.tensor, l.count, &note, 1)) {
        status = -1;
    } else {
        for (int e = 0; e < l.count && !status; e++) {
            const struct param *one = &p->list[e % p->count];
            status = put_array(&w, family[e / p->count].base + one->offset, one->count, piece,
                               p->on_host);
        }
        if (status)
            tensors_abandon(&w);
        else
            status = tensors_commit(&w, digest);
    }
    list_close(&l);
    free(piece);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int check_kind(const struct tensor *want, const struct tensor *have, const char *path)
{
    if (have->dtype != TENSOR_F32)
        return fail("%s: tensor %s is %s; expected F32", path, have->name,
                    tensor_dtype_name(have->dtype));
    return match_shape(path, want, have);
}

int arrays_load(const char *path, const struct params *p, const struct arrays_family *family,
                int families, const struct xxh3 *digest)
{
    struct tensors t;
    if (tensors_open(&t, path))
        return -1;
    struct listing l;
    int status =
        list_open(&l, p, family, families) || match_names(path, l.tensor, l.count, t.list, t.count)
            ? -1
            : 0;
    for (int e = 0; e < l.count && !status; e++)
        status = check_kind(&l.tensor[e], tensors_find(&t, l.name[e]), path);
    if (!status && digest && strcmp(xxh3_of(t.map.data, t.map.bytes).hex, digest->hex))
        status = fail("%s: its bytes are not those that were written (XXH3-128); take an older "
                      "checkpoint",
                      path);
    for (int e = 0; e < l.count && !status; e++) {
        const struct tensor *have = tensors_find(&t, l.name[e]);
        device_put(family[e / p->count].base + p->list[e % p->count].offset, have->data,
                   have->bytes);
    }
    list_close(&l);
    tensors_close(&t);
    return status;
}
