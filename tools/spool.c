/* spool.c -- documents laid down in a nameless file. */
#include "spool.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PART_IDS = 8192 };

/* A new file without a name, in the folder that suits; NULL with why(). */
static FILE *nameless(const char *beside)
{
    const char *dir = getenv("TMPDIR"), *slash = strrchr(beside, '/');
    char *name = NULL;
    if (!dir || !*dir)
        dir = !strcmp(beside, "-") ? P_tmpdir : NULL;
    int n = dir     ? asprintf(&name, "%s/ttt-spool-XXXXXX", dir)
            : slash ? asprintf(&name, "%.*s.ttt-spool-XXXXXX", (int)(slash + 1 - beside), beside)
                    : asprintf(&name, ".ttt-spool-XXXXXX");
    if (n < 0) {
        fail("out of memory");
        return NULL;
    }
    int fd = mkstemp(name);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (fd >= 0)
        unlink(name);
    if (!f) {
        fail("%s: a temporary file cannot be made: %s; TMPDIR names another folder", name,
             strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    free(name);
    return f;
}

static int start_add(struct spool *s)
{
    if (s->documents + 1 >= s->room) {
        uint64_t room = s->room ? s->room + s->room / 2 : 1024;
        uint64_t *grown = room <= SIZE_MAX / 8 ? realloc(s->starts, room * 8) : NULL;
        if (!grown)
            return fail("no memory for the places of %llu documents", (unsigned long long)room);
        s->starts = grown;
        s->room = room;
    }
    s->starts[s->documents] = s->tokens;
    return 0;
}

static int piece_put(struct spool *s, FILE *f, const struct tok_doc *piece)
{
    uint16_t narrow[PART_IDS];
    if (piece->first && start_add(s))
        return -1;
    for (size_t at = 0, n; at < piece->count; at += n) {
        n = piece->count - at < PART_IDS ? piece->count - at : PART_IDS;
        for (size_t i = 0; i < n; i++)
            narrow[i] = (uint16_t)piece->ids[at + i];
        const void *ids = s->id_bytes == 2 ? (const void *)narrow : piece->ids + at;
        if (fwrite(ids, s->id_bytes, n, f) != n)
            return fail("the temporary file: %s; TMPDIR names another folder", strerror(errno));
    }
    s->tokens += piece->count;
    s->documents += piece->last;
    return 0;
}

static int lay_down(struct spool *s, struct tok_reader *r, FILE *f)
{
    struct tok_doc piece;
    struct progress p;
    int status;
    progress_begin(&p, "read", "B", r->file_bytes);
    while ((status = tok_reader_piece(r, &piece)) > 0) {
        if (piece_put(s, f, &piece))
            return -1;
        progress_to(&p, r->offset);
    }
    progress_end(&p);
    if (status < 0 || start_add(s))
        return -1;
    if (fflush(f))
        return fail("the temporary file: %s; TMPDIR names another folder", strerror(errno));
    if (s->tokens == 0)
        return 0;
    size_t bytes = s->tokens * s->id_bytes;
    void *ids = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fileno(f), 0);
    if (ids == MAP_FAILED)
        return fail("the temporary file of %zu bytes: %s", bytes, strerror(errno));
    s->ids = (struct map){ids, bytes};
    return 0;
}

int spool_fill(struct spool *s, struct tok_reader *r, const char *beside)
{
    *s = (struct spool){.id_bytes = tok_id_bytes(&r->meta)};
    FILE *f = nameless(beside);
    if (!f)
        return -1;
    int status = lay_down(s, r, f);
    fclose(f); /* the map keeps the bytes */
    if (status)
        spool_close(s);
    return status;
}

void spool_close(struct spool *s)
{
    map_close(&s->ids);
    free(s->starts);
    *s = (struct spool){0};
}

int spool_document(const struct spool *s, uint64_t n, spool_take *take, void *to)
{
    uint32_t ids[PART_IDS];
    for (uint64_t at = s->starts[n], end = s->starts[n + 1]; at < end;) {
        size_t count = end - at < PART_IDS ? (size_t)(end - at) : PART_IDS;
        const uint8_t *from = s->ids.data + at * s->id_bytes;
        for (size_t i = 0; i < count; i++)
            ids[i] = s->id_bytes == 2 ? le16(from + 2 * i) : le32(from + 4 * i);
        if (take(to, ids, count))
            return -1;
        at += count;
    }
    return 0;
}
