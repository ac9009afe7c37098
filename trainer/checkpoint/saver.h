/* saver.h -- checkpoints written by a thread while the next steps run.

   From a snapshot; where the device is the host, from the parameters and moments themselves, which
   stay as they are up to the next update: that one waits (saver_hold), and no second copy is there.
   Where no thread is wanted or a snapshot does not fit, all of it happens before the run goes on.
 */
#ifndef SAVER_H
#define SAVER_H

#include "metrics.h"
#include "params.h"
#include "plan.h"
#include "rundir.h"
#include "state.h"

#include <pthread.h>
#include <stdatomic.h>

/* Zero means closed. Fields are private. */
struct saver {
    const struct params *params; /* borrowed, as are the next two */
    const struct rundir *dir;
    const struct metrics *metrics;
    struct params source; /* arrays that the thread reads; the list is params's. Empty: no thread */
    float *snapshot;      /* source's, owned; NULL: they are params's own */
    struct state state;   /* of the checkpoint being written, owned */
    pthread_t thread;
    bool begun, threaded; /* begun: saver_begin without its saver_end */
    atomic_bool ended;    /* the thread has nothing left to do */
    bool whole;
    int status;
    char sentence[1024];      /* why() of the thread */
    struct state_files files; /* of many ranks, those that this one has written */
};

/* Add to a plan what saver_open will take for a snapshot, if it takes one: the parameters, and
   `arrays` more (optim.h). */
void saver_plan(struct plan *plan, const struct params *p, int arrays);

/* p is allocated for training. -1 with why() when there is no memory for the snapshot; it is not
   touched, and so takes no memory, before the first checkpoint. */
must_check int saver_open(struct saver *s, bool in_background, const struct params *p,
                          const struct rundir *dir, const struct metrics *metrics);
/* Waits for what is being written. Harmless when closed. */
void saver_close(struct saver *s);

/* Begin a checkpoint of p as it stands, none being under way: lines of metrics made to last,
   step_N, `latest`, and then the rolling one before removed. `state` is taken over. Troubles are
   told by saver_end. */
void saver_begin(struct saver *s, struct state *state);

/* Before p's arrays change: wait until the checkpoint under way has read them. */
void saver_hold(struct saver *s);

/* Whether saver_end would not have to wait for one that is under way. */
bool saver_is_ready(const struct saver *s);

/* With many ranks, what is begun is this rank's files alone: saver_end tells whether they are
   written, and when those of all are, rank 0 makes them a checkpoint. */
must_check int saver_publish(struct saver *s, const struct state_files *files);

/* Wait for the checkpoint under way. *whole: it is there, and `latest` points to it. -1 with why()
   when anything failed; the last good one is then as it was, unless the new one is whole. */
must_check int saver_end(struct saver *s, bool *whole);

#endif
