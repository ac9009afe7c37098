/* rank_queue.c -- places waiting by rank. */
#include "rank_queue.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK_PLACES = 31 };

struct rank_chunk {
    uint32_t next;
    uint32_t place[CHUNK_PLACES];
};

/* The places of one rank, in order: from `read` in chunk `head` to before `write` in `tail`. */
struct rank_line {
    uint32_t head, tail; /* head 0: nobody waits */
    uint32_t read, write;
};

int rank_queue_open(struct rank_queue *q, size_t ranks)
{
    *q = (struct rank_queue){.chunk_count = 1};
    q->lines = calloc(ranks + 1, sizeof *q->lines);
    bool there = q->lines;
    for (size_t i = 0, n = ranks; i < 3; i++) {
        n = n / 64 + 1;
        q->words[i] = n;
        q->set[i] = calloc(n, sizeof *q->set[i]);
        there = there && q->set[i];
    }
    if (there)
        return 0;
    rank_queue_close(q);
    return fail("no memory for a queue of %zu ranks", ranks);
}

void rank_queue_close(struct rank_queue *q)
{
    free(q->lines);
    for (int i = 0; i < 3; i++)
        free(q->set[i]);
    free(q->chunks);
    free(q->heap);
    *q = (struct rank_queue){0};
}

/* ---- which ranks have a line --------------------------------------------------------------- */

static void mark(struct rank_queue *q, size_t rank)
{
    for (int i = 0; i < 3; i++, rank /= 64)
        q->set[i][rank / 64] |= (uint64_t)1 << (rank & 63);
}

static void unmark(struct rank_queue *q, size_t rank)
{
    for (int i = 0; i < 3; i++, rank /= 64) {
        uint64_t *word = &q->set[i][rank / 64];
        *word &= ~((uint64_t)1 << (rank & 63));
        if (*word)
            return;
    }
}

/* The best rank with a line, or SIZE_MAX. */
static size_t best_line(const struct rank_queue *q)
{
    for (size_t top = 0; top < q->words[2]; top++) {
        if (!q->set[2][top])
            continue;
        size_t at = top * 64 + (size_t)__builtin_ctzll(q->set[2][top]);
        at = at * 64 + (size_t)__builtin_ctzll(q->set[1][at]);
        return at * 64 + (size_t)__builtin_ctzll(q->set[0][at]);
    }
    return SIZE_MAX;
}

/* ---- out of order ------------------------------------------------------------------------- */

static int heap_put(struct rank_queue *q, uint64_t key)
{
    if (q->heap_count == q->heap_room) {
        size_t room = q->heap_room ? 2 * q->heap_room : 64;
        uint64_t *more = realloc(q->heap, sizeof *more * room);
        if (!more)
            return fail("no memory for %zu places to merge at", room);
        q->heap = more;
        q->heap_room = room;
    }
    size_t at = q->heap_count++;
    for (; at && q->heap[(at - 1) / 2] > key; at = (at - 1) / 2)
        q->heap[at] = q->heap[(at - 1) / 2];
    q->heap[at] = key;
    return 0;
}

static uint64_t heap_take(struct rank_queue *q)
{
    uint64_t first = q->heap[0], last = q->heap[--q->heap_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < q->heap_count; at = child) {
        child += child + 1 < q->heap_count && q->heap[child + 1] < q->heap[child];
        if (q->heap[child] >= last)
            break;
        q->heap[at] = q->heap[child];
    }
    q->heap[at] = last;
    return first;
}

/* ---- in order ----------------------------------------------------------------------------- */

/* A chunk, or 0 when memory is out. */
static uint32_t chunk_new(struct rank_queue *q)
{
    uint32_t at = q->unused;
    if (at) {
        q->unused = q->chunks[at].next;
        return at;
    }
    if (q->chunk_count >= q->chunk_room) {
        uint32_t room = q->chunk_room ? 2 * q->chunk_room : 64;
        struct rank_chunk *more = realloc(q->chunks, sizeof *more * room);
        if (!more) {
            fail("no memory for %u places to merge at", room * CHUNK_PLACES);
            return 0;
        }
        q->chunks = more;
        q->chunk_room = room;
    }
    return q->chunk_count++;
}

static void chunk_free(struct rank_queue *q, uint32_t at)
{
    q->chunks[at].next = q->unused;
    q->unused = at;
}

int rank_queue_put(struct rank_queue *q, uint32_t rank, uint32_t place)
{
    struct rank_line *line = &q->lines[rank];
    if (line->head && q->chunks[line->tail].place[line->write - 1] > place)
        return heap_put(q, (uint64_t)rank << 32 | place);
    if (!line->head || line->write == CHUNK_PLACES) {
        uint32_t chunk = chunk_new(q);
        if (!chunk)
            return -1;
        if (line->head)
            q->chunks[line->tail].next = chunk;
        else {
            line->head = chunk;
            line->read = 0;
            mark(q, rank);
        }
        line->tail = chunk;
        line->write = 0;
    }
    q->chunks[line->tail].place[line->write++] = place;
    return 0;
}

bool rank_queue_take(struct rank_queue *q, uint32_t *rank, uint32_t *place)
{
    size_t best = best_line(q);
    struct rank_line *line = &q->lines[best == SIZE_MAX ? 0 : best];
    uint64_t key = best == SIZE_MAX
                       ? UINT64_MAX
                       : (uint64_t)best << 32 | q->chunks[line->head].place[line->read];
    if (q->heap_count && q->heap[0] < key)
        key = heap_take(q);
    else if (key == UINT64_MAX)
        return false;
    else if (++line->read == line->write && line->head == line->tail) {
        chunk_free(q, line->head);
        line->head = 0;
        unmark(q, best);
    } else if (line->read == CHUNK_PLACES) {
        uint32_t done = line->head;
        line->head = q->chunks[done].next;
        line->read = 0;
        chunk_free(q, done);
    }
    *rank = (uint32_t)(key >> 32);
    *place = (uint32_t)key;
    return true;
}
