/* bestfit.c -- documents into rows of one length, each whole where it can be. */
#include "bestfit.h"
#include "grow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { WINDOW_IDS = 1 << 24 };

int bestfit_open(struct bestfit *b, struct sink *to, uint32_t length, size_t id_bytes, uint32_t pad,
                 bool truncate)
{
    *b = (struct bestfit){
        .to = to, .length = length, .id_bytes = id_bytes, .pad = pad, .truncate = truncate};
    b->room = ((size_t)WINDOW_IDS + length) * id_bytes;
    b->ids = malloc(b->room);
    return b->ids ? 0 : fail("no memory for %zu bytes of documents", b->room);
}

void bestfit_close(struct bestfit *b)
{
    free(b->ids);
    free(b->pieces);
    *b = (struct bestfit){0};
}

/* The longest first, then the earlier. */
static int by_count(const void *a, const void *b)
{
    const struct bestfit_piece *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1)
                                : (x->at > y->at) - (x->at < y->at);
}

static int by_row(const void *a, const void *b)
{
    const struct bestfit_piece *x = a, *y = b;
    return x->row != y->row ? (x->row > y->row) - (x->row < y->row)
                            : (x->at > y->at) - (x->at < y->at);
}

/* ---- rows by the room they have left: a tree over 0 .. length of what room there is ------- */

struct rooms {
    uint32_t length, leaves;
    uint8_t *some;  /* [2 * leaves]: is there a row with such room below this node? */
    uint32_t *head; /* [length + 1]: the row that came last, plus one */
    uint32_t *next; /* [rows] */
};

static void mark(struct rooms *r, uint32_t room)
{
    uint32_t i = r->leaves + room;
    r->some[i] = r->head[room] != 0;
    for (i /= 2; i; i /= 2)
        r->some[i] = r->some[2 * i] | r->some[2 * i + 1];
}

static void push(struct rooms *r, uint32_t row, uint32_t room)
{
    r->next[row] = r->head[room];
    r->head[room] = row + 1;
    mark(r, room);
}

/* The least room of at least `count`, or UINT32_MAX. */
static uint32_t least(const struct rooms *r, uint32_t count)
{
    uint32_t i = r->leaves + count;
    if (r->some[i])
        return count;
    for (; i > 1; i /= 2)
        if (i % 2 == 0 && r->some[i + 1]) {
            for (i++; i < r->leaves;)
                i = 2 * i + !r->some[2 * i];
            return i - r->leaves;
        }
    return UINT32_MAX;
}

/* Give every piece its row; returns how many rows, or UINT32_MAX without memory. */
static uint32_t rows_choose(struct bestfit *b)
{
    struct rooms r = {.length = b->length, .leaves = 1};
    while (r.leaves <= b->length)
        r.leaves *= 2;
    r.some = calloc(2 * (size_t)r.leaves, 1);
    r.head = calloc((size_t)b->length + 1, sizeof *r.head);
    r.next = malloc((b->count + 1) * sizeof *r.next);
    uint32_t rows = 0;
    if (!r.some || !r.head || !r.next)
        rows = UINT32_MAX;
    for (size_t i = 0; rows != UINT32_MAX && i < b->count; i++) {
        struct bestfit_piece *p = &b->pieces[i];
        uint32_t room = least(&r, p->count);
        if (room == UINT32_MAX) {
            p->row = rows++;
            room = b->length;
        } else {
            p->row = r.head[room] - 1;
            r.head[room] = r.next[p->row];
            mark(&r, room);
        }
        push(&r, p->row, room - p->count);
    }
    free(r.some);
    free(r.head);
    free(r.next);
    return rows;
}

/* ---- writing ------------------------------------------------------------------------------ */

/* Padding counts as a document of its own, so that where documents begin stays true. */
static int pad(struct bestfit *b, uint32_t count)
{
    uint16_t narrow = (uint16_t)b->pad;
    const void *one = b->id_bytes == 2 ? (const void *)&narrow : &b->pad;
    b->padding += count;
    if (count && sink_document(b->to))
        return -1;
    for (uint32_t i = 0; i < count; i++)
        if (sink_put(b->to, one, 1))
            return -1;
    return 0;
}

static int window_write(struct bestfit *b)
{
    if (b->count == 0)
        return 0;
    qsort(b->pieces, b->count, sizeof *b->pieces, by_count);
    uint32_t rows = rows_choose(b), left = b->length;
    if (rows == UINT32_MAX)
        return fail("no memory for the rows of %zu documents", b->count);
    qsort(b->pieces, b->count, sizeof *b->pieces, by_row);
    for (size_t i = 0; i < b->count; i++) {
        const struct bestfit_piece *p = &b->pieces[i];
        if (sink_document(b->to) || sink_put(b->to, b->ids + p->at, p->count))
            return -1;
        left -= p->count;
        if (i + 1 < b->count && b->pieces[i + 1].row == p->row)
            continue;
        if (pad(b, left))
            return -1;
        left = b->length;
    }
    b->rows += rows;
    b->used = b->count = 0;
    return 0;
}

static int piece_add(struct bestfit *b)
{
    if (grow(&b->pieces, b->count, &b->piece_room, sizeof *b->pieces, 4096, "documents"))
        return -1;
    b->pieces[b->count++] = (struct bestfit_piece){b->used, 0, 0};
    return 0;
}

int bestfit_put(struct bestfit *b, const void *stored, size_t count, bool first, bool last)
{
    const uint8_t *from = stored;
    if (first) {
        b->of_document = 0;
        if (piece_add(b))
            return -1;
    }
    b->tokens += count;
    while (count) {
        if (b->of_document && b->of_document % b->length == 0) {
            if (b->truncate) {
                b->dropped += count;
                break;
            }
            if (piece_add(b)) /* the next row of a long document */
                return -1;
        }
        size_t left = b->length - b->of_document % b->length, n = count < left ? count : left;
        memcpy(b->ids + b->used, from, n * b->id_bytes);
        b->pieces[b->count - 1].count += (uint32_t)n;
        b->used += n * b->id_bytes;
        b->of_document += n;
        from += n * b->id_bytes;
        count -= n;
        /* Windows end where a row's worth is whole, or with a document. */
        bool whole = b->of_document % b->length == 0;
        if (whole && b->used >= (size_t)WINDOW_IDS * b->id_bytes && window_write(b))
            return -1;
    }
    return last && b->used >= (size_t)WINDOW_IDS * b->id_bytes ? window_write(b) : 0;
}

int bestfit_end(struct bestfit *b)
{
    if (window_write(b) || (b->rows && pad(b, 1)))
        return -1;
    uint64_t out = b->to->tokens;
    if (b->tokens + b->padding - b->dropped == out && (!b->rows || out == b->rows * b->length + 1))
        return 0;
    return fail("%" PRIu64 " ids in, %" PRIu64 " of padding and %" PRIu64
                " cut off do not make the "
                "%" PRIu64 " written",
                b->tokens, b->padding, b->dropped, out);
}
