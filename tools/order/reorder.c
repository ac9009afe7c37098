/* reorder.c -- documents taken in one order and handed out in another, in bounded memory. */
#include "reorder.h"
#include "grow.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    LARGE_SHARE = 64, /* a document above this part of the memory goes through its own file */
    CHUNK_SHARE = 8,  /* a chunk of the waiting file is at most this part */
    PART_BYTES_MAX = 8 << 20,
    PART_BYTES_MIN = 8192,
    HEAD_BYTES = 16, /* of a record: slot and count */
};

/* ---- records: [slot] count + 1 as a varint (0: a large document) ids ---------------------- */

static size_t varint_put(uint8_t *to, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    return n;
}

static size_t varint_get(const uint8_t *from, uint64_t *v)
{
    size_t n = 0;
    *v = 0;
    do
        *v |= (uint64_t)(from[n] & 0x7f) << 7 * n;
    while (from[n++] & 0x80);
    return n;
}

/* The bytes of a record from its count on. */
static uint64_t record_bytes(const struct reorder *o, const uint8_t *record)
{
    uint64_t count;
    size_t head = varint_get(record, &count);
    return head + (count ? (count - 1) * o->plan.id_bytes : 0);
}

/* ---- open, close -------------------------------------------------------------------------- */

static int part_add(struct reorder_parts *p, struct reorder_part part)
{
    if (grow(&p->list, p->count, &p->room, sizeof *p->list, 64, "parts"))
        return -1;
    p->list[p->count++] = part;
    return 0;
}

static int scratch(struct reorder *o, struct scratch_file *f)
{
    if (f->fd)
        return 0;
    f->held = &o->held_bytes;
    f->peak = &o->temporary_bytes;
    return scratch_file_open(f, o->plan.tmp, o->plan.beside);
}

/* What the documents need in memory at once, slots included. */
static uint64_t cost(const struct reorder *o, uint64_t documents, uint64_t tokens)
{
    return tokens * o->plan.id_bytes + documents * (sizeof *o->slots + 5);
}

static int too_small(const struct reorder *o, const char *what)
{
    return fail("%s does not fit %lld bytes of memory: give more with --memory", what,
                (long long)o->plan.memory);
}

/* Buckets that fit in half of the arena on average, their buffers behind its first `kept` bytes. */
static int buckets_begin(struct reorder *o, size_t kept)
{
    const struct reorder_plan *p = &o->plan;
    uint64_t places = p->to - p->from, all = o->order.n;
    double share = all ? (double)places / (double)all : 0;
    uint64_t bytes = (uint64_t)(share * (double)cost(o, all, p->known ? p->tokens : o->tokens));
    o->buckets = bytes / (o->room / 2) + 1;
    o->places_each = places / o->buckets + (places % o->buckets != 0);
    o->places_each += o->places_each == 0;
    o->slot_bytes = 1;
    while (o->slot_bytes < 8 && (o->places_each - 1) >> 8 * o->slot_bytes)
        o->slot_bytes++;
    o->part_bytes = (o->room - kept) / (o->buckets + 1) & ~(size_t)4095;
    o->part_bytes = o->part_bytes < PART_BYTES_MAX ? o->part_bytes : PART_BYTES_MAX;
    if (o->part_bytes < PART_BYTES_MIN)
        return too_small(o, "the order of so much data");
    o->buffers = malloc((o->buckets + 1) * sizeof *o->buffers);
    o->filled = calloc(o->buckets, sizeof *o->filled);
    if (!o->buffers || !o->filled)
        return fail("no memory for %llu buckets", (unsigned long long)o->buckets);
    for (uint64_t b = 0; b <= o->buckets; b++)
        o->buffers[b] = o->arena + kept + b * o->part_bytes;
    o->placing = true;
    return scratch(o, &o->bucketed);
}

/* The order, whose table is taken out of the memory that is left for the arena. */
static int order_ready(struct reorder *o, uint64_t n)
{
    uint64_t bytes = placing_bytes(o->plan.kind, n);
    if (bytes > o->room / 2)
        return too_small(o, "numpy's order, four bytes a document,");
    o->room -= bytes;
    if (o->arena) {
        uint8_t *shrunk = realloc(o->arena, o->room);
        if (!shrunk)
            return fail("no memory for %zu bytes", o->room);
        o->arena = shrunk;
    }
    if (o->plan.to == 0)
        o->plan.to = n;
    return placing_begin(&o->order, o->plan.kind, o->plan.seed, n);
}

static int open(struct reorder *o)
{
    const struct reorder_plan *p = &o->plan;
    assert(p->known || p->to == 0);
    o->large = (size_t)p->memory / LARGE_SHARE;
    o->room = (size_t)p->memory - o->large;
    if (p->known && order_ready(o, p->documents))
        return -1;
    bool some = p->known && (p->from > 0 || p->to < p->documents);
    bool fits = p->known && !some && cost(o, p->documents, p->tokens) < o->room;
    if (fits)
        o->room = cost(o, p->documents, p->tokens) + HEAD_BYTES;
    o->doc = malloc(o->large);
    o->arena = malloc(o->room);
    if (o->arena) /* pages of 2 MB, where the system has them: a fifth of the time is page faults */
        madvise((void *)(((uintptr_t)o->arena + 4095) & ~(uintptr_t)4095), o->room - 4096,
                MADV_HUGEPAGE);
    if (!o->arena || !o->doc)
        return fail("no memory for %lld bytes: --memory takes less", (long long)p->memory);
    return p->known && !fits ? buckets_begin(o, 0) : 0;
}

int reorder_open(struct reorder *o, const struct reorder_plan *plan)
{
    *o = (struct reorder){.plan = *plan};
    if (plan->memory < REORDER_LEAST)
        return too_small(o, "anything");
    if (!open(o))
        return 0;
    reorder_close(o);
    return -1;
}

void reorder_close(struct reorder *o)
{
    worker_close(&o->behind);
    scratch_file_close(&o->waiting);
    scratch_file_close(&o->bucketed);
    scratch_file_close(&o->large_file);
    placing_end(&o->order);
    free(o->arena);
    free(o->doc);
    free(o->buffers);
    free(o->filled);
    free(o->chunks.list);
    free(o->parts.list);
    free(o->larges);
    *o = (struct reorder){0};
}

/* ---- documents that wait for the order ---------------------------------------------------- */

static int wait_flush(struct reorder *o)
{
    if (scratch(o, &o->waiting) || scratch_file_add(&o->waiting, o->arena, o->used))
        return -1;
    o->used = 0;
    return 0;
}

static int wait_put(struct reorder *o, const void *stored, uint64_t count, bool large)
{
    uint8_t head[HEAD_BYTES];
    size_t n = varint_put(head, large ? 0 : count + 1);
    size_t bytes = large ? 0 : count * o->plan.id_bytes;
    /* What the tables will ask for when the order is known; cost() has counted them if it is. */
    uint64_t each = o->plan.known ? 0 : sizeof *o->slots + placing_bytes(o->plan.kind, 1);
    uint64_t tables = each * (o->documents + 1);
    if (!o->waiting.fd ? o->used + n + bytes + tables > o->room : o->used + n + bytes > o->room / 2)
        if (wait_flush(o))
            return -1;
    struct reorder_part *last = o->chunks.count ? &o->chunks.list[o->chunks.count - 1] : NULL;
    if (!last || last->bytes + n + bytes > o->room / CHUNK_SHARE) {
        struct reorder_part chunk = {.at = o->waiting.bytes + o->used, .owner = o->documents};
        if (part_add(&o->chunks, chunk))
            return -1;
        last = &o->chunks.list[o->chunks.count - 1];
    }
    memcpy(o->arena + o->used, head, n);
    memcpy(o->arena + o->used + n, stored, bytes);
    o->used += n + bytes;
    last->bytes += n + bytes;
    return 0;
}

/* ---- documents whose place is known ------------------------------------------------------- */

static int part_write(void *self)
{
    const struct reorder_write *w = self;
    return scratch_file_write(w->to, w->data, w->bytes, w->at);
}

/* What bucket b has in its buffer goes to the file, and it gets another one. */
static int bucket_flush(struct reorder *o, uint64_t b)
{
    struct reorder_part part = {o->bucketed.bytes, o->filled[b], b};
    uint8_t *full = o->buffers[b];
    if (worker_wait(&o->behind) || part_add(&o->parts, part))
        return -1;
    o->write = (struct reorder_write){&o->bucketed, full, o->filled[b],
                                      scratch_file_claim(&o->bucketed, o->filled[b])};
    o->buffers[b] = o->buffers[o->buckets];
    o->buffers[o->buckets] = full;
    o->filled[b] = 0;
    return worker_give(&o->behind, part_write, &o->write);
}

static int bucket_write(struct reorder *o, uint64_t b, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    while (bytes) {
        size_t left = o->part_bytes - o->filled[b], n = bytes < left ? bytes : left;
        memcpy(o->buffers[b] + o->filled[b], from, n);
        o->filled[b] += n;
        from += n;
        bytes -= n;
        if (o->filled[b] == o->part_bytes && bucket_flush(o, b))
            return -1;
    }
    return 0;
}

static int bucket_put(struct reorder *o, uint64_t place, const uint8_t *record, size_t bytes,
                      const void *stored, size_t stored_bytes)
{
    uint64_t b = (place - o->plan.from) / o->places_each;
    uint64_t slot = (place - o->plan.from) % o->places_each;
    return bucket_write(o, b, &slot, o->slot_bytes) || bucket_write(o, b, record, bytes) ||
                   bucket_write(o, b, stored, stored_bytes)
               ? -1
               : 0;
}

/* ---- taking ------------------------------------------------------------------------------- */

static int large_begin(struct reorder *o)
{
    if (grow(&o->larges, o->large_count, &o->large_room, sizeof *o->larges, 16,
             "large documents") ||
        scratch(o, &o->large_file))
        return -1;
    o->larges[o->large_count++] =
        (struct reorder_large){o->documents, o->doc_place, o->large_file.bytes, 0};
    o->is_large = true;
    return scratch_file_add(&o->large_file, o->doc, o->doc_bytes);
}

static void doc_begin(struct reorder *o)
{
    o->in_doc = true;
    o->is_large = o->unwanted = false;
    o->doc_bytes = 0;
    o->doc_ids = o->doc_place = 0;
    if ((!o->placing && !o->plan.head) || o->documents >= o->order.n)
        return; /* more documents than promised: reorder_turn says so */
    o->doc_place = placing_next(&o->order, &o->run, o->documents);
    o->unwanted = o->placing && (o->doc_place < o->plan.from || o->doc_place >= o->plan.to);
}

static int doc_end(struct reorder *o, const void *stored)
{
    uint8_t head[HEAD_BYTES];
    int status = 0;
    if (o->is_large)
        o->larges[o->large_count - 1].count = o->doc_ids;
    if (!o->placing)
        status = wait_put(o, stored, o->doc_ids, o->is_large);
    else if (!o->unwanted)
        status =
            bucket_put(o, o->doc_place, head, varint_put(head, o->is_large ? 0 : o->doc_ids + 1),
                       stored, o->is_large ? 0 : o->doc_ids * o->plan.id_bytes);
    o->before_tokens += o->placing && o->doc_place < o->plan.from ? o->doc_ids : 0;
    o->head_tokens += o->doc_place < o->plan.head ? o->doc_ids : 0;
    o->documents++;
    o->tokens += o->doc_ids;
    o->in_doc = false;
    return status;
}

int reorder_put(struct reorder *o, const void *stored, size_t count, bool last)
{
    size_t bytes = count * o->plan.id_bytes;
    if (!o->in_doc)
        doc_begin(o);
    o->doc_ids += count;
    bool whole = last && o->doc_ids == count && bytes <= o->large;
    if (whole || o->unwanted)
        return last ? doc_end(o, stored) : 0;
    if (!o->is_large && o->doc_bytes + bytes > o->large && large_begin(o))
        return -1;
    if (o->is_large) {
        if (scratch_file_add(&o->large_file, stored, bytes))
            return -1;
    } else {
        memcpy(o->doc + o->doc_bytes, stored, bytes);
        o->doc_bytes += bytes;
    }
    return last ? doc_end(o, o->doc) : 0;
}

/* ---- turning ------------------------------------------------------------------------------ */

static int by_owner(const void *a, const void *b)
{
    const struct reorder_part *x = a, *y = b;
    return x->owner != y->owner ? (x->owner < y->owner ? -1 : 1)
                                : (x->at > y->at) - (x->at < y->at);
}

static int by_place(const void *a, const void *b)
{
    const struct reorder_large *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

static int buckets_flush(struct reorder *o)
{
    for (uint64_t b = 0; b < o->buckets; b++)
        if (o->filled[b] && bucket_flush(o, b))
            return -1;
    if (worker_wait(&o->behind)) /* the arena is for what is read now */
        return -1;
    if (o->parts.count)
        qsort(o->parts.list, o->parts.count, sizeof *o->parts.list, by_owner);
    return 0;
}

/* The waiting file into buckets, from its end on, so that it shrinks as they grow. */
static int redistribute(struct reorder *o)
{
    size_t kept = 0;
    for (size_t i = 0; i < o->chunks.count; i++)
        kept = o->chunks.list[i].bytes > kept ? o->chunks.list[i].bytes : kept;
    if (wait_flush(o) || buckets_begin(o, kept))
        return -1;
    while (o->chunks.count) {
        struct reorder_part *c = &o->chunks.list[--o->chunks.count];
        if (scratch_file_read(&o->waiting, o->arena, c->bytes, c->at) ||
            scratch_file_cut(&o->waiting, c->at))
            return -1;
        uint64_t document = c->owner;
        for (uint64_t at = 0, bytes; at < c->bytes; at += bytes) {
            bytes = record_bytes(o, o->arena + at);
            if (bucket_put(o, placing_of(&o->order, document++), o->arena + at, bytes, "", 0))
                return -1;
        }
    }
    return 0;
}

/* Slots for so many places at the arena's end, behind `used` bytes. */
static int slots_begin(struct reorder *o, uint64_t places)
{
    size_t aligned = o->room & ~(size_t)7;
    if (places > (aligned - o->used) / sizeof *o->slots)
        return too_small(o, "a part of the order");
    o->slots = (uint64_t *)(void *)(o->arena + aligned - places * sizeof *o->slots);
    return 0;
}

static int held_slots(struct reorder *o)
{
    if (slots_begin(o, o->documents))
        return -1;
    uint64_t document = 0;
    for (uint64_t at = 0; at < o->used; at += record_bytes(o, o->arena + at))
        o->slots[placing_of(&o->order, document++)] = at;
    o->loaded_to = o->documents;
    return 0;
}

int reorder_turn(struct reorder *o)
{
    const struct reorder_plan *p = &o->plan;
    if (p->known && (o->documents != p->documents || o->tokens != p->tokens))
        return fail("%llu documents of %llu ids were read, but %llu of %llu were promised",
                    (unsigned long long)o->documents, (unsigned long long)o->tokens,
                    (unsigned long long)p->documents, (unsigned long long)p->tokens);
    if (!p->known && order_ready(o, o->documents))
        return -1;
    for (size_t i = 0; !o->placing && i < o->large_count; i++)
        o->larges[i].place = placing_of(&o->order, o->larges[i].document);
    if (o->large_count)
        qsort(o->larges, o->large_count, sizeof *o->larges, by_place);
    o->place = o->loaded_to = p->from;
    if (!o->placing && !o->waiting.fd)
        return held_slots(o);
    if (!o->placing && redistribute(o))
        return -1;
    scratch_file_close(&o->waiting);
    return buckets_flush(o);
}

/* ---- handing out -------------------------------------------------------------------------- */

/* The bucket that begins at o->place. */
static int load(struct reorder *o)
{
    uint64_t b = (o->place - o->plan.from) / o->places_each, end = o->place + o->places_each;
    end = end < o->plan.to ? end : o->plan.to;
    size_t first = o->part;
    for (o->used = 0; o->part < o->parts.count && o->parts.list[o->part].owner == b; o->part++) {
        const struct reorder_part *p = &o->parts.list[o->part];
        if (p->bytes > o->room - o->used)
            return too_small(o, "a part of the order");
        if (scratch_file_read(&o->bucketed, o->arena + o->used, p->bytes, p->at))
            return -1;
        o->used += p->bytes;
    }
    for (size_t i = first; i < o->part; i++)
        scratch_file_forget(&o->bucketed, o->parts.list[i].bytes, o->parts.list[i].at);
    for (size_t i = o->part; i < o->parts.count && o->parts.list[i].owner == b + 1; i++)
        scratch_file_expect(&o->bucketed, o->parts.list[i].bytes, o->parts.list[i].at);
    if (slots_begin(o, end - o->place))
        return -1;
    for (uint64_t at = 0; at < o->used; at += record_bytes(o, o->arena + at)) {
        uint64_t slot = 0;
        memcpy(&slot, o->arena + at, o->slot_bytes);
        at += o->slot_bytes;
        o->slots[slot] = at;
    }
    o->loaded_to = end;
    return 0;
}

static int large_next(struct reorder *o, struct reorder_piece *piece)
{
    size_t most = o->large / o->plan.id_bytes;
    size_t n = o->large_left < most ? (size_t)o->large_left : most;
    if (scratch_file_read(&o->large_file, o->doc, n * o->plan.id_bytes, o->large_at))
        return -1;
    o->large_at += n * o->plan.id_bytes;
    o->large_left -= n;
    piece->stored = o->doc;
    piece->count = n;
    piece->last = o->large_left == 0;
    o->place += piece->last;
    return 1;
}

int reorder_next(struct reorder *o, struct reorder_piece *piece)
{
    *piece = (struct reorder_piece){.place = o->place};
    if (o->large_left)
        return large_next(o, piece);
    if (o->place == o->plan.to)
        return 0;
    if (o->place == o->loaded_to && load(o))
        return -1;
    /* Places from the bucket's first: those before loaded_to, places_each at most. */
    uint64_t begin = o->placing ? (o->place - o->plan.from) / o->places_each * o->places_each : 0;
    const uint8_t *record = o->arena + o->slots[o->place - o->plan.from - begin];
    uint64_t count;
    size_t head = varint_get(record, &count);
    piece->first = true;
    if (count == 0) {
        struct reorder_large want = {.place = o->place};
        const struct reorder_large *l =
            bsearch(&want, o->larges, o->large_count, sizeof want, by_place);
        assert(l);
        o->large_left = l->count;
        o->large_at = l->at;
        return large_next(o, piece);
    }
    piece->stored = record + head;
    piece->count = count - 1;
    piece->last = true;
    o->place++;
    return 1;
}
