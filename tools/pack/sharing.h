/* sharing.h -- a dataset packed by several programs at once: here as processes, or anywhere. */
#ifndef SHARING_H
#define SHARING_H

#include "feed.h"
#include "packer.h"

struct sharing {
    const struct packer_plan *plan; /* borrowed; its sources are known */
    struct feed *feed;              /* borrowed, open: one, or one a split where they were given */
    int64_t memory;                 /* of all programs here */
    int programs;                   /* that share it */
};

/* Write part `index` of `count` and make the dataset whole if it was the last. 1: it is whole; 0:
 *missing parts are not there yet; -1. */
must_check int sharing_part(struct sharing *s, int index, int count, int *missing);

/* All parts, by s->programs processes. 1: the dataset was whole already; 0: it is now; -1, when the
   sentence of a process has been printed too. */
must_check int sharing_run(struct sharing *s, bool force);

#endif
