/* peers.h -- what the ranks of a run say to each other beside the arrays: by TCP, with rank 0 in
   the middle. They meet, agree that they do the same, and watch that each of them goes on.

   From peers_watch on a thread of each rank tells once in a while how often its loop has called
   peers_beat. A rank that is gone, says nothing, or stands still while others go on ends the run:
   every rank prints one sentence that names it, and leaves with status 1. */
#ifndef PEERS_H
#define PEERS_H

#include "ranks.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer {
    int fd;
    char name[128]; /* "rank 3 (node7, process 4711)" */
    uint64_t beats;
    double heard_s, moved_s; /* when it last said something, and something new */
    bool left;               /* it said that it is done */
};

/* Zero means closed, and so does a single rank, for which every function does nothing. Fields are
   private but ranks, advice, alarm and told. */
struct peers {
    struct ranks ranks;
    double timeout_s;
    const char *advice; /* what sentences about others end with, or NULL; may be set */
    /* May be set: asked by the watcher, for the loop may hang; a sentence ends the run. */
    const char *(*alarm)(void);
    struct peer *peer; /* [count], by rank; other ranks than 0 know only rank 0. Owned */
    pthread_t watcher;
    bool watching;
    atomic_ullong beats;
    atomic_bool leaving;
    atomic_bool told; /* may be set: this rank has printed why it ends, and does so once */
    pthread_mutex_t sending;
};

/* Whether --comm_timeout can be so long. -1 with why(). */
must_check int peers_check_timeout(double timeout_s);

/* Meet the others. -1 with a sentence naming those that have not come within timeout_s. */
must_check int peers_open(struct peers *p, const struct ranks *ranks, double timeout_s);

/* Say goodbye and wait for the others to. Harmless when closed. */
void peers_close(struct peers *p);

/* Before peers_watch: every rank gets rank 0's data. */
must_check int peers_share(struct peers *p, void *data, size_t bytes);

/* Before peers_watch: all ranks have to say the same. On every rank -1 with a sentence naming the
   first claim and rank that differ. */
struct peers_claim {
    const char *name; /* "--seed" */
    const char *text;
};
must_check int peers_agree(struct peers *p, const struct peers_claim *claims, int count);

/* Begin to watch. */
must_check int peers_watch(struct peers *p);

/* This rank's loop goes on. */
void peers_beat(struct peers *p);

/* This rank ends with a sentence of its own; the others are told it, or before peers_watch find it
   gone. */
void peers_fail(struct peers *p, const char *sentence);

#endif
