/* match.c -- the tensors that a file has, against those that a model wants. */
#include "match.h"

#include <stdio.h>
#include <stdlib.h>

enum { TOLD = 5, NAME_BYTES = 256 };

char *match_name(char *buf, const char *name)
{
    snprintf(buf, NAME_BYTES, "%s", name);
    for (char *c = buf; *c; c++)
        if (*c == '\n')
            *c = '/';
    return buf;
}

/* Names for a sentence: the first few, and how many more. */
struct names {
    char text[512];
    size_t used;
    int count;
};

static void tell(struct names *n, const char *name)
{
    char text[NAME_BYTES];
    n->count++;
    if (n->used >= sizeof n->text || n->count > TOLD + 1)
        return;
    const char *last = n->count > TOLD ? "..." : match_name(text, name);
    n->used += (size_t)snprintf(n->text + n->used, sizeof n->text - n->used, "%s%s",
                                n->count > 1 ? ", " : "", last);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* Tell the names of `some` that `all` lacks. */
static int tell_absent(struct names *absent, const char *path, const struct tensor *some, int count,
                       const struct tensor *all, int of)
{
    struct tensor *sorted = malloc(((size_t)of + 1) * sizeof *sorted);
    if (!sorted)
        return fail("%s: out of memory", path);
    memcpy(sorted, all, (size_t)of * sizeof *sorted);
    qsort(sorted, (size_t)of, sizeof *sorted, by_name);
    for (int i = 0; i < count; i++)
        if (!bsearch(&some[i], sorted, (size_t)of, sizeof *sorted, by_name))
            tell(absent, some[i].name);
    free(sorted);
    return 0;
}

int match_names(const char *path, const struct tensor *want, int wanted, const struct tensor *have,
                int count)
{
    struct names missing = {.count = 0}, extra = {.count = 0};
    if (tell_absent(&extra, path, have, count, want, wanted) ||
        tell_absent(&missing, path, want, wanted, have, count))
        return -1;
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

int match_shape(const char *path, const struct tensor *want, const struct tensor *have)
{
    char name[NAME_BYTES], a[192], b[192];
    if (have->dims == want->dims &&
        !memcmp(have->shape, want->shape, (size_t)have->dims * sizeof *have->shape))
        return 0;
    return fail("%s: tensor %s has the shape %s, but this model's is %s", path,
                match_name(name, have->name),
                tensor_shape_text(a, sizeof a, have->shape, have->dims),
                tensor_shape_text(b, sizeof b, want->shape, want->dims));
}
