/* hf.c -- our parameters in the directory of a Hugging Face model, both ways. */
#include "hf.h"
#include "device.h"
#include "floats.h"
#include "hf_config.h"
#include "hf_map.h"
#include "hf_shards.h"
#include "match.h"
#include "rundir.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char CONFIG[] = "config.json";

static size_t longest(const struct params *p)
{
    size_t most = 0;
    for (int i = 0; i < p->count; i++)
        most = p->list[i].count > most ? p->list[i].count : most;
    return most;
}

/* The tensors of a map, for match.h. */
static struct tensor *wanted(const struct hf_map *m)
{
    struct tensor *list = calloc((size_t)m->count, sizeof *list);
    for (int i = 0; list && i < m->count; i++)
        list[i] = m->list[i].tensor;
    if (!list)
        (void)fail("out of memory: the names of %d tensors", m->count);
    return list;
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* A head beside a tied embedding has to be that again. */
static bool is_embedding_again(const struct hf_shards *s, const struct tensor *head)
{
    const struct tensor *wte = hf_shards_find(s, "model.embed_tokens.weight");
    return wte && wte->dtype == head->dtype && wte->bytes == head->bytes &&
           !memcmp(wte->data, head->data, wte->bytes);
}

/* Leave out of s what can be computed. */
static void drop_computed(struct hf_shards *s, bool tied)
{
    int kept = 0;
    for (int i = 0; i < s->count; i++) {
        const struct tensor *t = &s->list[i];
        bool head = tied && !strcmp(t->name, "lm_head.weight") && is_embedding_again(s, t);
        if (!head && !ends_with(t->name, ".rotary_emb.inv_freq"))
            s->list[kept++] = *t;
    }
    s->count = kept;
}

static int check(const struct hf_map *m, const struct hf_shards *s, struct hf_sum *sum)
{
    struct tensor *want = wanted(m);
    if (!want)
        return -1;
    int status = match_names(s->dir, want, m->count, s->list, s->count);
    for (int i = 0; !status && i < m->count; i++) {
        const struct tensor *have = hf_shards_find(s, want[i].name);
        if (!floats_is(have->dtype))
            status = fail("%s: tensor %s is %s: expected F32, BF16 or F16", s->dir, have->name,
                          tensor_dtype_name(have->dtype));
        else
            status = match_shape(s->dir, &want[i], have);
        sum->bytes += have->bytes;
        if (have->dtype == TENSOR_F32 || i == 0)
            sum->widest = have->dtype;
    }
    sum->files = s->files;
    sum->tensors = m->count;
    free(want);
    return status;
}

static int fill(struct params *p, const struct hf_map *m, const struct hf_shards *s)
{
    size_t most = longest(p);
    float *theirs = malloc(most * sizeof *theirs), *ours = malloc(most * sizeof *ours);
    int status = theirs && ours ? 0 : fail("%s: out of memory", s->dir);
    for (int i = 0; !status && i < m->count; i++) {
        const struct tensor *have = hf_shards_find(s, m->list[i].name);
        floats_widen(theirs, have->data, p->list[i].count, have->dtype);
        hf_map_take(&m->list[i], ours, theirs);
        device_put(param_master(p, i), ours, p->list[i].count * sizeof *ours);
    }
    free(theirs);
    free(ours);
    params_refresh(p);
    return status;
}

int hf_load(struct config *c, struct params *p, const char *dir, struct hf_sum *sum)
{
    char path[PATH_MAX];
    struct hf_shards s = {0};
    struct hf_map m = {0};
    *sum = (struct hf_sum){0};
    if (rundir_path(dir, CONFIG, path) || hf_config_read(c, path) || hf_shards_open(&s, dir))
        return -1;
    drop_computed(&s, c->tie_word_embeddings);
    int status = params_list(p, c) || hf_map_open(&m, p, c) || check(&m, &s, sum) ||
                         params_alloc(p, false) || fill(p, &m, &s)
                     ? -1
                     : 0;
    hf_map_close(&m);
    hf_shards_close(&s);
    return status;
}

/* ---- writing ------------------------------------------------------------------------------ */

struct saving {
    const struct params *p;
    const struct hf_map *map;
    enum tensor_dtype dtype;
    float *ours, *theirs; /* a parameter each */
};

static int write_file(const struct saving *w, const struct hf_cut *cut, const char *path)
{
    static const struct tensor_note note = {"format", "pt"};
    struct tensors_writer out;
    struct tensor *list = calloc((size_t)cut->count, sizeof *list);
    if (!list)
        return fail("%s: out of memory", path);
    for (int i = 0; i < cut->count; i++) {
        list[i] = w->map->list[cut->index[i]].tensor;
        list[i].dtype = w->dtype;
    }
    int status = tensors_create(&out, path, list, cut->count, &note, 1);
    free(list);
    if (status)
        return -1;
    for (int i = 0; !status && i < cut->count; i++) {
        const struct hf_entry *e = &w->map->list[cut->index[i]];
        size_t count = e->tensor.count;
        device_get(w->ours, param_master(w->p, cut->index[i]), count * sizeof *w->ours);
        hf_map_put(e, w->theirs, w->ours);
        status = tensors_put(&out, w->theirs, floats_narrow(w->theirs, w->theirs, count, w->dtype));
    }
    if (!status)
        return tensors_commit(&out, NULL);
    tensors_abandon(&out);
    return -1;
}

static int write_text(const char *path, char *text)
{
    int status = text ? file_write_text(path, text) : -1;
    free(text);
    return status;
}

static int write_all(const struct saving *w, const struct config *c, const struct hf_cuts *cuts,
                     const char *dir, struct hf_sum *sum)
{
    char path[PATH_MAX];
    for (int i = 0; i < cuts->count; i++)
        if (rundir_path(dir, cuts->list[i].name, path) || write_file(w, &cuts->list[i], path))
            return -1;
    if (cuts->count > 1 && (rundir_path(dir, HF_INDEX, path) ||
                            write_text(path, hf_cuts_index(cuts, w->map, sum->bytes))))
        return -1;
    return rundir_path(dir, CONFIG, path) || write_text(path, hf_config_text(c, w->dtype)) ? -1 : 0;
}

/* The directory, empty of models and nobody else's. */
static int open_dir(struct rundir *held, const char *dir)
{
    static const char *const names[] = {CONFIG, HF_WEIGHTS, HF_INDEX};
    char path[PATH_MAX];
    if (rundir_open(held, dir, "."))
        return -1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (rundir_path(dir, names[i], path))
            return -1;
        if (!access(path, F_OK))
            return fail("%s: is there already; remove it, or choose another directory", path);
    }
    return 0;
}

static void remove_all(const struct hf_cuts *cuts, const char *dir)
{
    char path[PATH_MAX];
    for (int i = 0; i < cuts->count; i++)
        if (!rundir_path(dir, cuts->list[i].name, path))
            unlink(path);
    if (!rundir_path(dir, HF_INDEX, path))
        unlink(path);
    rmdir(dir); /* fails where it holds something else */
}

int hf_save(const struct config *c, const struct params *p, const char *dir,
            enum tensor_dtype dtype, int64_t max_bytes, struct hf_sum *sum)
{
    struct hf_map m = {0};
    struct hf_cuts cuts = {0};
    struct rundir held = {0};
    size_t most = longest(p);
    struct saving w = {p, &m, dtype, malloc(most * sizeof(float)), malloc(most * sizeof(float))};
    int status = w.ours && w.theirs ? 0 : fail("%s: out of memory", dir);
    *sum = (struct hf_sum){.tensors = p->count, .widest = dtype};
    sum->bytes = (uint64_t)p->total * tensor_element_bytes(dtype);
    if (!status && !hf_map_open(&m, p, c) &&
        !hf_cuts_open(&cuts, &m, tensor_element_bytes(dtype), max_bytes) && !open_dir(&held, dir)) {
        sum->files = cuts.count;
        status = write_all(&w, c, &cuts, dir, sum);
        if (status)
            remove_all(&cuts, dir);
    } else {
        status = -1;
    }
    rundir_close(&held);
    hf_cuts_close(&cuts);
    hf_map_close(&m);
    free(w.ours);
    free(w.theirs);
    return status;
}
