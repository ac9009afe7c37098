/* worker.c -- a thread that does one job at a time while its owner prepares the next. */
#include "worker.h"

#include <signal.h>
#include <stdio.h>

enum { STACK_BYTES = 256 << 10 };

static void done(struct worker *w, int status)
{
    if (status && !w->status) {
        w->status = status;
        snprintf(w->sentence, sizeof w->sentence, "%s", why());
    }
    w->busy = false;
}

static void *run(void *self)
{
    struct worker *w = self;
    pthread_mutex_lock(&w->lock);
    while (!w->leave) {
        if (!w->busy) {
            pthread_cond_wait(&w->changed, &w->lock);
            continue;
        }
        pthread_mutex_unlock(&w->lock);
        int status = w->work(w->self);
        pthread_mutex_lock(&w->lock);
        done(w, status);
        pthread_cond_signal(&w->changed);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Signals from outside are for the thread that was there first. */
static void start(struct worker *w)
{
    pthread_attr_t attr;
    sigset_t outside, before;
    sigfillset(&outside);
    sigdelset(&outside, SIGPIPE); /* comes of a write of the job's own */
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->changed, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &outside, &before);
    w->running = !pthread_create(&w->thread, &attr, run, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

int worker_wait(struct worker *w)
{
    if (w->running) {
        pthread_mutex_lock(&w->lock);
        while (w->busy)
            pthread_cond_wait(&w->changed, &w->lock);
        pthread_mutex_unlock(&w->lock);
    }
    return w->status ? fail("%s", w->sentence) : 0;
}

int worker_give(struct worker *w, int (*work)(void *self), void *self)
{
    if (worker_wait(w))
        return -1;
    if (!w->running)
        start(w);
    if (!w->running) {
        done(w, work(self));
        return w->status;
    }
    pthread_mutex_lock(&w->lock);
    w->work = work;
    w->self = self;
    w->busy = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    return 0;
}

void worker_close(struct worker *w)
{
    if (!w->running)
        return;
    pthread_mutex_lock(&w->lock);
    while (w->busy)
        pthread_cond_wait(&w->changed, &w->lock);
    w->leave = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->changed);
    *w = (struct worker){0};
}
