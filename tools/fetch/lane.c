/* lane.c -- one connection at one range: its bytes to the part, its end to the object. */
#include "checksum.h"
#include "copying.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static int begin(struct http_call *call, bool restarted)
{
    struct lane *l = call->self;
    if (restarted || !call->ranged) {
        l->crc = 0;
        call->from = call->ranged ? l->of->o.base : 0;
    }
    return 0;
}

static int body(struct http_call *call, const void *data, size_t bytes)
{
    struct lane *l = call->self;
    struct copying *g = l->of;
    const char *p = data;
    size_t left = bytes;
    uint64_t offset = call->from - g->o.base;
    l->crc = crc32c(l->crc, data, bytes);
    while (left) {
        ssize_t n = pwrite(g->part.fd, p, left, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            l->own_trouble = true;
            return fail("%s: %s at byte %" PRIu64, g->part.path, strerror(errno), offset);
        }
        p += n;
        offset += (uint64_t)n;
        left -= (size_t)n;
    }
    call->from += bytes;
    g->run->c->received += bytes;
    return 0;
}

/* A range is finished: its checksum counts, and the journal is to hear of it. */
static void finished(struct lane *l)
{
    struct copying *g = l->of;
    if (!g->o.sized) {
        g->crc32c = l->crc;
        g->o.size = g->o.total = l->call.from;
        g->run->c->new_bytes += g->o.size;
        return;
    }
    struct range_mark *m = &g->part.journal.marks[l->range];
    g->changed |= g->again && m->crc32c != l->crc;
    *m = (struct range_mark){l->crc, RANGE_FINISHED};
    if (!g->again)
        g->run->c->new_bytes += part_range_bytes(&g->part, l->range);
    if (g->part.journal_fd >= 0) {
        g->fresh[g->fresh_count++] = (struct part_mark){l->range, l->crc};
        g->run->unjournaled++;
    }
}

static void done(struct http_call *call, int status)
{
    struct lane *l = call->self;
    struct copying *g = l->of;
    const struct copy *c = g->run->c;
    g->coming--;
    if (!status)
        finished(l);
    else if (remote_is_gone(call, &g->o))
        g->gone = true;
    else if (!g->failed) {
        g->refused = gcs_is_refusal(call) && !l->own_trouble;
        if (!l->own_trouble)
            remote_explain(c->remote, call, g->o.source);
        copying_fail(g);
    }
    l->of = NULL;
    http_free(call);
}

void lane_start(struct lane *l, struct copying *g, uint64_t range)
{
    const struct part *p = &g->part;
    const struct remote *r = g->run->c->remote;
    *l = (struct lane){.of = g, .range = range};
    remote_call(&l->call, r, &g->address, &g->o);
    l->call.ranged = g->o.sized;
    l->call.whole = p->journal.ranges == 1 && object_is_whole(&g->o);
    l->call.from = g->o.base + range * p->journal.range_bytes;
    if (g->o.sized) {
        l->call.to = l->call.from + part_range_bytes(p, range);
        p->journal.marks[range].state = RANGE_COMING;
    }
    l->call.begin = begin;
    l->call.body = body;
    l->call.done = done;
    l->call.self = l;
    g->wanted--;
    g->coming++;
    if (http_start(r->http, &l->call)) {
        l->own_trouble = true;
        done(&l->call, -1);
    }
}

uint64_t lane_received(const struct lane *l)
{
    return l->call.from - l->of->o.base - l->range * l->of->part.journal.range_bytes;
}

void lane_stop_all(struct run *run, const struct copying *g)
{
    for (int i = 0; i < run->c->connections; i++) {
        struct lane *l = &run->lanes[i];
        if (!l->of || (g && l->of != g))
            continue;
        http_stop(run->c->remote->http, &l->call);
        http_free(&l->call);
        l->of->coming--;
        l->of = NULL;
    }
}
