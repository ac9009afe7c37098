/* pour.c -- one object, or a range of it, in order to a pipe, over many connections. */
#include "pour.h"
#include "behind.h"
#include "checksum.h"
#include "gunzip.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WINDOW_BYTES = 24 << 20, MIN_PIECE = 256 << 10, MAX_PIECE = 4 << 20, OUT_BYTES = 1 << 20 };

/* A slot of the window: fetched, then written by the thread behind, then fetched again. */
struct piece {
    struct flow *flow;
    struct http_call call;
    struct behind_job job;
    uint8_t *data; /* [bytes], owned; NULL for an object of unknown size */
    size_t bytes, have;
    enum { IDLE, COMING, READY, WRITING } state;
};

struct flow {
    struct pour *s;
    struct behind behind;
    struct address address;
    struct piece *pieces; /* [count]: piece n of the object is in slot n mod count */
    int count, coming;
    size_t piece_bytes;
    uint64_t wanted, written, all; /* pieces: next to ask for, next to write, of the object */
    uint32_t crc;
    struct gunzip gunzip;
    uint8_t *unpacked; /* [OUT_BYTES], owned */
    struct progress progress;
    int status;
    char sentence[1024];
};

static void note_failure(struct flow *f)
{
    if (f->status)
        return;
    f->status = -1;
    snprintf(f->sentence, sizeof f->sentence, "%s", why());
}

/* ---- out ---------------------------------------------------------------------------------- */

static int write_all(const struct pour *s, const uint8_t *data, size_t bytes)
{
    while (bytes) {
        if (*s->interrupted)
            return fail("interrupted");
        ssize_t n = write(s->fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail("%s: %s", s->name, strerror(errno));
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int put(struct flow *f, const uint8_t *data, size_t bytes)
{
    if (!f->unpacked)
        return write_all(f->s, data, bytes);
    for (size_t at = 0;;) {
        size_t used = bytes - at;
        long made = gunzip_more(&f->gunzip, data + at, &used, f->unpacked, OUT_BYTES);
        at += used;
        if (made < 0)
            return fail("%s: cannot be unpacked: %s", f->s->object->source, why());
        if (made == 0)
            return 0;
        if (write_all(f->s, f->unpacked, (size_t)made))
            return -1;
    }
}

static struct piece *piece_of(struct behind_job *j)
{
    return (struct piece *)((char *)j - offsetof(struct piece, job));
}

static int work_write(struct behind_job *j)
{
    struct piece *p = piece_of(j);
    p->flow->crc = crc32c(p->flow->crc, p->data, p->bytes);
    return put(p->flow, p->data, p->bytes);
}

static void done_write(struct behind_job *j, int status)
{
    struct piece *p = piece_of(j);
    p->state = IDLE;
    if (status)
        note_failure(p->flow);
}

/* ---- in ----------------------------------------------------------------------------------- */

static int piece_begin(struct http_call *c, bool restarted)
{
    struct piece *p = c->self;
    if (!p->data && p->flow->s->received)
        return fail("the connection broke, and the server cannot go on where it ended; use a file "
                    "instead of a pipe");
    if (restarted)
        p->have = 0;
    return 0;
}

static int piece_body(struct http_call *c, const void *data, size_t bytes)
{
    struct piece *p = c->self;
    p->flow->s->received += bytes;
    if (!p->data) { /* of unknown size: there is one piece, and it is written as it comes */
        p->flow->crc = crc32c(p->flow->crc, data, bytes);
        return put(p->flow, data, bytes);
    }
    if (bytes > p->bytes - p->have)
        return fail("more bytes than asked for");
    memcpy(p->data + p->have, data, bytes);
    p->have += bytes;
    c->from += bytes;
    return 0;
}

static void piece_done(struct http_call *c, int status)
{
    struct piece *p = c->self;
    struct flow *f = p->flow;
    f->coming--;
    p->state = READY;
    if (status) {
        p->state = IDLE;
        if (remote_is_gone(c, f->s->object))
            fail("%s: was replaced meanwhile; run the same command again", f->s->object->source);
        else
            remote_explain(f->s->remote, c, f->s->object->source);
        note_failure(f);
    }
    http_free(c);
}

static int start(struct flow *f, struct piece *p, uint64_t n)
{
    const struct object *o = f->s->object;
    p->flow = f;
    p->have = 0;
    remote_call(&p->call, f->s->remote, &f->address, o);
    p->call.begin = piece_begin;
    p->call.body = piece_body;
    p->call.done = piece_done;
    p->call.self = p;
    if (o->sized) {
        uint64_t left = o->size - n * f->piece_bytes;
        p->bytes = left < f->piece_bytes ? (size_t)left : f->piece_bytes;
        if (!p->data && !(p->data = malloc(f->piece_bytes)))
            return fail("out of memory");
        p->call.ranged = true;
        p->call.whole = f->all == 1 && object_is_whole(o);
        p->call.from = o->base + n * f->piece_bytes;
        p->call.to = p->call.from + p->bytes;
    }
    p->state = COMING;
    f->coming++;
    return http_start(f->s->remote->http, &p->call);
}

static int fill(struct flow *f)
{
    while (f->wanted < f->all && f->coming < f->s->connections) {
        struct piece *p = &f->pieces[f->wanted % (uint64_t)f->count];
        if (p->state != IDLE)
            break;
        if (start(f, p, f->wanted++))
            return -1;
    }
    for (;;) {
        struct piece *p = &f->pieces[f->written % (uint64_t)f->count];
        if (f->written == f->wanted || p->state != READY)
            return 0;
        f->written++;
        p->job.work = work_write;
        p->job.done = done_write;
        p->state = WRITING;
        if (f->s->object->sized)
            behind_put(&f->behind, &p->job);
        else
            p->state = IDLE;
    }
}

/* ---- all ---------------------------------------------------------------------------------- */

static bool is_idle(const struct flow *f)
{
    for (int i = 0; i < f->count; i++)
        if (f->pieces[i].state != IDLE)
            return false;
    return true;
}

static void loop(struct flow *f)
{
    const struct pour *s = f->s;
    while (!f->status) {
        behind_collect(&f->behind);
        if (f->status)
            break;
        if (fill(f))
            note_failure(f);
        if (*s->interrupted) {
            fail("interrupted");
            note_failure(f);
        }
        if (f->status || (f->written == f->all && is_idle(f)))
            break;
        http_step(s->remote->http, 0.25);
        progress_to(&f->progress, s->object->sized && s->received > s->object->size
                                      ? s->object->size
                                      : s->received);
    }
}

static int prove(const struct flow *f)
{
    const struct object *o = f->s->object;
    if (f->unpacked && f->gunzip.inside)
        return fail("%s: cannot be unpacked: the gzip data ends too early", o->source);
    if (o->has_crc32c && object_is_whole(o) && f->crc != o->crc32c)
        return fail("%s: its crc32c is %08" PRIx32 ", but %08" PRIx32
                    " was read: do not use what was written",
                    o->source, o->crc32c, f->crc);
    return 0;
}

static int plan_pieces(struct flow *f)
{
    const struct object *o = f->s->object;
    uint64_t bytes = WINDOW_BYTES / (2 * (uint64_t)f->s->connections);
    bytes = bytes < MIN_PIECE ? MIN_PIECE : bytes > MAX_PIECE ? MAX_PIECE : bytes;
    f->all = 1;
    if (o->sized && !o->ranges && o->size > WINDOW_BYTES)
        return fail("%s: the server gives no ranges of it, and it is too large to be held for a "
                    "pipe; use a file",
                    o->source);
    if (o->sized && !o->ranges)
        bytes = o->size;
    if (o->sized)
        f->all = o->size == 0 ? 0 : (o->size - 1) / bytes + 1;
    f->piece_bytes = (size_t)bytes;
    f->count = WINDOW_BYTES / (int)(bytes < MIN_PIECE ? MIN_PIECE : bytes);
    if ((uint64_t)f->count > f->all)
        f->count = f->all ? (int)f->all : 1;
    if (f->s->unpack && o->gzip && (gunzip_open(&f->gunzip) || !(f->unpacked = malloc(OUT_BYTES))))
        return fail("out of memory");
    f->pieces = calloc((size_t)f->count, sizeof *f->pieces);
    return f->pieces ? 0 : fail("out of memory");
}

static void wake(void *http)
{
    http_wake(http);
}

int pour_run(struct pour *s)
{
    struct flow f = {.s = s};
    int status = plan_pieces(&f) || address_of(&f.address, s->remote, s->object) ||
                         behind_open(&f.behind, wake, s->remote->http)
                     ? -1
                     : 0;
    progress_begin(&f.progress, "fetched", "B", s->object->size);
    if (!status) {
        loop(&f);
        for (int i = 0; i < f.count; i++) {
            http_stop(s->remote->http, &f.pieces[i].call);
            http_free(&f.pieces[i].call);
        }
        behind_close(&f.behind, s->interrupted); /* its reader may be stuck */
        status = f.status ? fail("%s", f.sentence) : prove(&f);
    }
    progress_end(&f.progress);
    for (int i = 0; f.pieces && i < f.count; i++)
        free(f.pieces[i].data);
    free(f.pieces);
    free(f.unpacked);
    gunzip_close(&f.gunzip);
    address_free(&f.address);
    return status;
}
