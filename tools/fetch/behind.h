/* behind.h -- one thread for what waits on the disk or on a pipe, so that the network does not. */
#ifndef BEHIND_H
#define BEHIND_H

#include "err.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/* One piece of work. The storage is the caller's and stays where it is until `done`. */
struct behind_job {
    int (*work)(struct behind_job *j);              /* on the thread behind: 0, or -1 with why() */
    void (*done)(struct behind_job *j, int status); /* in behind_collect; why() is the work's */
    int status;
    char sentence[1024];
    struct behind_job *next;
};

/* Jobs are worked on one at a time, in the order they were put. */
struct behind {
    void (*wake)(void *self); /* called from the thread behind when a job has ended; may be NULL */
    void *wake_self;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct behind_job *waiting, **last, *ended, **ended_last;
    bool leaving, begun;
};

must_check int behind_open(struct behind *b, void (*wake)(void *self), void *self);
void behind_put(struct behind *b, struct behind_job *j);
/* Call `done` for the jobs that have ended. */
void behind_collect(struct behind *b);
/* Finish the work that was put, without `done`, and end the thread; harmless when closed. Once
 *interrupted is set (may be NULL), what the thread waits for fails with EINTR until it ends. */
void behind_close(struct behind *b, const volatile sig_atomic_t *interrupted);

#endif
