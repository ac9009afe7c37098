/* arrays.c -- families of parameter-shaped arrays to a safetensors file and back. */
#include "arrays.h"
#include "device.h"
#include "tensors.h"

#include <stdlib.h>

enum { PIECE_FLOATS = 1 << 20, FULL_NAME_BYTES = PARAM_NAME_BYTES + 16, TOLD = 5 };

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

static int put_array(struct tensors_writer *w, const float *device, size_t count, float *piece)
{
    for (size_t at = 0; at < count; at += PIECE_FLOATS) {
        size_t n = count - at < PIECE_FLOATS ? count - at : PIECE_FLOATS;
        device_get(piece, device + at, n * sizeof *piece);
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
            status = put_array(&w, family[e / p->count].base + one->offset, one->count, piece);
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

/* Names for a sentence: the first few, and how many more. */
struct names {
    char text[512];
    size_t used;
    int count;
};

static void tell(struct names *n, const char *name)
{
    if (n->count++ < TOLD && n->used < sizeof n->text)
        n->used += (size_t)snprintf(n->text + n->used, sizeof n->text - n->used, "%s%s",
                                    n->count > 1 ? ", " : "", name);
    else if (n->count == TOLD + 1 && n->used < sizeof n->text)
        n->used += (size_t)snprintf(n->text + n->used, sizeof n->text - n->used, ", ...");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* Every name on both sides, or a sentence that lists the others. */
static int check_names(const struct listing *l, const struct tensors *t, const char *path)
{
    struct names missing = {0}, extra = {0};
    struct tensor *sorted = malloc(((size_t)l->count + 1) * sizeof *sorted);
    if (!sorted)
        return fail("%s: out of memory", path);
    memcpy(sorted, l->tensor, (size_t)l->count * sizeof *sorted);
    qsort(sorted, (size_t)l->count, sizeof *sorted, by_name);
    for (int i = 0; i < t->count; i++)
        if (!bsearch(&t->list[i], sorted, (size_t)l->count, sizeof *sorted, by_name))
            tell(&extra, t->list[i].name);
    free(sorted);
    for (int e = 0; e < l->count; e++)
        if (!tensors_find(t, l->name[e]))
            tell(&missing, l->name[e]);
    if (missing.count && extra.count)
        return fail("%s: not this model's: %d tensors missing (%s), %d too many (%s)", path,
                    missing.count, missing.text, extra.count, extra.text);
    if (missing.count)
        return fail("%s: not this model's: %d tensors missing (%s)", path, missing.count,
                    missing.text);
    if (extra.count)
        return fail("%s: not this model's: %d tensors too many (%s)", path, extra.count,
                    extra.text);
    return 0;
}

static int check_kind(const struct tensor *want, const struct tensor *have, const char *path)
{
    char a[192], b[192];
    if (have->dtype != TENSOR_F32)
        return fail("%s: tensor %s is %s; expected F32", path, have->name,
                    tensor_dtype_name(have->dtype));
    if (have->dims != want->dims ||
        memcmp(have->shape, want->shape, (size_t)have->dims * sizeof *have->shape))
        return fail("%s: tensor %s has the shape %s, but this model's is %s", path, have->name,
                    tensor_shape_text(a, sizeof a, have->shape, have->dims),
                    tensor_shape_text(b, sizeof b, want->shape, want->dims));
    return 0;
}

int arrays_load(const char *path, const struct params *p, const struct arrays_family *family,
                int families, const struct xxh3 *digest)
{
    struct tensors t;
    if (tensors_open(&t, path))
        return -1;
    struct listing l;
    int status = list_open(&l, p, family, families) || check_names(&l, &t, path) ? -1 : 0;
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
