/* saver.c -- checkpoints written by a thread while the next steps run. */
#include "saver.h"
#include "device.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static size_t snapshot_bytes(const struct params *p, int arrays)
{
    return (size_t)(1 + arrays) * p->floats * sizeof(float);
}

void saver_plan(struct plan *plan, const struct params *p, int arrays)
{
    if (!device_is_host())
        plan_add_host(plan, "snapshot for checkpoints", snapshot_bytes(p, arrays));
}

int saver_open(struct saver *s, bool in_background, const struct params *p,
               const struct rundir *dir, const struct metrics *metrics)
{
    *s = (struct saver){.params = p, .dir = dir, .metrics = metrics};
    if (!in_background)
        return 0;
    s->source = *p;
    s->source.on_host = true;
    if (device_is_host())
        return 0;
    size_t bytes = snapshot_bytes(p, 2 + (p->mean != NULL) + (p->average != NULL));
    float *arrays = malloc(bytes);
    if (!arrays)
        return fail("out of memory: a snapshot for checkpoints takes %zu MiB; "
                    "--no-save_in_background does without",
                    bytes >> 20);
    s->snapshot = arrays;
    s->source.master = arrays;
    s->source.m = arrays + p->floats;
    s->source.v = arrays + 2 * p->floats;
    s->source.mean = p->mean ? arrays + 3 * p->floats : NULL;
    s->source.average = p->average ? arrays + (p->mean ? 4 : 3) * p->floats : NULL;
    s->source.grad = NULL;
    s->source.work = NULL;
    return 0;
}

void saver_close(struct saver *s)
{
    bool whole;
    if (s->begun)
        (void)!saver_end(s, &whole);
    state_close(&s->state);
    free(s->snapshot);
    *s = (struct saver){0};
}

static void take_snapshot(struct saver *s)
{
    const struct params *from = s->params;
    size_t bytes = from->floats * sizeof(float);
    device_get(s->source.master, from->master, bytes);
    device_get(s->source.m, from->m, bytes);
    device_get(s->source.v, from->v, bytes);
    if (from->mean)
        device_get(s->source.mean, from->mean, bytes);
    if (from->average)
        device_get(s->source.average, from->average, bytes);
}

static void write_checkpoint(struct saver *s, const struct params *p)
{
    int64_t step = s->state.step;
    s->whole = false;
    if (mesh_ranks(&p->mesh) > 1) {
        s->status = state_save_rank(&s->files, p, s->dir->path, step);
        if (s->status)
            snprintf(s->sentence, sizeof s->sentence, "%s", why());
        return;
    }
    s->status = metrics_sync(s->metrics) || state_save(&s->state, p, s->dir->path) ||
                        rundir_point(s->dir, step)
                    ? -1
                    : 0;
    s->whole = !s->status;
    if (s->whole)
        s->status = rundir_sweep(s->dir, step);
    if (s->status)
        snprintf(s->sentence, sizeof s->sentence, "%s", why());
}

int saver_publish(struct saver *s, const struct state_files *files)
{
    int64_t step = s->state.step;
    return metrics_sync(s->metrics) ||
                   state_end_ranks(&s->state, s->dir->path, files, mesh_ranks(&s->params->mesh)) ||
                   rundir_point(s->dir, step) || rundir_sweep(s->dir, step)
               ? -1
               : 0;
}

static void *write_from_source(void *saver)
{
    struct saver *s = saver;
    write_checkpoint(s, &s->source);
    s->ended = true;
    return NULL;
}

/* Start the thread, to which no signal is delivered: they are the loop's. */
static bool start_thread(struct saver *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !pthread_create(&s->thread, NULL, write_from_source, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void saver_begin(struct saver *s, struct state *state)
{
    assert(!s->begun);
    state_close(&s->state);
    s->state = *state;
    *state = (struct state){0};
    s->begun = true;
    s->ended = false;
    s->threaded = false;
    if (s->snapshot)
        take_snapshot(s);
    if (s->source.master)
        s->threaded = start_thread(s);
    if (!s->threaded) {
        write_checkpoint(s, s->params);
        s->ended = true;
    }
}

static void join(struct saver *s)
{
    if (s->threaded)
        pthread_join(s->thread, NULL);
    s->threaded = false;
}

void saver_hold(struct saver *s)
{
    if (!s->snapshot)
        join(s);
}

bool saver_is_ready(const struct saver *s)
{
    return s->begun && s->ended;
}

int saver_end(struct saver *s, bool *whole)
{
    assert(s->begun);
    join(s);
    s->begun = false;
    if (mesh_ranks(&s->params->mesh) == 1) /* else it is yet to be published */
        state_close(&s->state);
    *whole = s->whole;
    return s->status ? fail("%s", s->sentence) : 0;
}
