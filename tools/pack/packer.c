/* packer.c -- a dataset directory being written. */
#include "packer.h"
#include "report.h"
#include "version.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const packer_split_name[PACKER_SPLITS] = {"train", "validation", "test"};

static const char packing[] = ".packing";

/* ---- names -------------------------------------------------------------------------------- */

/* As Python's repr writes a float between 0 and 1: the shortest digits that restore it. */
static void ratio_text(char text[32], double ratio)
{
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, ratio);
        if (strtod(text, NULL) == ratio)
            return;
    }
}

char *packer_path(const struct packer_plan *plan)
{
    const char *name = plan->tokenizer_name;
    char ratio[32], *path;
    size_t n = strlen(name), out = strlen(plan->out);
    while (out > 1 && plan->out[out - 1] == '/')
        out--;
    if (n == 0 || name[0] == '/' || name[n - 1] == '/' || strstr(name, "//") ||
        strstr(name, "..")) {
        fail("--tokenizer-name='%s': expected a name as on the Hugging Face hub, such as "
             "meta-llama/Llama-2-7b-hf",
             name);
        return NULL;
    }
    ratio_text(ratio, plan->val_ratio);
    if (asprintf(
            &path,
            "%.*s/tokenizer_name-%s-val_ratio-%s-val_split_seed-%lld-add_eos-%s-detokenize-False"
            "%s%s%.0lld%s%s",
            (int)out, plan->out, name, ratio, (long long)plan->split_seed,
            plan->meta.add_eos ? "True" : "False", plan->best_fit ? "-best_fit" : "",
            plan->best_fit ? "-" : "", (long long)plan->best_fit,
            plan->format == SINK_NPY ? "" : "-",
            plan->format == SINK_NPY ? "" : sink_format_name[plan->format]) < 0) {
        fail("out of memory");
        return NULL;
    }
    return path;
}

/* DIR/NAME.SUFFIX in a buffer that the next call but three overwrites. */
static const char *file_path(const char *dir, const char *name, const char *suffix)
{
    static char *held[4];
    static int next;
    char **path = &held[next++ % 4];
    free(*path);
    if (asprintf(path, "%s/%s%s", dir, name, suffix) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    return *path;
}

/* ---- what the manifest says --------------------------------------------------------------- */

char *packer_options(const struct packer_plan *plan)
{
    char ratio[32];
    const struct tok_meta *m = &plan->meta;
    ratio_text(ratio, plan->val_ratio);
    json_t *stream = json_loads(m->options, JSON_REJECT_DUPLICATES, NULL);
    json_t *all = json_pack("{ss ss sb sb ss so}", "splits", plan->given ? "given" : "drawn",
                            "val_ratio", ratio, "add_bos", m->add_bos, "add_eos", m->add_eos,
                            "special", m->special_text ? "text" : "literal", "stream", stream);
    if (plan->best_fit)
        json_object_set_new(all, "best_fit",
                            json_pack("{sI sb}", "seq_length", (json_int_t)plan->best_fit,
                                      "truncate", plan->truncate));
    if (plan->format != SINK_NPY)
        json_object_set_new(all, "format", json_string(sink_format_name[plan->format]));
    if (strcmp(plan->dtype, "auto"))
        json_object_set_new(all, "dtype", json_string(plan->dtype));
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return text;
}

/* What all lines have in common; options are borrowed. */
struct manifest_file packer_line(const struct packer_plan *plan, int split, const char *options)
{
    return (struct manifest_file){
        .vocab_size = plan->meta.vocab_size,
        .tokenizer = plan->meta.tokenizer,
        .tokenizer_name = plan->tokenizer_name,
        .options = options,
        .seed = plan->given ? -1 : plan->split_seed,
        .source = plan->source[split],
        .version = version_text(),
    };
}

/* The options apart from how the stream came to be, which its chain sums up. */
static bool same_options(const char *a, const char *b)
{
    json_t *x = json_loads(a, 0, NULL), *y = json_loads(b, 0, NULL);
    json_object_del(x, "stream");
    json_object_del(y, "stream");
    bool same = x && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static bool same_source(const struct manifest_file *a, const struct manifest_file *b)
{
    return !strcmp(a->tokenizer_name, b->tokenizer_name) && same_options(a->options, b->options) &&
           !strcmp(a->tokenizer.hex, b->tokenizer.hex) && a->vocab_size == b->vocab_size &&
           a->seed == b->seed && a->source.documents == b->source.documents &&
           a->source.tokens == b->source.tokens && a->source.chain == b->source.chain;
}

static bool has_bytes(const char *path, uint64_t bytes)
{
    struct stat st;
    return !stat(path, &st) && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes;
}

/* Does a whole dataset of the plan's sources stand in dir? What it says is believed: proving it is
   ttt-verify's work. */
bool packer_stands(const struct packer_plan *plan, const char *dir)
{
    struct manifest m;
    if (manifest_read(&m, file_path(dir, MANIFEST_NAME, "")))
        return false;
    char *options = packer_options(plan);
    bool same = options && m.count > 0;
    for (size_t i = 0; same && i < m.count; i++)
        same = has_bytes(file_path(dir, m.files[i].path, ""), m.files[i].bytes);
    for (int s = 0; same && s < PACKER_SPLITS; s++) {
        struct manifest_file want = packer_line(plan, s, options);
        const char *name = packer_split_name[s];
        for (size_t i = 0; same && i < m.count; i++)
            same = strncmp(m.files[i].path, name, strlen(name)) || same_source(&m.files[i], &want);
    }
    if (same && *plan->tokenizer_pkl)
        same = manifest_find(&m, "tokenizer.pkl") != NULL;
    free(options);
    manifest_free(&m);
    return same;
}

/* ---- taking the directory ----------------------------------------------------------------- */

static int take_lock(struct packer *d)
{
    const char *path = file_path(d->dir, packing, "");
    struct stat here, there;
    do { /* another program may have removed the file that we just locked */
        if (d->lock >= 0)
            close(d->lock);
        d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (d->lock < 0)
            return fail("%s: cannot be created: %s", path, strerror(errno));
        if (flock(d->lock, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK) {
            close(d->lock);
            d->lock = -1;
            return fail("%s: another ttt-pack is writing this dataset now", d->dir);
        }
    } while (fstat(d->lock, &here) || stat(path, &there) || here.st_ino != there.st_ino);
    return 0;
}

/* Remove the folders below OUT that are empty. */
static void remove_empty(const struct packer *d)
{
    size_t out = strlen(d->plan->out);
    for (char *slash; !rmdir(d->dir) && (slash = strrchr(d->dir, '/')) > d->dir + out;)
        *slash = 0;
}

/* Unless the directory is unclean, its mark goes too: the next run may not write over it. */
static void leave(struct packer *d)
{
    if (d->lock >= 0) {
        if (!d->unclean)
            unlink(file_path(d->dir, packing, ""));
        close(d->lock);
        remove_empty(d);
    }
    d->lock = -1;
    free(d->dir);
    d->dir = NULL;
}

/* Remove what is in dir and judged to be left over. */
static int remove_if(const char *dir, bool (*left)(const char *name))
{
    DIR *d = opendir(dir);
    if (!d)
        return fail("%s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));)
        if (left(e->d_name))
            unlink(file_path(dir, e->d_name, ""));
    closedir(d);
    return 0;
}

static bool is_part(const char *name)
{
    const char *part = strstr(name, ".part.");
    return part && part[6] && strspn(part + 6, "0123456789") == strlen(part + 6);
}

static bool is_shard(const char *name)
{
    size_t n = strlen(name);
    return !strncmp(name, ".shard-", 7) || !strcmp(name, ".sharing") ||
           (n > 7 && !strcmp(name + n - 7, ".shards"));
}

int packer_remove_parts(const char *dir)
{
    return remove_if(dir, is_part);
}

int packer_remove_shards(const char *dir)
{
    return remove_if(dir, is_shard);
}

static bool exists(const char *path)
{
    struct stat st;
    return !stat(path, &st);
}

/* Something that we may not overwrite, or NULL. */
static const char *in_the_way(const char *dir)
{
    static const char *const suffixes[] = {".npy", ".bin", "_000000.bin", ".ds"};
    for (int s = 0; s < PACKER_SPLITS; s++)
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
            const char *path = file_path(dir, packer_split_name[s], suffixes[i]);
            if (exists(path))
                return path;
        }
    const char *path = file_path(dir, MANIFEST_NAME, "");
    return exists(path) ? path : NULL;
}

int packer_open(struct packer *d, const struct packer_plan *plan, bool force)
{
    *d = (struct packer){.plan = plan, .lock = -1, .force = force};
    d->dir = packer_path(plan);
    if (!d->dir)
        return -1;
    bool was_there = exists(d->dir), known = true;
    for (int s = 0; s < PACKER_SPLITS; s++)
        known &= plan->source_known[s];
    if (was_there) {
        if (known && !force && packer_stands(plan, d->dir)) {
            leave(d);
            return 1;
        }
        d->unclean = exists(file_path(d->dir, packing, ""));
        const char *other = in_the_way(d->dir);
        bool whole = other && exists(file_path(d->dir, MANIFEST_NAME, ""));
        /* Where sources come from a pipe, commit compares. */
        if (other && !force && (whole ? known : !d->unclean)) {
            fail("%s: exists already, from another source or with other options; --force replaces "
                 "it",
                 other);
            goto fail;
        }
    }
    if (make_dirs(d->dir) || take_lock(d) || packer_remove_shards(d->dir) ||
        (d->unclean && packer_remove_parts(d->dir)))
        goto fail;
    return 0;
fail:
    leave(d);
    return -1;
}

/* ---- ids ---------------------------------------------------------------------------------- */

int packer_begin(struct packer *d, int split, uint64_t tokens, uint64_t documents)
{
    const struct packer_plan *p = d->plan;
    struct sink_plan plan = {
        .format = p->format,
        .dir = d->dir,
        .split = packer_split_name[split],
        .id_bytes = tok_id_bytes(&p->meta),
        .tokens = tokens,
        .documents = documents,
        .tmp = p->tmp,
    };
    if (sink_dtype(&plan.dtype, p->format, p->dtype, p->meta.vocab_size))
        return -1;
    return sink_open(&d->split[split], &plan);
}

int packer_document(struct packer *d, int split)
{
    return sink_document(&d->split[split]);
}

int packer_put(struct packer *d, int split, const void *stored, size_t count)
{
    return sink_put(&d->split[split], stored, count);
}

/* ---- commit ------------------------------------------------------------------------------- */

static int seal(struct packer *d, struct manifest *m)
{
    char *options = packer_options(d->plan);
    int status = options ? 0 : fail("%s: out of memory", d->dir);
    for (int s = 0; !status && s < PACKER_SPLITS; s++) {
        struct sink *split = &d->split[s];
        status = sink_seal(split);
        for (size_t i = 0; !status && i < split->file_count; i++) {
            const struct sink_file *from = &split->files[i];
            struct manifest_file f = packer_line(d->plan, s, options);
            f.path = from->path;
            f.dtype = from->dtype;
            f.bytes = from->bytes;
            f.tokens = from->tokens;
            f.documents = from->documents;
            f.xxh3 = from->xxh3;
            f.crc32c = from->crc32c;
            f.block_bytes = from->block_bytes;
            f.blocks = from->blocks;
            status = manifest_add(m, &f);
        }
    }
    free(options);
    return status;
}

/* Copy the user's pickle, which only the Python reader needs. */
static int pickle(struct packer *d, struct writer *w, struct manifest *m)
{
    struct map map;
    const char *from = d->plan->tokenizer_pkl;
    if (!*from)
        return 0;
    if (map_open(&map, from))
        return -1;
    int status = writer_open(w, file_path(d->dir, "tokenizer.pkl", ""));
    if (!status)
        status = writer_put(w, map.data, map.bytes);
    if (!status) {
        struct manifest_file f = m->files[0];
        f.path = "tokenizer.pkl";
        f.dtype = "pickle";
        f.bytes = map.bytes;
        f.tokens = f.documents = 0;
        status = manifest_add_sums(m, &f, map.data);
    }
    map_close(&map);
    return status;
}

static bool same_files(const struct manifest *a, const char *dir)
{
    struct manifest b;
    if (manifest_read(&b, file_path(dir, MANIFEST_NAME, "")))
        return false;
    bool same = a->count == b.count;
    for (size_t i = 0; same && i < a->count; i++)
        same = !strcmp(a->files[i].path, b.files[i].path) &&
               !strcmp(a->files[i].xxh3.hex, b.files[i].xxh3.hex) &&
               same_source(&a->files[i], &b.files[i]) &&
               has_bytes(file_path(dir, b.files[i].path, ""), b.files[i].bytes);
    manifest_free(&b);
    return same;
}

static int rename_all(struct packer *d, struct writer *pkl, const struct manifest *m)
{
    const char *manifest = file_path(d->dir, MANIFEST_NAME, "");
    d->unclean = true;
    if (unlink(manifest) && errno != ENOENT)
        return fail("%s: cannot be replaced: %s", manifest, strerror(errno));
    for (int s = 0; s < PACKER_SPLITS; s++)
        if (sink_commit(&d->split[s]))
            return -1;
    if (pkl->path && writer_commit(pkl))
        return -1;
    return manifest_write(m, file_path(d->dir, MANIFEST_NAME, ""));
}

int packer_commit(struct packer *d)
{
    struct manifest m = {0};
    struct writer pkl = {0};
    int status = seal(d, &m);
    if (!status)
        status = pickle(d, &pkl, &m);
    if (!status && !d->force && exists(file_path(d->dir, MANIFEST_NAME, ""))) {
        if (same_files(&m, d->dir))
            status = 1;
        else
            status = fail("%s: holds a dataset of another source or with other options; --force "
                          "replaces it",
                          d->dir);
    }
    if (!status)
        status = rename_all(d, &pkl, &m);
    for (int s = 0; s < PACKER_SPLITS; s++)
        sink_close(&d->split[s]); /* harmless when committed */
    writer_abandon(&pkl);
    manifest_free(&m);
    d->unclean &= status < 0;
    leave(d);
    return status;
}

void packer_abandon(struct packer *d)
{
    if (!d->dir)
        return;
    for (int s = 0; s < PACKER_SPLITS; s++)
        sink_close(&d->split[s]);
    leave(d);
}
