/* dataset.c -- find the directory of .npy files that --dataset_path means. */
#include "dataset.h"
#include "file.h"
#include "report.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char PREFIX[] = "tokenizer_name-";
static const char OPTIONS[] = "-val_ratio-";
/* The options that the reference's trainer always asks for. */
static const char USUAL[] = "-val_ratio-0.0005-val_split_seed-2357-add_eos-True-detokenize-False";

enum { MAX_FOUND = 64 };

/* The datasets below a path. */
struct found {
    struct {
        char *dir, *tokenizer;
        bool usual;
    } one[MAX_FOUND];
    int count;
};

static bool has_train(const char *dir)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/train.npy", dir);
    return n > 0 && n < (int)sizeof path && !access(path, R_OK);
}

static bool begins(const char *text, const char *prefix)
{
    return !strncmp(text, prefix, strlen(prefix));
}

/* Add dir, whose name below --dataset_path is `name`, if it is a dataset. */
static int add_if_dataset(struct found *f, const char *dir, const char *name)
{
    if (!has_train(dir) || f->count == MAX_FOUND)
        return 0;
    const char *tokenizer = name + strlen(PREFIX), *options = strstr(tokenizer, OPTIONS);
    size_t n = options ? (size_t)(options - tokenizer) : strlen(tokenizer);
    char *dir_copy = strdup(dir), *tokenizer_copy = strndup(tokenizer, n);
    if (!dir_copy || !tokenizer_copy) {
        free(dir_copy);
        free(tokenizer_copy);
        return fail("%s: out of memory", dir);
    }
    f->one[f->count].dir = dir_copy;
    f->one[f->count].tokenizer = tokenizer_copy;
    f->one[f->count].usual = options && !strcmp(options, USUAL);
    f->count++;
    return 0;
}

/* Collect what lies in `dir`, whose own name below --dataset_path is `name` ("" at the top). */
static int scan(struct found *f, const char *dir, const char *name)
{
    DIR *d = opendir(dir);
    if (!d)
        return fail("%s: %s", dir, strerror(errno));
    int status = 0;
    for (struct dirent *e; !status && (e = readdir(d));) {
        char below[PATH_MAX], path[PATH_MAX];
        bool fits = snprintf(path, sizeof path, "%s/%s", dir, e->d_name) < (int)sizeof path &&
                    snprintf(below, sizeof below, "%s%s%s", name, *name ? "/" : "", e->d_name) <
                        (int)sizeof below;
        if (!fits || e->d_name[0] == '.' || (!*name && !begins(e->d_name, PREFIX)))
            continue;
        status = add_if_dataset(f, path, below);
        if (!status && !*name && !has_train(path) && e->d_type != DT_REG)
            status = scan(f, path, below);
    }
    closedir(d);
    return status;
}

static void release(struct found *f)
{
    for (int i = 0; i < f->count; i++) {
        free(f->one[i].dir);
        free(f->one[i].tokenizer);
    }
}

/* The index to take, or -1 with why(). */
static int choose(const struct found *f, const char *path, const char *tokenizer, bool exactly)
{
    int match = -1, matches = 0, usual = -1;
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->one[i].tokenizer, tokenizer)) {
            match = i;
            matches++;
            usual = f->one[i].usual ? i : usual;
        }
    if (usual >= 0 || matches == 1)
        return usual >= 0 ? usual : match;
    if (matches > 1)
        return fail("%s: %d datasets of tokenizer %s lie here, made with different options; give "
                    "--dataset_path the directory of one's .npy files",
                    path, matches, tokenizer);
    if (f->count == 1 && !exactly) {
        say("%s: no dataset of tokenizer %s; taking the only one there, of %s", path, tokenizer,
            f->one[0].tokenizer);
        return 0;
    }
    if (!f->count)
        return fail("%s: no dataset lies here: expected a directory called tokenizer_name-..., or "
                    "train.npy; ttt-pack makes them",
                    path);
    char names[512] = "";
    size_t n = 0;
    for (int i = 0; i < f->count && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                              f->one[i].tokenizer);
    return fail("%s: no dataset of tokenizer %s; --tokenizer_name can be: %s", path, tokenizer,
                names);
}

/* The tokenizer's name from the last one or two parts of a dataset's own directory; "" if they do
   not tell. Owned by the caller. */
static char *name_of_leaf(const char *dir)
{
    char *full = realpath(dir, NULL);
    if (!full)
        return strdup("");
    char *start = strrchr(full, '/');
    start = start ? start + 1 : full;
    if (!begins(start, PREFIX) && start > full + 1) {
        start[-1] = 0;
        char *parent = strrchr(full, '/');
        start[-1] = '/';
        start = parent ? parent + 1 : start;
    }
    const char *options = strstr(start, OPTIONS);
    char *name = begins(start, PREFIX) && options
                     ? strndup(start + strlen(PREFIX), (size_t)(options - start) - strlen(PREFIX))
                     : strdup("");
    free(full);
    return name;
}

static int take(struct dataset *d, const char *path, const char *tokenizer, bool exactly)
{
    if (has_train(path)) {
        d->dir = strdup(path);
        d->tokenizer = name_of_leaf(path);
        if (!d->dir || !d->tokenizer)
            return fail("%s: out of memory", path);
        if (exactly && *d->tokenizer && strcmp(d->tokenizer, tokenizer))
            return fail("%s: a dataset of tokenizer %s, not of %s", path, d->tokenizer, tokenizer);
        if (exactly && !*d->tokenizer) {
            free(d->tokenizer);
            d->tokenizer = strdup(tokenizer);
        }
        return d->tokenizer ? 0 : fail("%s: out of memory", path);
    }
    struct found f = {0};
    int which = scan(&f, path, "") ? -1 : choose(&f, path, tokenizer, exactly);
    if (which >= 0) {
        d->dir = f.one[which].dir;
        d->tokenizer = f.one[which].tokenizer;
        f.one[which].dir = f.one[which].tokenizer = NULL;
    }
    release(&f);
    return which < 0 ? -1 : 0;
}

/* What the manifest tells, where there is one; else what the tokenizer's name does. */
static int learn(struct dataset *d)
{
    d->vocab_size = !strcmp(d->tokenizer, DATASET_LLAMA2) ? 32000 : 0;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", d->dir, MANIFEST_NAME) >= (int)sizeof path)
        return fail("%s: the path is too long", d->dir);
    if (access(path, F_OK))
        return 0;
    struct map text;
    if (map_open(&text, path))
        return -1;
    d->digest = xxh3_of(text.data, text.bytes);
    map_close(&text);
    if (manifest_read(&d->manifest, path))
        return -1;
    d->has_manifest = true;
    const struct manifest_file *train = manifest_find(&d->manifest, "train.npy");
    if (!train)
        return fail("%s: tells nothing of train.npy", path);
    if (train->vocab_size == 0 || train->vocab_size > INT32_MAX)
        return fail("%s: %" PRIu32 " is not a vocabulary", path, train->vocab_size);
    d->vocab_size = (int)train->vocab_size;
    if (!*d->tokenizer) {
        free(d->tokenizer);
        d->tokenizer = strdup(train->tokenizer_name);
        if (!d->tokenizer)
            return fail("%s: out of memory", path);
    }
    return 0;
}

int dataset_find(struct dataset *d, const char *path, const char *tokenizer, bool exactly)
{
    *d = (struct dataset){0};
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *bare = strndup(path, n);
    int status = bare ? 0 : fail("%s: out of memory", path);
    if (!status && (take(d, bare, tokenizer, exactly) || learn(d))) {
        dataset_close(d);
        status = -1;
    }
    free(bare);
    return status;
}

void dataset_close(struct dataset *d)
{
    manifest_free(&d->manifest);
    free(d->dir);
    free(d->tokenizer);
    *d = (struct dataset){0};
}

int dataset_split(const struct dataset *d, const char *split, char path[PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof name, "%s.npy", split);
    if (snprintf(path, PATH_MAX, "%s/%s", d->dir, name) >= PATH_MAX)
        return fail("%s: the path is too long", d->dir);
    struct stat st;
    if (stat(path, &st))
        return fail("%s: %s", path, strerror(errno));
    const struct manifest_file *told = manifest_find(&d->manifest, name);
    if (told && told->bytes != (uint64_t)st.st_size)
        return fail("%s: %" PRIu64 " bytes, but the manifest beside it says %" PRIu64
                    "; is it still being written, or cut? (ttt-verify)",
                    path, (uint64_t)st.st_size, told->bytes);
    return 0;
}
