/* gather.c -- documents of .tok files in another order, straight from the files. */
#include "gather.h"
#include "grow.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* The bytes of documents in a map are fetched before their turn: so many documents ahead, so
       much of each (the processor follows by itself then). */
    AHEAD = 4,
    AHEAD_BYTES = 1536,
    RAM_SHARE = 2, /* of the machine's memory, for files that are to stay there */
    ASK_EACH_BYTES = 256 << 20,
    FILE_SHIFT = 48,
};

void gather_close(struct gather *g)
{
    recall_close(&g->recall);
    for (size_t i = 0; g->readers && i < g->files; i++)
        tok_reader_close(&g->readers[i]);
    free(g->readers);
    free(g->places);
    free(g->rest);
    placing_end(&g->order);
    *g = (struct gather){0};
}

/* ---- what fits ---------------------------------------------------------------------------- */

/* Bytes of all files; 0: one is none. */
static uint64_t file_bytes(const char *const *paths, int files)
{
    uint64_t bytes = 0;
    for (int i = 0; i < files; i++) {
        struct stat st;
        if (stat(paths[i], &st) || !S_ISREG(st.st_mode))
            return 0;
        bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

/* What order and places take. */
static uint64_t table_bytes(const struct reorder_plan *p)
{
    return placing_bytes(p->kind, p->documents) + (p->to - p->from) * sizeof(struct gather_piece);
}

static bool fits_mapped(const struct reorder_plan *p, uint64_t bytes)
{
    return p->memory > 0 && bytes + table_bytes(p) <= (uint64_t)p->memory;
}

/* Will the system keep the files? Half of what there is in all is for what is written meanwhile. */
static bool fits_system(uint64_t bytes)
{
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes <= ram / RAM_SHARE;
}

/* What is left for recall_open beside tables and readers, which are open; 0: too little. */
static size_t recall_room(const struct gather *g, int share)
{
    const struct reorder_plan *p = g->plan;
    uint64_t each = (uint64_t)p->memory / (uint64_t)share, taken = table_bytes(p), largest = 0;
    for (size_t i = 0; i < g->files; i++) {
        const struct tok_reader *r = &g->readers[i];
        /* A block cuts one document at most, and has an entry in the index. */
        taken += r->totals.blocks * (2 * sizeof(struct gather_piece) + 24);
        largest = r->meta.block_ids > largest ? r->meta.block_ids : largest;
    }
    largest *= p->id_bytes;
    bool fits = p->memory > 0 && taken <= each / 2 && RECALL_PIECES * largest <= each - taken;
    return fits ? (size_t)(each - taken) : 0;
}

/* ---- where documents lie ------------------------------------------------------------------ */

/* A piece that is not its document's first. */
static int rest_add(struct gather *g, struct gather_piece piece)
{
    if (grow(&g->rest, g->rest_count, &g->rest_room, sizeof *g->rest, 256, "parts of documents"))
        return -1;
    g->rest[g->rest_count++] = piece;
    return 0;
}

static struct gather_piece made_of(const struct gather *g, const struct tok_doc *piece,
                                   uint64_t file)
{
    struct gather_piece made = {.count = (uint32_t)piece->count};
    if (g->recalls)
        made.from = file << FILE_SHIFT | piece->at;
    else
        made.stored = piece->stored;
    return made;
}

/* All documents of one stream, the first of which has number *d. 1, 0 or -1 as gather_open. */
static int take(struct gather *g, size_t file, const char *path, uint64_t *d)
{
    const struct reorder_plan *p = g->plan;
    struct tok_reader *r = &g->readers[file];
    struct placing_run run = {0};
    struct tok_doc piece;
    uint64_t place = 0, ask = ASK_EACH_BYTES;
    struct gather_piece *first = NULL;
    int status;
    while ((status = tok_reader_piece(r, &piece)) > 0) {
        if (r->deflated)
            return 0;
        if (g->recalls && r->offset >= ask) {
            if (!recall_kept(path, ASK_EACH_BYTES))
                return 0; /* already the first of it is gone */
            ask += ASK_EACH_BYTES;
        }
        if (*d >= p->documents)
            return fail("there are more documents than its trailer said");
        if (piece.first)
            place = placing_next(&g->order, &run, *d);
        g->before_tokens += place < p->from ? piece.count : 0;
        g->head_tokens += place < p->head ? piece.count : 0;
        *d += piece.last;
        if (place < p->from || place >= p->to)
            continue;
        struct gather_piece made = made_of(g, &piece, file);
        if (piece.first) {
            first = &g->places[place - p->from];
            *first = made;
            continue;
        }
        if (rest_add(g, made))
            return -1;
        /* The piece before is the document's first, or was added last. */
        struct gather_piece *before = first ? first : &g->rest[g->rest_count - 2];
        before->next = (uint32_t)g->rest_count;
        first = NULL;
    }
    return status < 0 ? -1 : !g->recalls || recall_kept(path, r->file_bytes);
}

/* The piece at a place, which moves on; NULL at the end. */
static const struct gather_piece *pass(const struct gather *g, struct gather_cursor *at)
{
    if (at->place == g->plan->to)
        return NULL;
    const struct gather_piece *piece =
        at->next ? &g->rest[at->next - 1] : &g->places[at->place - g->plan->from];
    at->next = piece->next;
    at->place += !piece->next;
    return piece;
}

static bool want(void *self, struct recall_piece *piece)
{
    struct gather *g = self;
    const struct gather_piece *from = pass(g, &g->wanted);
    if (from)
        *piece = (struct recall_piece){from->from & ((UINT64_C(1) << FILE_SHIFT) - 1),
                                       (uint32_t)(from->from >> FILE_SHIFT),
                                       (uint32_t)(from->count * g->plan->id_bytes)};
    return from != NULL;
}

/* ---- open --------------------------------------------------------------------------------- */

static int readers_open(struct gather *g, const char *const *paths)
{
    g->readers = calloc(g->files, sizeof *g->readers);
    for (size_t i = 0; g->readers && i < g->files; i++)
        if (tok_reader_open(&g->readers[i], paths[i]) || tok_reader_index(&g->readers[i]))
            return -1;
    return g->readers != NULL;
}

/* 1, 0 or -1 as gather_open. */
static int open(struct gather *g, const char *const *paths, int part, int parts, int share)
{
    const struct reorder_plan *p = g->plan;
    int status = readers_open(g, paths);
    if (status <= 0)
        return status;
    size_t room = g->recalls ? recall_room(g, share) : 0;
    if (g->recalls && room == 0)
        return 0;
    g->places = malloc((p->to - p->from + 1) * sizeof *g->places);
    if (!g->places)
        return 0;
    if (placing_begin(&g->order, p->kind, p->seed, p->documents))
        return -1;
    uint64_t d = 0;
    for (size_t i = 0; i < g->files; i++) {
        struct tok_reader *r = &g->readers[i];
        uint64_t n = parts ? r->totals.blocks : 0, all = parts ? (uint64_t)parts : 1;
        uint64_t from = n * (uint64_t)part / all, to = n * (uint64_t)(part + 1) / all;
        /* A limit on addresses forbids maps that would fit otherwise. */
        if (g->recalls ? tok_reader_skim(r, from, to) : tok_reader_map(r, from, to))
            return 0;
        status = take(g, i, paths[i], &d);
        if (status <= 0)
            return status;
        if (g->recalls)
            tok_reader_close(r);
    }
    if (d != p->documents)
        return fail("there are fewer documents than its trailer said");
    if (!g->recalls)
        return 1;
    return !recall_open(&g->recall, paths, g->files, room, want, g);
}

int gather_open(struct gather *g, const struct reorder_plan *plan, const char *const *paths,
                int files, int part, int parts, int share)
{
    uint64_t bytes = plan->known ? file_bytes(paths, files) : 0;
    *g = (struct gather){0};
    int status = 0;
    for (int recalls = 0; bytes && recalls < 2 && !status; recalls++) {
        if (recalls ? files > RECALL_FILES_MAX || !fits_system(bytes) : !fits_mapped(plan, bytes))
            continue;
        *g = (struct gather){.plan = plan, .files = (size_t)files, .recalls = recalls};
        g->out.place = g->wanted.place = plan->from;
        status = open(g, paths, part, parts, share);
        if (status <= 0)
            gather_close(g);
    }
    return status;
}

/* ---- handing out -------------------------------------------------------------------------- */

int gather_next(struct gather *g, struct reorder_piece *piece)
{
    const struct reorder_plan *p = g->plan;
    struct gather_cursor before = g->out;
    const struct gather_piece *from = pass(g, &g->out);
    if (!from)
        return 0;
    *piece = (struct reorder_piece){.place = before.place,
                                    .count = from->count,
                                    .first = !before.next,
                                    .last = !from->next};
    if (g->recalls) {
        piece->stored = recall_next(&g->recall, from->count * p->id_bytes);
        return piece->stored ? 1 : -1;
    }
    piece->stored = from->stored;
    if (piece->first && before.place + AHEAD < p->to) {
        const struct gather_piece *ahead = &g->places[before.place - p->from + AHEAD];
        size_t bytes = ahead->count * p->id_bytes;
        for (size_t i = 0; i < bytes && i < AHEAD_BYTES; i += 64)
            __builtin_prefetch(ahead->stored + i);
    }
    return 1;
}
