/* pipeline.h -- one reader, many workers, one writer; what comes out keeps the order of what went
   in, so that nothing depends on the number of workers. */
#ifndef PIPELINE_H
#define PIPELINE_H

#include "err.h"

#include <stddef.h>

/* Items are the caller's and go round: filled by the reader's thread, worked on by any worker,
   drained in order by the thread that called pipeline_run. No callback runs twice on one item at a
   time, nor two of fill, nor two of drain. */
struct pipeline {
    int workers;   /* at least 1 */
    void **items;  /* [slots], borrowed */
    int slots;     /* 2 * workers + 2 keep everybody busy */
    size_t budget; /* no item is filled while those on their way weigh this much, or more */

    void *self;                                       /* handed to every callback */
    int (*fill)(void *self, void *item);              /* 1: filled, 0: no more, -1 with why() */
    size_t (*weight)(void *self, const void *item);   /* asked after fill */
    void (*work)(void *self, int worker, void *item); /* worker is below workers */
    int (*drain)(void *self, void *item);             /* 0, or -1 with why() */

    void *left; /* private: of a run that failed, for threads that are still in it */
};

/* Run until fill says 0 and all is drained: 0. Where fill fails, what it filled before is drained
   first; where drain fails, nothing further is. -1 with why(): the caller is then to end the
   process, since the reader may still be waiting for its input. */
must_check int pipeline_run(struct pipeline *p);

/* Processors this process may use. */
int pipeline_cores(void);

#endif
