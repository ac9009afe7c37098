/* localname.c -- which names of objects may become paths below a folder. */
#include "localname.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

static bool ends(const char *text, size_t bytes, const char *suffix)
{
    size_t n = strlen(suffix);
    return bytes >= n && !memcmp(text + bytes - n, suffix, n);
}

static int check_component(const char *p, size_t n)
{
    if (n == 0)
        return fail("its name has an empty part (a slash at an end, or two in a row)");
    if ((n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
        return fail("\"%.*s\" in its name would lead to another folder", (int)n, p);
    if (n > NAME_MAX)
        return fail("a part of its name has %zu bytes; files here have names of up to %d", n,
                    NAME_MAX);
    if (ends(p, n, PART_SUFFIX) || ends(p, n, JOURNAL_SUFFIX))
        return fail("names ending in " PART_SUFFIX " or " JOURNAL_SUFFIX " are kept for files "
                    "on their way");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
            return fail("its name has a control character (byte 0x%02x)", (unsigned char)p[i]);
    return 0;
}

int localname_check(const char *relative)
{
    if (strlen(relative) >= PATH_MAX)
        return fail("its name is too long for a path");
    for (const char *p = relative;;) {
        size_t n = strcspn(p, "/");
        if (check_component(p, n))
            return -1;
        if (!p[n])
            return 0;
        p += n + 1;
    }
}

char *localname_beside(const char *path, const char *suffix)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *beside;
    int n;
    if (strlen(name) + strlen(JOURNAL_SUFFIX) <= NAME_MAX)
        n = asprintf(&beside, "%s%s", path, suffix);
    else
        n = asprintf(&beside, "%.*s%.200s~%016llx%s", (int)(name - path), path, name,
                     (unsigned long long)XXH3_64bits(name, strlen(name)), suffix);
    return n < 0 ? NULL : beside;
}

char *localname_show(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    return text;
}

/* ---- paths taken -------------------------------------------------------------------------- */

static uint64_t hash_of(const char *path, size_t bytes)
{
    uint64_t h = XXH3_64bits(path, bytes);
    return h ? h : 1;
}

static uint64_t slot_of(const struct hash_set *s, uint64_t h)
{
    uint64_t i = h & (s->room - 1);
    while (s->slots[i] && s->slots[i] != h)
        i = (i + 1) & (s->room - 1);
    return i;
}

static bool has(const struct hash_set *s, uint64_t h)
{
    return s->room && s->slots[slot_of(s, h)];
}

static int add(struct hash_set *s, uint64_t h)
{
    if (s->count * 3 >= s->room * 2) {
        struct hash_set wide = {.room = s->room ? 2 * s->room : 1024, .count = s->count};
        wide.slots = calloc(wide.room, sizeof *wide.slots);
        if (!wide.slots)
            return fail("out of memory");
        for (uint64_t i = 0; i < s->room; i++)
            if (s->slots[i])
                wide.slots[slot_of(&wide, s->slots[i])] = s->slots[i];
        free(s->slots);
        *s = wide;
    }
    uint64_t i = slot_of(s, h);
    s->count += s->slots[i] == 0;
    s->slots[i] = h;
    return 0;
}

int localnames_take(struct localnames *n, const char *relative)
{
    uint64_t self = hash_of(relative, strlen(relative));
    if (has(&n->files, self))
        return fail("another object of this copy is written to the same file");
    if (has(&n->folders, self))
        return fail("other objects of this copy need a folder of that name");
    for (const char *p = relative; (p = strchr(p, '/')) != NULL; p++)
        if (has(&n->files, hash_of(relative, (size_t)(p - relative))))
            return fail("%.*s is an object of this copy, so it cannot be a folder too",
                        (int)(p - relative), relative);
    for (const char *p = relative; (p = strchr(p, '/')) != NULL; p++)
        if (add(&n->folders, hash_of(relative, (size_t)(p - relative))))
            return -1;
    return add(&n->files, self);
}

void localnames_free(struct localnames *n)
{
    free(n->files.slots);
    free(n->folders.slots);
    *n = (struct localnames){0};
}
