/* pipeline.c -- one reader, many workers, one writer, in order. */
#include "pipeline.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Item number n travels in slot n % slots. 0 <= drained <= taken <= filled <= drained + slots. */
struct run {
    struct pipeline *p;
    pthread_mutex_t lock;
    pthread_cond_t space, food, done; /* for the reader, the workers, the writer */
    uint64_t filled, taken, drained;
    size_t under_way; /* weight of what is filled and not drained */
    size_t *weight;   /* [slots] */
    bool *worked;     /* [slots] */
    bool no_more, stop, failed;
    char reason[1024]; /* why fill failed */
    int next_worker;
    pthread_t *threads; /* [workers], then the reader's */
};

static void *read_all(void *arg)
{
    struct run *r = arg;
    struct pipeline *p = r->p;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->stop && (r->filled - r->drained == (uint64_t)p->slots ||
                            (r->under_way >= p->budget && r->filled != r->drained)))
            pthread_cond_wait(&r->space, &r->lock);
        if (r->stop)
            break;
        int slot = (int)(r->filled % (uint64_t)p->slots);
        pthread_mutex_unlock(&r->lock);
        int got = p->fill(p->self, p->items[slot]);
        size_t weight = got == 1 ? p->weight(p->self, p->items[slot]) : 0;
        pthread_mutex_lock(&r->lock);
        if (got != 1) {
            r->failed = got < 0;
            if (r->failed)
                strcpy(r->reason, why()); /* at most 1023 bytes, by err.h */
            break;
        }
        r->weight[slot] = weight;
        r->worked[slot] = false;
        r->under_way += weight;
        r->filled++;
        pthread_cond_signal(&r->food);
    }
    r->no_more = true;
    pthread_cond_broadcast(&r->food);
    pthread_cond_signal(&r->done);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void *work_all(void *arg)
{
    struct run *r = arg;
    struct pipeline *p = r->p;
    pthread_mutex_lock(&r->lock);
    int worker = r->next_worker++;
    for (;;) {
        while (!r->stop && !r->no_more && r->taken == r->filled)
            pthread_cond_wait(&r->food, &r->lock);
        if (r->stop || r->taken == r->filled)
            break;
        int slot = (int)(r->taken++ % (uint64_t)p->slots);
        pthread_mutex_unlock(&r->lock);
        p->work(p->self, worker, p->items[slot]);
        pthread_mutex_lock(&r->lock);
        r->worked[slot] = true;
        pthread_cond_signal(&r->done);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* The caller's part. */
static int drain_all(struct run *r)
{
    struct pipeline *p = r->p;
    int status = 0;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        int slot = (int)(r->drained % (uint64_t)p->slots);
        while (r->drained == r->filled ? !r->no_more : !r->worked[slot])
            pthread_cond_wait(&r->done, &r->lock);
        if (r->drained == r->filled)
            break;
        pthread_mutex_unlock(&r->lock);
        status = p->drain(p->self, p->items[slot]);
        pthread_mutex_lock(&r->lock);
        if (status)
            break;
        r->under_way -= r->weight[slot];
        r->drained++;
        pthread_cond_signal(&r->space);
    }
    if (!status && r->failed)
        status = fail("%s", r->reason);
    r->stop = true;
    pthread_cond_broadcast(&r->food);
    pthread_cond_broadcast(&r->space);
    pthread_mutex_unlock(&r->lock);
    return status;
}

static void release(struct run *r)
{
    if (!r)
        return;
    free(r->weight);
    free(r->worked);
    free(r->threads);
    free(r);
}

static struct run *prepare(struct pipeline *p)
{
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->p = p;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->space, NULL);
    pthread_cond_init(&r->food, NULL);
    pthread_cond_init(&r->done, NULL);
    r->weight = calloc((size_t)p->slots, sizeof *r->weight);
    r->worked = calloc((size_t)p->slots, sizeof *r->worked);
    r->threads = calloc((size_t)p->workers + 1, sizeof *r->threads);
    if (r->weight && r->worked && r->threads)
        return r;
    release(r);
    return NULL;
}

int pipeline_run(struct pipeline *p)
{
    struct run *r = prepare(p);
    if (!r)
        return fail("out of memory for %d threads", p->workers);
    for (int i = 0; i <= p->workers; i++) {
        int error = pthread_create(&r->threads[i], NULL, i < p->workers ? work_all : read_all, r);
        if (error)
            return fail("thread %d of %d cannot be started: %s; ask for fewer with -j", i + 1,
                        p->workers + 1, strerror(error));
    }
    if (drain_all(r)) {
        p->left = r; /* the reader may be inside fill */
        return -1;
    }
    for (int i = 0; i <= p->workers; i++)
        pthread_join(r->threads[i], NULL);
    release(r);
    return 0;
}

int pipeline_cores(void)
{
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set))
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}
