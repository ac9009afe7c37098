/* hf_shards.c -- the weights of a Hugging Face model, in one file or in several. */
#include "hf_shards.h"
#include "rundir.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- reading ------------------------------------------------------------------------------ */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

const struct tensor *hf_shards_find(const struct hf_shards *s, const char *name)
{
    struct tensor key = {.name = name};
    return s->count ? bsearch(&key, s->list, (size_t)s->count, sizeof key, by_name) : NULL;
}

/* Open one file more. */
static int add_file(struct hf_shards *s, const char *name)
{
    char path[PATH_MAX];
    struct tensors *file = realloc(s->file, ((size_t)s->files + 1) * sizeof *file);
    if (!file)
        return fail("%s: out of memory", s->dir);
    s->file = file;
    if (rundir_path(s->dir, name, path) || tensors_open(&file[s->files], path))
        return -1;
    int count = file[s->files++].count;
    struct tensor *list = realloc(s->list, ((size_t)(s->count + count) + 1) * sizeof *list);
    if (!list)
        return fail("%s: out of memory: the names of its tensors", path);
    s->list = list;
    memcpy(list + s->count, file[s->files - 1].list, (size_t)count * sizeof *list);
    s->count += count;
    return 0;
}

/* Whether the index says that the tensors just opened lie in file `name`. */
static int check_file(const struct hf_shards *s, const json_t *map, const char *name, int first)
{
    for (int i = first; i < s->count; i++) {
        const char *says = json_string_value(json_object_get(map, s->list[i].name));
        if (!says || strcmp(says, name))
            return fail("%s/%s: holds the tensor %s, which %s %s%s", s->dir, name, s->list[i].name,
                        HF_INDEX, says ? "says is in " : "does not name", says ? says : "");
    }
    return 0;
}

static int open_indexed(struct hf_shards *s, const json_t *map, const char *path)
{
    json_t *opened = json_object();
    int status = opened ? 0 : fail("%s: out of memory", path);
    for (void *i = json_object_iter((json_t *)map); !status && i;
         i = json_object_iter_next((json_t *)map, i)) {
        const char *name = json_string_value(json_object_iter_value(i));
        int first = s->count;
        if (!name || !*name || strchr(name, '/'))
            status = fail("%s: \"weight_map\": %s: expected the name of a file beside it", path,
                          json_object_iter_key(i));
        else if (!json_object_get(opened, name))
            status = add_file(s, name) || check_file(s, map, name, first) ||
                             json_object_set_new(opened, name, json_true())
                         ? -1
                         : 0;
    }
    json_decref(opened);
    if (!status && (size_t)s->count != json_object_size(map))
        status = fail("%s: names %zu tensors, but the files hold %d", path, json_object_size(map),
                      s->count);
    return status;
}

static int open_index(struct hf_shards *s, const char *path)
{
    json_error_t e;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
    const json_t *map = json_object_get(root, "weight_map");
    int status;
    if (!root && e.line < 0)
        status = fail("%s: neither %s nor an index of several such files: no safetensors model "
                      "(save_pretrained writes one)",
                      s->dir, HF_WEIGHTS);
    else if (!root)
        status = fail("%s, line %d: %s", path, e.line, e.text);
    else if (!json_is_object(map))
        status = fail("%s: has no \"weight_map\"", path);
    else
        status = open_indexed(s, map, path);
    json_decref(root);
    return status;
}

int hf_shards_open(struct hf_shards *s, const char *dir)
{
    char one[PATH_MAX], index[PATH_MAX];
    *s = (struct hf_shards){.dir = dir};
    int status = rundir_path(dir, HF_WEIGHTS, one) || rundir_path(dir, HF_INDEX, index) ? -1 : 0;
    if (!status)
        status = access(one, F_OK) ? open_index(s, index) : add_file(s, HF_WEIGHTS);
    if (status) {
        hf_shards_close(s);
        return -1;
    }
    qsort(s->list, (size_t)s->count, sizeof *s->list, by_name);
    return 0;
}

void hf_shards_close(struct hf_shards *s)
{
    for (int i = 0; i < s->files; i++)
        tensors_close(&s->file[i]);
    free(s->file);
    free(s->list);
    *s = (struct hf_shards){0};
}

/* ---- writing ------------------------------------------------------------------------------ */

static int by_entry_name(const void *a, const void *b, void *map)
{
    const struct hf_entry *list = map;
    return strcmp(list[*(const int *)a].name, list[*(const int *)b].name);
}

static void name_cuts(struct hf_cuts *c, const struct hf_map *m)
{
    for (int i = 0; i < c->count; i++) {
        struct hf_cut *cut = &c->list[i];
        if (c->count == 1)
            snprintf(cut->name, sizeof cut->name, "%s", HF_WEIGHTS);
        else
            snprintf(cut->name, sizeof cut->name, "model-%05d-of-%05d.safetensors", i + 1,
                     c->count);
        qsort_r(cut->index, (size_t)cut->count, sizeof *cut->index, by_entry_name, m->list);
    }
}

int hf_cuts_open(struct hf_cuts *c, const struct hf_map *m, size_t element_bytes, int64_t max_bytes)
{
    *c = (struct hf_cuts){0};
    c->list = calloc((size_t)m->count, sizeof *c->list);
    c->index = calloc((size_t)m->count, sizeof *c->index);
    if (!c->list || !c->index) {
        hf_cuts_close(c);
        return fail("out of memory: the names of %d tensors", m->count);
    }
    uint64_t held = 0;
    for (int i = 0; i < m->count; i++) {
        uint64_t bytes = (uint64_t)m->list[i].tensor.count * element_bytes;
        if (i == 0 || held + bytes > (uint64_t)max_bytes) {
            c->list[c->count++].index = c->index + i;
            held = 0;
        }
        held += bytes;
        c->index[i] = i;
        c->list[c->count - 1].count++;
    }
    name_cuts(c, m);
    return 0;
}

void hf_cuts_close(struct hf_cuts *c)
{
    free(c->list);
    free(c->index);
    *c = (struct hf_cuts){0};
}

char *hf_cuts_index(const struct hf_cuts *c, const struct hf_map *m, uint64_t total_bytes)
{
    json_t *map = json_object();
    for (int i = 0; i < c->count; i++)
        for (int t = 0; t < c->list[i].count; t++)
            json_object_set_new(map, m->list[c->list[i].index[t]].name,
                                json_string(c->list[i].name));
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total_bytes,
                             "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(root);
    if (!text)
        (void)fail("out of memory: the index of %d tensors", m->count);
    return text;
}
