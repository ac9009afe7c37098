/* copy.c -- fetch a queue of objects: ranges over many connections, journaled, proved, renamed. */
#include "copying.h"
#include "file.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SMALL_BYTES = 8 << 20, MIN_RANGE = 4 << 20, MAX_RANGE = 64 << 20;
enum { MAX_CONNECTIONS = 32, MAX_READINGS = 3, MAX_REPLACED = 3 };

int copy_connections(uint64_t objects, uint64_t bytes)
{
    uint64_t ranges = bytes / SMALL_BYTES + objects;
    return ranges < 1 ? 1 : ranges > MAX_CONNECTIONS ? MAX_CONNECTIONS : (int)ranges;
}

static uint64_t range_bytes_for(const struct object *o, int connections)
{
    uint64_t bytes = MIN_RANGE;
    if (!o->ranges || o->size <= SMALL_BYTES)
        return o->size;
    /* Eight rounds and more: the last of them may leave connections idle. */
    while (bytes < MAX_RANGE && bytes < o->size / (8 * (uint64_t)connections))
        bytes *= 2;
    return bytes;
}

void copying_fail(struct copying *g)
{
    g->failed = true;
    snprintf(g->sentence, sizeof g->sentence, "%s", why());
}

/* ---- objects ------------------------------------------------------------------------------ */

static void count_wanted(struct copying *g)
{
    g->wanted = g->next = 0;
    for (uint64_t i = 0; i < g->part.journal.ranges; i++)
        g->wanted += g->part.journal.marks[i].state == RANGE_WANTED;
    if (!g->o.sized)
        g->wanted = 1;
}

static int make_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return 0;
    char *dir = strndup(path, (size_t)(slash - path));
    int status = dir ? make_dirs(dir) : fail("out of memory");
    free(dir);
    return status;
}

static void put_job(struct copying *g, int (*work)(struct behind_job *),
                    void (*done)(struct behind_job *, int))
{
    g->job.work = work;
    g->job.done = done;
    g->busy = true;
    behind_put(&g->run->behind, &g->job);
}

static struct copying *of_job(struct behind_job *j)
{
    return (struct copying *)((char *)j - offsetof(struct copying, job));
}

static int work_prove(struct behind_job *j)
{
    struct copying *g = of_job(j);
    return part_prove(&g->part, g->run->c->interrupted, &g->damaged);
}

static void done_prove(struct behind_job *j, int status)
{
    struct copying *g = of_job(j);
    g->busy = false;
    g->proved = true;
    if (status)
        copying_fail(g);
    if (g->damaged)
        say("%s: %" PRIu64 " finished ranges are damaged on disk; fetching them again",
            g->part.path, g->damaged);
    count_wanted(g);
}

static int open_object(struct run *run, struct object *o, int replaced)
{
    struct copying **last = &run->first;
    struct copying *g = calloc(1, sizeof *g);
    if (!g)
        return fail("out of memory");
    g->run = run;
    g->o = *o;
    *o = (struct object){0};
    g->part.fd = g->part.journal_fd = -1;
    g->replaced = replaced;
    while (*last)
        last = &(*last)->after;
    *last = g;
    run->open++;
    if (make_parent(g->o.path) || address_of(&g->address, run->c->remote, &g->o) ||
        part_open(&g->part, &g->o, range_bytes_for(&g->o, run->c->connections))) {
        copying_fail(g);
        return 0;
    }
    count_wanted(g);
    if (g->part.resumed_bytes) {
        char here[16], all[16];
        say("%s: going on with %sB of %sB", g->o.source, human(here, (double)g->part.resumed_bytes),
            human(all, (double)g->o.size));
        if (run->c->verify) {
            say("%s: reading its finished ranges first", g->part.path);
            g->wanted = 0;
            put_job(g, work_prove, done_prove);
        }
    }
    return 0;
}

static void close_object(struct copying *g)
{
    struct copying **at = &g->run->first;
    while (*at != g)
        at = &(*at)->after;
    *at = g->after;
    g->run->open--;
    if (!g->finished && g->part.path && g->part.journal_fd < 0)
        part_remove(&g->part); /* nothing could go on from it */
    part_close(&g->part);
    address_free(&g->address);
    object_free(&g->o);
    free(g);
}

static int work_mark(struct behind_job *j)
{
    struct copying *g = of_job(j);
    return part_mark(&g->part, g->batch, g->batch_count);
}

static void done_mark(struct behind_job *j, int status)
{
    struct copying *g = of_job(j);
    g->busy = false;
    g->run->unjournaled -= g->batch_count;
    if (status && !g->failed)
        copying_fail(g);
}

static void journal_fresh(struct copying *g)
{
    memcpy(g->batch, g->fresh, g->fresh_count * sizeof *g->fresh);
    g->batch_count = g->fresh_count;
    g->fresh_count = 0;
    put_job(g, work_mark, done_mark);
}

static int work_finish(struct behind_job *j)
{
    struct copying *g = of_job(j);
    return part_finish(&g->part, &g->o);
}

static void done_finish(struct behind_job *j, int status)
{
    struct copying *g = of_job(j);
    g->busy = false;
    g->finished = !status;
    if (status)
        copying_fail(g);
}

/* ---- checksums ---------------------------------------------------------------------------- */

/* The checksum is wrong. What is on disk is held against the checksums of its ranges first; when
   it agrees, some range came in wrong, and only reading them again can tell which. */
static void read_again(struct copying *g, uint32_t crc)
{
    if (!g->proved && g->part.journal.ranges > 1) {
        put_job(g, work_prove, done_prove);
        return;
    }
    if (++g->readings >= MAX_READINGS || !g->o.sized) {
        fail("%s: its crc32c is %08" PRIx32 ", but %08" PRIx32
             " was read, %d times: what was read is thrown away; run the same command again later",
             g->o.source, g->o.crc32c, crc, g->readings);
        copying_fail(g);
        part_remove(&g->part);
        return;
    }
    say("%s: its crc32c is %08" PRIx32 ", but %08" PRIx32
        " was read; reading it again until it is right",
        g->o.source, g->o.crc32c, crc);
    g->again = true;
    for (uint64_t i = 0; i < g->part.journal.ranges; i++)
        g->part.journal.marks[i].state = RANGE_WANTED;
    count_wanted(g);
}

/* In a second reading: when the ranges read so far have put it right, no more are wanted. */
static void settle_again(struct copying *g)
{
    bool changed = g->changed;
    g->changed = false;
    if (!changed || part_crc32c(&g->part) != g->o.crc32c)
        return;
    for (uint64_t i = 0; i < g->part.journal.ranges; i++)
        if (g->part.journal.marks[i].state == RANGE_WANTED)
            g->part.journal.marks[i].state = RANGE_FINISHED;
    g->wanted = 0;
}

static void all_received(struct copying *g)
{
    uint32_t crc = g->o.sized ? part_crc32c(&g->part) : g->crc32c;
    if (g->o.has_crc32c && object_is_whole(&g->o) && crc != g->o.crc32c)
        read_again(g, crc);
    else
        put_job(g, work_finish, done_finish);
}

/* ---- the loop ----------------------------------------------------------------------------- */

static int tell_failed(struct copying *g)
{
    warn("%s", g->sentence);
    g->run->c->failed++;
    return ledger_line(g->run->c->ledger, &g->o, "failed");
}

static int tell_fetched(struct copying *g)
{
    char size[16];
    g->run->c->fetched++;
    if (g->run->c->tell)
        say("%s: %sB to %s", g->o.source, human(size, (double)g->o.size), g->o.path);
    return ledger_line(g->run->c->ledger, &g->o, "fetched");
}

static void look_failed(void *self, int index)
{
    (void)index;
    copying_fail(self);
}

/* The version is gone: begin with the one that is there now. */
static int follow_replacement(struct copying *g)
{
    struct object o = {.source = object_text(g->o.source)};
    char *path = object_text(g->o.path);
    int replaced = g->replaced + 1, status = 0;
    struct run *run = g->run;
    if (replaced > MAX_REPLACED) {
        fail("%s: is replaced again and again; run the same command when it has come to rest",
             g->o.source);
        copying_fail(g);
    } else if (remote_look(run->c->remote, &o, 1, look_failed, g))
        status = -1;
    if (!status && !g->failed && !object_is_whole(&g->o) &&
        (g->o.base > o.total || g->o.size > o.total - g->o.base)) {
        fail("%s: was replaced meanwhile by a shorter one", g->o.source);
        copying_fail(g);
    }
    if (status || g->failed) {
        if (!status)
            status = tell_failed(g);
        close_object(g);
    } else {
        say("%s: was replaced meanwhile (version %s, now %s); starting it again", g->o.source,
            g->o.version, o.version);
        if (!object_is_whole(&g->o)) {
            o.base = g->o.base;
            o.size = g->o.size;
        }
        o.path = path;
        o.unpack = run->c->decompress && o.gzip;
        path = NULL;
        part_remove(&g->part);
        close_object(g);
        status = open_object(run, &o, replaced);
    }
    free(path);
    object_free(&o);
    return status;
}

/* Act on what lanes and jobs have left word of. -1 ends the run. */
static int settle(struct copying *g)
{
    int status;
    if (g->busy)
        return 0;
    if ((g->failed || g->gone) && g->coming)
        lane_stop_all(g->run, g);
    if (g->fresh_count && !g->gone) {
        journal_fresh(g);
        return 0;
    }
    if (g->gone) {
        g->run->unjournaled -= g->fresh_count;
        return follow_replacement(g);
    }
    if (g->failed) {
        if (g->refused)
            return fail("%s", g->sentence);
        status = tell_failed(g);
        close_object(g);
        return status;
    }
    if (g->finished) {
        status = tell_fetched(g);
        close_object(g);
        return status;
    }
    if (g->again && g->wanted)
        settle_again(g);
    if (!g->wanted && !g->coming)
        all_received(g);
    return 0;
}

/* A range for an idle lane. Finished ranges that the journal does not hold yet would be fetched
   again after a kill; there are never more of them than lanes. */
static struct copying *find_range(struct run *run, uint64_t *range)
{
    for (struct copying *g = run->first; g; g = g->after) {
        bool journaled = g->part.journal_fd >= 0;
        if (!g->wanted || g->failed || g->gone ||
            (journaled && run->unjournaled >= (uint64_t)run->c->connections))
            continue;
        *range = 0;
        if (!g->o.sized)
            return g;
        while (g->part.journal.marks[g->next].state != RANGE_WANTED)
            g->next++;
        *range = g->next;
        return g;
    }
    return NULL;
}

static int fill_lanes(struct run *run)
{
    const int most_open = 2 * run->c->connections + 16;
    for (int i = 0; i < run->c->connections; i++) {
        uint64_t range;
        struct copying *g;
        if (run->lanes[i].of)
            continue;
        while (!(g = find_range(run, &range)) && !run->drained && run->open < most_open) {
            struct object o;
            int got = object_take(run->c->queue, &o);
            run->drained = got == 0;
            if (got < 0 || (got > 0 && open_object(run, &o, 0)))
                return -1;
        }
        if (!g)
            break;
        lane_start(&run->lanes[i], g, range);
    }
    return 0;
}

static int settle_all(struct run *run)
{
    for (struct copying *g = run->first, *after; g; g = after) {
        after = g->after;
        if (settle(g))
            return -1;
    }
    return 0;
}

/* Leave no finished range out of its journal. */
static void save(struct run *run)
{
    lane_stop_all(run, NULL);
    for (bool busy = true; busy;) {
        busy = false;
        behind_collect(&run->behind);
        for (struct copying *g = run->first; g; g = g->after) {
            if (!g->busy && g->fresh_count)
                journal_fresh(g);
            busy |= g->busy;
        }
        if (busy)
            http_step(run->c->remote->http, 0.1);
    }
}

static void wake(void *http)
{
    http_wake(http);
}

/* With -v, as often as a log hears of progress: how far each object of several ranges has come. */
static void tell_under_way(struct run *run)
{
    char done_text[16], all_text[16];
    if (!run->c->tell || now_s() - run->told_s < log_every_s)
        return;
    run->told_s = now_s();
    for (const struct copying *g = run->first; g; g = g->after) {
        uint64_t done = 0;
        for (uint64_t i = 0; g->part.path && i < g->part.journal.ranges; i++)
            done += g->part.journal.marks[i].state == RANGE_FINISHED ? part_range_bytes(&g->part, i)
                                                                     : 0;
        for (int i = 0; i < run->c->connections; i++)
            done += run->lanes[i].of == g ? lane_received(&run->lanes[i]) : 0;
        if (g->part.journal_fd >= 0)
            say("%s: %sB of %sB", g->o.source, human(done_text, (double)done),
                human(all_text, (double)g->o.size));
    }
}

static int loop(struct run *run)
{
    const struct copy *c = run->c;
    uint64_t total = c->queue->bytes;
    while (!run->drained || run->first) {
        behind_collect(&run->behind);
        if (settle_all(run) || fill_lanes(run))
            return -1;
        if (*c->interrupted)
            return fail("interrupted; run the same command again: it goes on where this one ended");
        if (run->drained && !run->first)
            break;
        http_step(c->remote->http, 0.25);
        tell_under_way(run);
        uint64_t done = c->here_bytes + c->received;
        progress_to(&run->progress, total && done > total ? total : done);
    }
    return 0;
}

int copy_run(struct copy *c)
{
    struct run run = {.c = c, .told_s = now_s()};
    char sentence[1024] = "";
    run.lanes = calloc((size_t)c->connections, sizeof *run.lanes);
    if (!run.lanes)
        return fail("out of memory");
    int status = behind_open(&run.behind, wake, c->remote->http);
    progress_begin(&run.progress, "fetched", "B", c->queue->bytes);
    run.progress.skipped = c->here_bytes;
    if (!status)
        status = loop(&run);
    if (status)
        snprintf(sentence, sizeof sentence, "%s", why());
    save(&run);
    progress_end(&run.progress);
    behind_close(&run.behind, NULL);
    while (run.first)
        close_object(run.first);
    free(run.lanes);
    return status ? fail("%s", sentence) : 0;
}
