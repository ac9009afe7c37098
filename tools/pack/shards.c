/* shards.c -- a dataset directory that several programs write at once. */
#include "shards.h"
#include "ids.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPAN_BYTES = 1 << 18, PART_IDS = 8192 };

static const char *const kinds[] = {".npy", ".offsets"};

/* DIR/NAME and suffix, in a buffer that the next call but one overwrites. */
static const char *path_of(const struct shards *s, const char *name, const char *suffix)
{
    static char *held[2];
    static int next;
    char **path = &held[next++ % 2];
    free(*path);
    if (asprintf(path, "%s/%s%s", s->dir, name, suffix) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    return *path;
}

static const char *growing(const struct shards *s, int split, int kind)
{
    char suffix[32];
    snprintf(suffix, sizeof suffix, "%s.shards", kinds[kind]);
    return path_of(s, packer_split_name[split], suffix);
}

/* The growing file, or where it has gone when a run was killed while it named files. */
static const char *grown(const struct shards *s, int split, int kind)
{
    struct stat st;
    const char *path = growing(s, split, kind);
    return stat(path, &st) ? path_of(s, packer_split_name[split], kinds[kind]) : path;
}

static const char *mark_path(const struct shards *s, int index)
{
    char name[48];
    snprintf(name, sizeof name, ".shard-%d-of-%d", index, s->count);
    return path_of(s, name, "");
}

/* What the parts are made of, and how many there are; owned by the caller. */
static char *identity(const struct shards *s)
{
    char *options = packer_options(s->plan), *text = NULL;
    const struct manifest_source *in = s->plan->source;
    if (!options ||
        asprintf(&text, "%d %s %s %" PRId64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %s\n",
                 s->count, options, s->plan->tokenizer_name, s->plan->split_seed, in[0].chain,
                 in[1].chain, in[2].chain, s->plan->meta.tokenizer.hex) < 0)
        abort(); /* a few hundred bytes: nothing sensible can go on */
    free(options);
    return text;
}

/* 1: the mark is there and says the same; 0: there is none; -1: it says something else. */
static int mark_look(const struct shards *s, int index)
{
    const char *path = mark_path(s, index);
    struct stat st;
    struct map m;
    if (stat(path, &st))
        return 0;
    if (map_open(&m, path))
        return -1;
    char *mine = identity(s);
    bool same = m.bytes == strlen(mine) && !memcmp(m.data, mine, m.bytes);
    free(mine);
    map_close(&m);
    return same ? 1
                : fail("%s: made of other streams or with other options; remove the folder to "
                       "begin anew",
                       path);
}

/* What the parts leave when all is whole, also when the last was killed before it could. */
static void sweep(const struct shards *s)
{
    if (packer_remove_shards(s->dir))
        return; /* it stays in the way of nothing */
    unlink(path_of(s, ".packing", ""));
}

/* The lock that one ttt-pack has alone, or all that write parts have together. */
static int lock_take(struct shards *s, int how)
{
    const char *path = path_of(s, ".packing", "");
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) + 1;
    if (!s->lock)
        return fail("%s: cannot be created: %s", path, strerror(errno));
    if (flock(s->lock - 1, how | LOCK_NB) && errno == EWOULDBLOCK)
        return fail("%s: another ttt-pack is writing this dataset now", s->dir);
    return 0;
}

int shards_clear(const struct packer_plan *plan, int count, bool force)
{
    struct shards s = {.plan = plan, .count = count};
    struct stat st;
    s.dir = packer_path(plan);
    int status = s.dir ? 0 : -1;
    if (!status && !force && packer_stands(plan, s.dir))
        status = 1;
    if (!status)
        status = make_dirs(s.dir) || lock_take(&s, LOCK_EX) ? -1 : 0;
    if (!status && !stat(path_of(&s, MANIFEST_NAME, ""), &st)) {
        if (!force)
            status = fail("%s: holds a dataset of another source or with other options; --force "
                          "replaces it",
                          s.dir);
        else if (unlink(path_of(&s, MANIFEST_NAME, "")))
            status = fail("%s: %s", path_of(&s, MANIFEST_NAME, ""), strerror(errno));
    }
    bool mine = !force;
    for (int i = 0; !status && i < count; i++)
        mine &= mark_look(&s, i) >= 0;
    for (int split = 0; !status && split < PACKER_SPLITS; split++) {
        /* Files that have their names are of a run that was killed while it named them, or not
           ours. */
        const char *path = path_of(&s, packer_split_name[split], ".npy");
        if (!stat(path, &st) && !force && mark_look(&s, 0) != 1)
            status = fail("%s: exists already; --force replaces it", path);
    }
    if (!status && !mine)
        status = packer_remove_shards(s.dir);
    shards_close(&s);
    return status;
}

int shards_open(struct shards *s, const struct packer_plan *plan, int index, int count)
{
    struct stat st;
    *s = (struct shards){.plan = plan, .index = index, .count = count};
    s->dir = packer_path(plan);
    int status = s->dir ? sink_dtype(&s->dtype, SINK_NPY, plan->dtype, plan->meta.vocab_size) : -1;
    if (!status && packer_stands(plan, s->dir)) {
        sweep(s);
        return 1;
    }
    if (!status && !stat(path_of(s, MANIFEST_NAME, ""), &st))
        status = fail("%s: holds a dataset of another source or with other options", s->dir);
    if (!status)
        status = make_dirs(s->dir);
    if (!status)
        status = lock_take(s, LOCK_SH);
    for (int i = 0; !status && i < count; i++)
        status = mark_look(s, i) < 0 ? -1 : 0;
    if (!status)
        return mark_look(s, index) ? 2 : 0;
    shards_close(s);
    return -1;
}

void shards_close(struct shards *s)
{
    for (int i = 0; i < PACKER_SPLITS; i++)
        for (int k = 0; k < 2; k++) {
            struct shards_span *p = k ? &s->offsets[i] : &s->ids[i];
            if (p->fd)
                close(p->fd - 1);
            free(p->held);
        }
    if (s->lock)
        close(s->lock - 1);
    free(s->dir);
    *s = (struct shards){0};
}

/* ---- one part ----------------------------------------------------------------------------- */

static int span_write(struct shards_span *p, const void *data, size_t bytes, uint64_t at)
{
    const char *from = data;
    while (bytes) {
        ssize_t n = pwrite(p->fd - 1, from, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("a part of the dataset at byte %" PRIu64 ": %s", at, strerror(errno));
        from += n;
        at += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int span_flush(struct shards_span *p)
{
    size_t bytes = p->bytes;
    p->bytes = 0;
    if (span_write(p, p->held, bytes, p->at))
        return -1;
    p->at += bytes;
    return 0;
}

static int span_put(struct shards_span *p, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    for (size_t n; bytes; bytes -= n, from += n) {
        n = SPAN_BYTES - p->bytes < bytes ? SPAN_BYTES - p->bytes : bytes;
        memcpy(p->held + p->bytes, from, n);
        p->bytes += n;
        if (p->bytes == SPAN_BYTES && span_flush(p))
            return -1;
    }
    return 0;
}

static int span_open(struct shards_span *p, const char *path, enum npy_dtype dtype, uint64_t count,
                     uint64_t first)
{
    uint8_t header[NPY_HEADER_BYTES];
    uint64_t item = npy_item_bytes(dtype), size = sizeof header + count * item;
    npy_header(header, dtype, count);
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) + 1;
    p->held = malloc(SPAN_BYTES);
    p->at = sizeof header + first * item;
    if (!p->fd || !p->held)
        return fail("%s: cannot be opened: %s", path, strerror(errno));
    /* Room for all of it now, so that a full disk shows before the work, where the file system can
       reserve. */
    if (fallocate(p->fd - 1, 0, 0, (off_t)size) &&
        (errno == ENOSPC || errno == EFBIG || errno == EDQUOT || ftruncate(p->fd - 1, (off_t)size)))
        return fail("%s: %s: %" PRIu64 " bytes are needed", path, strerror(errno), size);
    return span_write(p, header, sizeof header, 0);
}

int shards_begin(struct shards *s, int split, uint64_t tokens, uint64_t documents, uint64_t number,
                 uint64_t at)
{
    s->tokens[split] = tokens;
    s->documents[split] = documents;
    s->next[split] = at;
    if (span_open(&s->ids[split], growing(s, split, 0), s->dtype, tokens, at) ||
        span_open(&s->offsets[split], growing(s, split, 1), NPY_U8, documents + 1, number))
        return -1;
    /* The last number of all is the same whoever writes it. */
    return span_write(&s->offsets[split], &s->tokens[split], 8, NPY_HEADER_BYTES + 8 * documents);
}

int shards_put(struct shards *s, int split, const void *stored, size_t count, bool first)
{
    size_t from = tok_id_bytes(&s->plan->meta), item = npy_item_bytes(s->dtype);
    if (first && span_put(&s->offsets[split], &s->next[split], 8))
        return -1;
    s->next[split] += count;
    if (from == item)
        return span_put(&s->ids[split], stored, count * item);
    if (item < from)
        return fail("--dtype=%s is narrower than the streams: shards do not narrow",
                    s->plan->dtype);
    uint32_t wide[PART_IDS];
    for (size_t at = 0, n; at < count; at += n) {
        n = count - at < PART_IDS ? count - at : PART_IDS;
        ids_widen(wide, (const uint8_t *)stored + at * from, n, from);
        if (span_put(&s->ids[split], wide, n * item))
            return -1;
    }
    return 0;
}

int shards_done(struct shards *s)
{
    struct writer w;
    for (int i = 0; i < PACKER_SPLITS; i++) {
        struct shards_span *p[] = {&s->ids[i], &s->offsets[i]};
        for (int k = 0; k < 2; k++)
            if (span_flush(p[k]) || fsync(p[k]->fd - 1))
                return fail("%s: %s", growing(s, i, k), strerror(errno));
    }
    char *mine = identity(s);
    int status = writer_open(&w, mark_path(s, s->index));
    if (!status && !(status = writer_put(&w, mine, strlen(mine))))
        status = writer_commit(&w);
    free(mine);
    return status;
}

/* ---- all parts ---------------------------------------------------------------------------- */

static int line_add(const struct shards *s, struct manifest *m, const char *options, int split,
                    int kind)
{
    struct npy a;
    char name[32];
    if (npy_open(&a, grown(s, split, kind)))
        return -1;
    snprintf(name, sizeof name, "%s%s", packer_split_name[split], kinds[kind]);
    struct manifest_file f = packer_line(s->plan, split, options);
    f.path = name;
    f.dtype = npy_dtype_name(a.dtype);
    f.bytes = a.map.bytes;
    f.tokens = a.count;
    f.documents = kind ? a.count - 1 : 0;
    int status = manifest_add_sums(m, &f, a.map.data);
    npy_close(&a);
    return status;
}

/* Ids and offsets know half of what both lines say. */
static void lines_complete(struct manifest *m)
{
    for (size_t i = 0; i + 1 < m->count; i += 2) {
        m->files[i].documents = m->files[i + 1].documents;
        m->files[i + 1].tokens = m->files[i].tokens;
    }
}

static int finish(struct shards *s)
{
    struct manifest m = {0};
    char *options = packer_options(s->plan);
    int status = options ? packer_remove_parts(s->dir) : fail("out of memory");
    for (int i = 0; !status && i < PACKER_SPLITS; i++)
        for (int k = 0; !status && k < 2; k++)
            status = line_add(s, &m, options, i, k);
    lines_complete(&m);
    for (int i = 0; !status && i < PACKER_SPLITS; i++)
        for (int k = 0; !status && k < 2; k++) {
            char *to = strdup(path_of(s, packer_split_name[i], kinds[k]));
            if (!to || rename(grown(s, i, k), to))
                status = fail("%s: %s", to ? to : s->dir, strerror(errno));
            free(to);
        }
    if (!status)
        status = manifest_write(&m, path_of(s, MANIFEST_NAME, ""));
    free(options);
    manifest_free(&m);
    return status ? -1 : 1;
}

int shards_finish(struct shards *s, int *missing)
{
    *missing = 0;
    const char *path = path_of(s, ".sharing", "");
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0 || flock(lock, LOCK_EX))
        return fail("%s: %s", path, strerror(errno));
    int status = packer_stands(s->plan, s->dir);
    for (int i = 0; !status && i < s->count; i++)
        *missing += mark_look(s, i) != 1;
    if (!status && !*missing)
        status = finish(s);
    if (status == 1)
        sweep(s);
    close(lock);
    return status;
}
