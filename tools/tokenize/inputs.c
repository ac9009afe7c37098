/* inputs.c -- the list of inputs that the operands mean. */
#include "inputs.h"
#include "grow.h"

#include "input.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void inputs_close(struct inputs *in)
{
    for (size_t i = 0; i < in->count; i++)
        free(in->paths[i]);
    free(in->paths);
    free(in->bytes);
    *in = (struct inputs){0};
}

static int add(struct inputs *in, const char *path, const struct stat *st)
{
    if (in->count == in->room) {
        size_t room = in->room ? 2 * in->room : 64;
        char **paths = realloc(in->paths, sizeof *paths * room);
        if (paths)
            in->paths = paths;
        uint64_t *bytes = realloc(in->bytes, sizeof *bytes * room);
        if (bytes)
            in->bytes = bytes;
        if (!paths || !bytes)
            return fail("out of memory for a list of %zu inputs", room);
        in->room = room;
    }
    bool regular = st && S_ISREG(st->st_mode);
    in->paths[in->count] = strdup(path);
    if (!in->paths[in->count])
        return fail("out of memory");
    in->bytes[in->count] = regular ? (uint64_t)st->st_size : 0;
    in->total += in->bytes[in->count++];
    in->regular = in->regular && regular;
    uint64_t facts[4] = {in->identity, in->bytes[in->count - 1],
                         regular ? (uint64_t)st->st_mtim.tv_sec : 0,
                         regular ? (uint64_t)st->st_mtim.tv_nsec : 0};
    in->identity = XXH3_64bits_withSeed(path, strlen(path), XXH3_64bits(facts, sizeof facts));
    return 0;
}

/* ---- folders ------------------------------------------------------------------------------ */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct found {
    char **paths;
    size_t count, room;
};

static int keep(struct found *f, const char *path)
{
    if (grow(&f->paths, f->count, &f->room, sizeof *f->paths, 64, "inputs"))
        return -1;
    f->paths[f->count] = strdup(path);
    return f->paths[f->count++] ? 0 : fail("out of memory");
}

static int walk(struct inputs *in, FTS *fts, bool any_name, struct found *f)
{
    FTSENT *e;
    errno = 0;
    while ((e = fts_read(fts))) {
        bool hidden = e->fts_level > 0 && e->fts_name[0] == '.';
        if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS)
            return fail("%s: %s", e->fts_path, strerror(e->fts_errno));
        if (e->fts_info == FTS_D && hidden)
            fts_set(fts, e, FTS_SKIP);
        if (e->fts_info != FTS_F || hidden)
            continue;
        if (!any_name && input_name_format(e->fts_name) == INPUT_UNKNOWN)
            in->passed++;
        else if (keep(f, e->fts_path))
            return -1;
    }
    return errno ? fail("%s", strerror(errno)) : 0;
}

static int add_folder(struct inputs *in, char *path, bool any_name)
{
    struct found f = {0};
    char *roots[] = {path, NULL};
    FTS *fts = fts_open(roots, FTS_LOGICAL | FTS_NOCHDIR, by_name);
    int status = fts ? walk(in, fts, any_name, &f) : fail("%s: %s", path, strerror(errno));
    if (fts)
        fts_close(fts);
    /* As one list of strings, which is how a pattern of the shell is sorted as well. */
    if (!status && f.count)
        qsort(f.paths, f.count, sizeof *f.paths, by_bytes);
    for (size_t i = 0; i < f.count; i++) {
        struct stat st;
        if (!status && stat(f.paths[i], &st))
            status = fail("%s: %s", f.paths[i], strerror(errno));
        if (!status)
            status = add(in, f.paths[i], &st);
        free(f.paths[i]);
    }
    free(f.paths);
    return status;
}

/* ---- operands ----------------------------------------------------------------------------- */

static int add_path(struct inputs *in, char *path, struct inputs_rule rule)
{
    struct stat st;
    if (!strcmp(path, "-")) {
        for (size_t i = 0; i < in->count; i++)
            if (!strcmp(in->paths[i], "-"))
                return fail("standard input (-) is named twice");
        return add(in, path, NULL);
    }
    if (stat(path, &st))
        return fail("%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return add(in, path, &st);
    if (!rule.recursive)
        return fail("%s: is a directory; add -r to take the files in it", path);
    return add_folder(in, path, rule.any_name);
}

/* Names ended by NUL, as find -print0 writes them. */
static int add_list(struct inputs *in, const char *list, struct inputs_rule rule)
{
    bool from_stdin = !strcmp(list, "-");
    const char *shown = from_stdin ? "standard input" : list;
    FILE *f = from_stdin ? stdin : fopen(list, "rb");
    if (!f)
        return fail("%s: %s", list, strerror(errno));
    char *name = NULL;
    size_t room = 0;
    ssize_t n;
    int status = 0;
    while (!status && (n = getdelim(&name, &room, 0, f)) > 0) {
        if (from_stdin && !strcmp(name, "-"))
            status = fail("standard input holds the list: it cannot name itself (-)");
        else if (*name)
            status = add_path(in, name, rule);
    }
    if (!status && ferror(f))
        status = fail("%s: %s", shown, strerror(errno));
    free(name);
    if (!from_stdin)
        fclose(f);
    return status;
}

int inputs_open(struct inputs *in, char **operands, struct inputs_rule rule)
{
    *in = (struct inputs){.regular = true};
    int status = 0;
    for (; !status && *operands; operands++)
        status = rule.lists ? add_list(in, *operands, rule) : add_path(in, *operands, rule);
    if (!status && !in->count)
        status = fail("no input: %s", in->passed ? "no file in the folders is called .jsonl, "
                                                   ".ndjson, .json, .txt, .tar or .zip; add "
                                                   "--format to take them all"
                                                 : "the list is empty");
    if (status)
        inputs_close(in);
    return status;
}
