/* worker.h -- a thread that does one job at a time while its owner prepares the next.

   One owner. The thread starts with the first job; where there can be none, jobs are done at once
   by the owner. */
#ifndef WORKER_H
#define WORKER_H

#include "err.h"

#include <pthread.h>
#include <stdbool.h>

/* Zero means without a thread. Private. */
struct worker {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, busy, leave;
    int (*work)(void *self); /* the job at hand: 0, or -1 with why() */
    void *self;
    int status;
    char sentence[1024]; /* why() of the job that failed first */
};

/* Wait for the job before and begin this one; self is borrowed until it is done. -1 with why() when
   one before has failed: then nothing is begun. */
must_check int worker_give(struct worker *w, int (*work)(void *self), void *self);
/* Wait until nothing is at work. -1 with why() when a job has failed. */
must_check int worker_wait(struct worker *w);
/* Wait and end the thread; harmless without one. */
void worker_close(struct worker *w);

#endif
