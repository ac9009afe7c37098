/* gather.c -- documents of .tok files in another order, straight from a map of the files. */
#include "gather.h"

#include <stdlib.h>
#include <sys/stat.h>

/* The bytes of documents are fetched before their turn: so many documents ahead, so much of each
   (the processor follows by itself then). */
enum { AHEAD = 4, AHEAD_BYTES = 1536 };

void gather_close(struct gather *g)
{
    for (size_t i = 0; i < g->files; i++)
        tok_reader_close(&g->readers[i]);
    free(g->readers);
    free(g->places);
    free(g->rest);
    placing_end(&g->order);
    *g = (struct gather){0};
}

/* Would maps, places and order fit in the memory? */
static bool fits(const struct reorder_plan *p, const char *const *paths, int files)
{
    uint64_t bytes = placing_bytes(p->kind, p->documents);
    bytes += (p->to - p->from) * sizeof(struct gather_piece);
    for (int i = 0; i < files; i++) {
        struct stat st;
        if (stat(paths[i], &st) || !S_ISREG(st.st_mode))
            return false;
        bytes += (uint64_t)st.st_size;
    }
    return p->memory > 0 && bytes <= (uint64_t)p->memory;
}

/* A piece that is not its document's first. */
static int rest_add(struct gather *g, struct gather_piece piece)
{
    if (g->rest_count == g->rest_room) {
        size_t room = g->rest_room ? 2 * g->rest_room : 256;
        struct gather_piece *grown = realloc(g->rest, room * sizeof *grown);
        if (!grown)
            return fail("no memory for %zu parts of documents", room);
        g->rest = grown;
        g->rest_room = room;
    }
    g->rest[g->rest_count++] = piece;
    return 0;
}

/* All documents of one stream, the first of which has number *d. */
static int take(struct gather *g, struct tok_reader *r, uint64_t *d)
{
    const struct reorder_plan *p = g->plan;
    struct placing_run run = {0};
    struct tok_doc piece;
    uint64_t place = 0;
    struct gather_piece *first = NULL;
    int status;
    while ((status = tok_reader_piece(r, &piece)) > 0 && !r->deflated) {
        if (*d >= p->documents)
            return fail("there are more documents than its trailer said");
        if (piece.first)
            place = placing_next(&g->order, &run, *d);
        g->before_tokens += place < p->from ? piece.count : 0;
        g->head_tokens += place < p->head ? piece.count : 0;
        *d += piece.last;
        if (place < p->from || place >= p->to)
            continue;
        struct gather_piece made = {piece.stored, (uint32_t)piece.count, 0};
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
    return status < 0 ? -1 : 0; /* 1 is left of a deflated block */
}

/* 1, 0 or -1 as gather_open. */
static int open(struct gather *g, const char *const *paths, int part, int parts)
{
    const struct reorder_plan *p = g->plan;
    g->places = malloc((p->to - p->from + 1) * sizeof *g->places);
    g->readers = calloc(g->files, sizeof *g->readers);
    if (!g->places || !g->readers)
        return 0;
    if (placing_begin(&g->order, p->kind, p->seed, p->documents))
        return -1;
    uint64_t d = 0;
    for (size_t i = 0; i < g->files; i++) {
        struct tok_reader *r = &g->readers[i];
        if (tok_reader_open(r, paths[i]) || tok_reader_index(r))
            return -1;
        uint64_t n = parts ? r->totals.blocks : 0, all = parts ? (uint64_t)parts : 1;
        /* A limit on addresses forbids maps that would fit otherwise. */
        if (tok_reader_map(r, n * (uint64_t)part / all, n * (uint64_t)(part + 1) / all))
            return 0;
        if (take(g, r, &d))
            return -1;
        if (r->deflated)
            return 0;
    }
    return d == p->documents ? 1 : fail("there are fewer documents than its trailer said");
}

int gather_open(struct gather *g, const struct reorder_plan *plan, const char *const *paths,
                int files, int part, int parts)
{
    *g = (struct gather){.plan = plan, .place = plan->from};
    if (!plan->known || !fits(plan, paths, files))
        return 0;
    g->files = (size_t)files;
    int status = open(g, paths, part, parts);
    if (status <= 0)
        gather_close(g);
    return status;
}

int gather_next(struct gather *g, struct reorder_piece *piece)
{
    const struct reorder_plan *p = g->plan;
    if (g->place == p->to)
        return 0;
    const struct gather_piece *from =
        g->next ? &g->rest[g->next - 1] : &g->places[g->place - p->from];
    *piece = (struct reorder_piece){.place = g->place,
                                    .stored = from->at,
                                    .count = from->count,
                                    .first = !g->next,
                                    .last = !from->next};
    if (!g->next && g->place + AHEAD < p->to) {
        const struct gather_piece *ahead = &g->places[g->place - p->from + AHEAD];
        size_t bytes = ahead->count * p->id_bytes;
        for (size_t i = 0; i < bytes && i < AHEAD_BYTES; i += 64)
            __builtin_prefetch(ahead->at + i);
    }
    g->next = from->next;
    g->place += piece->last;
    return 1;
}
