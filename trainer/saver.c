/* saver.c -- checkpoints written by a thread, from a snapshot, while the next steps run. */
#include "saver.h"
#include "device.h"

#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* The arrays of a checkpoint: masters, both moments, and where gradients are gathered their mean.
 */
static size_t snapshot_bytes(const struct params *p, bool has_mean)
{
    return (has_mean ? 4 : 3) * p->floats * sizeof(float);
}

void saver_plan(struct plan *plan, const struct params *p, bool has_mean)
{
    plan_add_host(plan, "snapshot for checkpoints", snapshot_bytes(p, has_mean));
}

int saver_open(struct saver *s, bool with_snapshot, const struct params *p,
               const struct rundir *dir, const struct metrics *metrics)
{
    *s = (struct saver){.params = p, .dir = dir, .metrics = metrics};
    if (!with_snapshot)
        return 0;
    size_t bytes = snapshot_bytes(p, p->mean);
    float *arrays = malloc(bytes);
    if (!arrays)
        return fail("out of memory: a snapshot for checkpoints takes %zu MiB; "
                    "--no-save_in_background does without",
                    bytes >> 20);
    s->snapshot = *p;
    s->snapshot.on_host = true;
    s->snapshot.master = arrays;
    s->snapshot.m = arrays + p->floats;
    s->snapshot.v = arrays + 2 * p->floats;
    s->snapshot.mean = p->mean ? arrays + 3 * p->floats : NULL;
    s->snapshot.grad = NULL;
    s->snapshot.work = NULL;
    return 0;
}

void saver_close(struct saver *s)
{
    bool whole;
    if (s->begun)
        (void)!saver_end(s, &whole);
    state_close(&s->state);
    free(s->snapshot.master);
    *s = (struct saver){0};
}

static void take_snapshot(struct saver *s)
{
    const struct params *from = s->params;
    size_t bytes = from->floats * sizeof(float);
    device_get(s->snapshot.master, from->master, bytes);
    device_get(s->snapshot.m, from->m, bytes);
    device_get(s->snapshot.v, from->v, bytes);
    if (from->mean)
        device_get(s->snapshot.mean, from->mean, bytes);
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

static void *write_from_snapshot(void *saver)
{
    struct saver *s = saver;
    write_checkpoint(s, &s->snapshot);
    s->ended = true;
    return NULL;
}

/* Start the thread, to which no signal is delivered: they are the loop's. */
static bool start_thread(struct saver *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !pthread_create(&s->thread, NULL, write_from_snapshot, s);
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
    if (s->snapshot.master) {
        take_snapshot(s);
        s->threaded = start_thread(s);
    }
    if (!s->threaded) {
        write_checkpoint(s, s->params);
        s->ended = true;
    }
}

bool saver_is_ready(const struct saver *s)
{
    return s->begun && s->ended;
}

int saver_end(struct saver *s, bool *whole)
{
    assert(s->begun);
    if (s->threaded)
        pthread_join(s->thread, NULL);
    s->begun = false;
    if (mesh_ranks(&s->params->mesh) == 1) /* else it is yet to be published */
        state_close(&s->state);
    *whole = s->whole;
    return s->status ? fail("%s", s->sentence) : 0;
}
