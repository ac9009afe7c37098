/* behind.c -- one thread for what waits on the disk or on a pipe. */
#include "behind.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void *thread(void *self)
{
    struct behind *b = self;
    pthread_mutex_lock(&b->lock);
    for (;;) {
        while (!b->waiting && !b->leaving)
            pthread_cond_wait(&b->news, &b->lock);
        struct behind_job *j = b->waiting;
        if (!j)
            break;
        b->waiting = j->next;
        if (!b->waiting)
            b->last = &b->waiting;
        pthread_mutex_unlock(&b->lock);
        j->next = NULL;
        j->status = j->work(j);
        snprintf(j->sentence, sizeof j->sentence, "%s", j->status ? why() : "");
        pthread_mutex_lock(&b->lock);
        *b->ended_last = j;
        b->ended_last = &j->next;
        if (b->wake)
            b->wake(b->wake_self);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static void nothing(int sig)
{
    (void)sig;
}

int behind_open(struct behind *b, void (*wake)(void *self), void *self)
{
    sigset_t most, before;
    /* SIGURG means nothing unless someone listens: with a handler it ends a wait of the thread. */
    sigaction(SIGURG, &(struct sigaction){.sa_handler = nothing}, NULL);
    *b = (struct behind){.wake = wake, .wake_self = self};
    b->last = &b->waiting;
    b->ended_last = &b->ended;
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->news, NULL);
    sigfillset(&most); /* the others are the main thread's */
    sigdelset(&most, SIGURG);
    pthread_sigmask(SIG_SETMASK, &most, &before);
    b->begun = !pthread_create(&b->thread, NULL, thread, b);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return b->begun ? 0 : fail("no thread can be started");
}

void behind_put(struct behind *b, struct behind_job *j)
{
    j->next = NULL;
    pthread_mutex_lock(&b->lock);
    *b->last = j;
    b->last = &j->next;
    pthread_cond_signal(&b->news);
    pthread_mutex_unlock(&b->lock);
}

void behind_collect(struct behind *b)
{
    pthread_mutex_lock(&b->lock);
    struct behind_job *j = b->ended;
    b->ended = NULL;
    b->ended_last = &b->ended;
    pthread_mutex_unlock(&b->lock);
    while (j) {
        struct behind_job *next = j->next; /* `done` may put the job again */
        if (j->status)
            fail("%s", j->sentence);
        j->done(j, j->status);
        j = next;
    }
}

/* Whether the thread is still there after a twentieth of a second. */
static bool stays(const struct behind *b)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_timedjoin_np(b->thread, NULL, &until) != 0;
}

void behind_close(struct behind *b, const volatile sig_atomic_t *interrupted)
{
    if (!b->begun)
        return;
    pthread_mutex_lock(&b->lock);
    b->leaving = true;
    pthread_cond_signal(&b->news);
    pthread_mutex_unlock(&b->lock);
    while (stays(b))
        if (interrupted && *interrupted)
            pthread_kill(b->thread, SIGURG);
    pthread_cond_destroy(&b->news);
    pthread_mutex_destroy(&b->lock);
    *b = (struct behind){0};
}
