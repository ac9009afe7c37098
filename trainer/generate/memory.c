/* memory.c -- what a model remembers of a text, kept in a file. */
#include "memory.h"
#include "device.h"
#include "match.h"
#include "ttt_inner.h"

#include <inttypes.h>
#include <stdlib.h>

static const char FORMAT[] = "ttt-memory 1";

enum { OF_A_LAYER = 5, NAME_BYTES = 32 };

/* ---- the arrays of a memory ----------------------------------------------------------------- */

/* One array: the bytes that a sequence has in it, and how far apart two sequences are. */
struct part {
    char name[NAME_BYTES];
    void *base;
    size_t bytes, stride;
};

static void append(struct part *list, int *count, int layer, const char *name, void *base,
                   size_t bytes, size_t stride)
{
    struct part *p = &list[*count];
    if (!base)
        return;
    *p = (struct part){.base = base, .bytes = bytes, .stride = stride};
    snprintf(p->name, sizeof p->name, "%d/%s", layer, name);
    ++*count;
}

/* The arrays of d after `tokens` tokens into list, at least OF_A_LAYER a layer; their number. */
static int list_parts(struct part *list, const struct decode *d, size_t tokens)
{
    const struct config *c = &d->config;
    size_t width = sizeof(real) * (size_t)c->hidden_size, conv = width * (CONV_WIDTH - 1);
    struct ttt_shape s = mixer_ttt_shape(c, 1, 1, 1);
    int count = 0;
    for (int l = 0; l < c->num_hidden_layers; l++) {
        const struct decode_memory *m = &d->memory[l];
        append(list, &count, l, "conv", m->history, conv, conv);
        if (mixer_is_ttt(c->seq_modeling_block)) {
            const struct mixer_ttt_memory *t = &m->mixer.ttt;
            size_t inner = (size_t)c->num_attention_heads *
                           ttt_inner_decode_bytes(mixer_is_mlp(c->seq_modeling_block), &s);
            append(list, &count, l, "conv_q", t->history_q, conv, conv);
            append(list, &count, l, "conv_k", t->history_k, conv, conv);
            append(list, &count, l, "inner", t->inner, inner, inner);
        } else {
            const struct mixer_attention_memory *a = &m->mixer.attention;
            append(list, &count, l, "k", a->k, width * tokens, width * (size_t)a->capacity);
            append(list, &count, l, "v", a->v, width * tokens, width * (size_t)a->capacity);
        }
    }
    return count;
}

static struct part *parts_of(const struct decode *d, size_t tokens, int *count)
{
    struct part *list = calloc((size_t)d->config.num_hidden_layers * OF_A_LAYER, sizeof *list);
    if (list)
        *count = list_parts(list, d, tokens);
    else
        (void)fail("out of memory: the arrays of %d layers", d->config.num_hidden_layers);
    return list;
}

static struct tensor bytes_of(const struct part *p)
{
    return (struct tensor){.name = p->name,
                           .dtype = TENSOR_U8,
                           .dims = 1,
                           .shape = {(int64_t)p->bytes}};
}

/* ---- writing ------------------------------------------------------------------------------ */

static int put_part(struct tensors_writer *w, const struct part *p, int row)
{
    void *copy = malloc(p->bytes + 1);
    if (!copy)
        return fail("out of memory: %zu bytes of a model's memory", p->bytes);
    device_get(copy, (char *)p->base + (size_t)row * p->stride, p->bytes);
    int status = tensors_put(w, copy, p->bytes);
    free(copy);
    return status;
}

static int save(const char *path, const struct memory_owner *owner, const struct part *part,
                int parts, int row, const uint32_t *ids, size_t count, const float *logits,
                int vocab)
{
    const struct tensor_note notes[] = {{"format", FORMAT},
                                        {"model", owner->model.hex},
                                        {"tokenizer", owner->tokenizer.hex}};
    struct tensors_writer w;
    struct tensor *list = calloc((size_t)parts + 2, sizeof *list);
    if (!list)
        return fail("%s: out of memory", path);
    list[0] =
        (struct tensor){.name = "ids", .dtype = TENSOR_I32, .dims = 1, .shape = {(int64_t)count}};
    list[1] = (struct tensor){.name = "logits", .dtype = TENSOR_F32, .dims = 1, .shape = {vocab}};
    for (int i = 0; i < parts; i++)
        list[i + 2] = bytes_of(&part[i]);
    int status = tensors_create(&w, path, list, parts + 2, notes, 3);
    free(list);
    if (status)
        return -1;
    if (tensors_put(&w, ids, count * sizeof *ids) ||
        tensors_put(&w, logits, (size_t)vocab * sizeof *logits))
        status = -1;
    for (int i = 0; i < parts && !status; i++)
        status = put_part(&w, &part[i], row);
    if (!status)
        return tensors_commit(&w, NULL);
    tensors_abandon(&w);
    return -1;
}

int memory_save(const char *path, const struct memory_owner *owner, const struct decode *d, int row,
                const uint32_t *ids, size_t count, const float *logits)
{
    int parts;
    struct part *part = parts_of(d, count, &parts);
    int status =
        part ? save(path, owner, part, parts, row, ids, count, logits, d->config.vocab_size) : -1;
    free(part);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------ */

static int check_note(const struct tensors *t, const char *path, const char *key, const char *want,
                      const char *meaning)
{
    const char *have = tensors_note(t, key);
    if (have && !strcmp(have, want))
        return 0;
    return fail("%s: %s", path, meaning);
}

static int check_ids(const struct memory *m, const char *path, int vocab)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->id[i] < 0 || m->id[i] >= vocab)
            return fail("%s: id %zu is %" PRId32 ": beyond the vocabulary of %d", path, i, m->id[i],
                        vocab);
    return 0;
}

static int check(struct memory *m, const char *path, const struct memory_owner *owner,
                 const struct config *c)
{
    const struct tensors *t = &m->file;
    if (check_note(t, path, "format", FORMAT, "not a memory that ttt-generate has saved") ||
        check_note(t, path, "model", owner->model.hex,
                   "the memory of another model: read its text again") ||
        check_note(t, path, "tokenizer", owner->tokenizer.hex,
                   "the memory of a text that another tokenizer has cut"))
        return -1;
    const struct tensor *ids = tensors_find(t, "ids"), *logits = tensors_find(t, "logits");
    if (!ids || ids->dtype != TENSOR_I32 || ids->dims != 1 || ids->count < 1)
        return fail("%s: no \"ids\" of one token or more", path);
    if (!logits || logits->dtype != TENSOR_F32 || logits->count != (size_t)c->vocab_size)
        return fail("%s: no \"logits\" of %d ids", path, c->vocab_size);
    if ((uintptr_t)ids->data % 4 || (uintptr_t)logits->data % 4)
        return fail("%s: \"ids\" or \"logits\" are not aligned", path);
    m->id = ids->data;
    m->count = ids->count;
    m->logits = logits->data;
    return check_ids(m, path, c->vocab_size);
}

int memory_open(struct memory *m, const char *path, const struct memory_owner *owner,
                const struct config *c)
{
    *m = (struct memory){0};
    if (tensors_open(&m->file, path))
        return -1;
    if (!check(m, path, owner, c))
        return 0;
    memory_close(m);
    return -1;
}

void memory_close(struct memory *m)
{
    tensors_close(&m->file);
    *m = (struct memory){0};
}

static int fill(const struct memory *m, struct decode *d, const struct part *part, int parts,
                const char *path)
{
    if (m->file.count != parts + 2)
        return fail("%s: %d arrays, but this build and model remember by %d", path, m->file.count,
                    parts + 2);
    for (int i = 0; i < parts; i++) {
        const struct tensor want = bytes_of(&part[i]), *have = tensors_find(&m->file, want.name);
        if (!have || have->dtype != TENSOR_U8)
            return fail("%s: no bytes %s", path, want.name);
        if (match_shape(path, &want, have))
            return -1;
    }
    for (int i = 0; i < parts; i++)
        for (int row = 0; row < d->batch; row++)
            device_put((char *)part[i].base + (size_t)row * part[i].stride,
                       tensors_find(&m->file, part[i].name)->data, part[i].bytes);
    for (int row = 0; row < d->batch; row++)
        d->position[row] = (int64_t)m->count;
    return 0;
}

int memory_load(const struct memory *m, struct decode *d, const char *path)
{
    int parts;
    struct part *part = parts_of(d, m->count, &parts);
    int status = part ? fill(m, d, part, parts, path) : -1;
    free(part);
    return status;
}
