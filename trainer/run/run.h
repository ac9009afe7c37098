/* run.h -- a run of training: everything it has open, and what one does with it. */
#ifndef RUN_H
#define RUN_H

#include "data.h"
#include "dataset.h"
#include "metrics.h"
#include "model.h"
#include "optim.h"
#include "options.h"
#include "order.h"
#include "params.h"
#include "resume.h"
#include "rundir.h"
#include "saver.h"
#include "spikes.h"
#include "team.h"

#include <signal.h>

/* Zero means closed. */
struct run {
    const struct options *options;     /* borrowed, as is stop */
    const volatile sig_atomic_t *stop; /* set by a signal */
    struct team *team;                 /* this rank and the others; borrowed */
    int stopped;                       /* the signal that all ranks have agreed to stop by */
    struct config config;
    struct dataset dataset;
    struct data train, validation; /* the latter only where it is read */
    struct order order;
    int micro_batch;    /* rows computed at once; run_plan chose them */
    struct batch batch; /* of the rows that this rank computes */
    struct batch next;  /* rows that were read ahead, for the step next_step; 0: for none */
    int64_t next_step;
    bool next_sent; /* their first micro-batch is on its way to the device */
    struct params params;
    struct model model;
    struct optim optim;
    struct rundir dir;
    struct metrics metrics;
    struct saver saver;
    double *curves;       /* [layers][4][seq / mini_batch], owned; NULL when never asked for */
    int64_t step;         /* done */
    struct spikes spikes; /* losses that stand out; closed unless asked for */
    int skipped;          /* updates left out in a row, of steps that were not finite */
    int64_t saved;        /* the step of the newest whole checkpoint, 0: none */
    int64_t saving;       /* the step of the one under way, 0: none */
    bool written;         /* every rank's files of it were when a step last ended; of many ranks */
    double began_s;       /* now_s() when a run without interruption would have begun */
};

/* What the flags mean: dataset, model, directory (unless only evaluating), checkpoint to begin
   with, memory. Says each in a line. The device is open. */
must_check int run_open(struct run *r, const struct options *o, struct team *team,
                        const volatile sig_atomic_t *stop);
void run_close(struct run *r); /* harmless when closed */

/* The resolved run for people, on stdout: flags, configuration, parameters, memory. Nothing of it
   is opened or written. */
must_check int run_print(const struct options *o);

/* Where the run stands in its data after the present step. */
void run_place_in_data(const struct run *r, struct state_data *d);

/* One update: r->step goes up by one, *m is its line for metrics.jsonl. Where loss or gradient is
   not finite nothing is changed: -1 with why(), or up to skip_nonfinite times in a row 0 with
   m->skipped and why(); the same 0 where the loss is a spike. -1 too when the data are bad or the
   device broke. When *r->stop becomes true the step is given up between two micro-batches: 1, and
   everything is as before it. */
must_check int run_step(struct run *r, struct metrics_step *m);

/* The signal that the run is to stop by, or 0: with several ranks once all know of it. */
int run_stopped(const struct run *r);

/* The loss over the first eval_batches batches of the validation data, in their own order, the
   last incomplete batch left out; and the tokens that counted. */
must_check int run_evaluate(struct run *r, double *loss, uint64_t *tokens);

/* Begin a checkpoint of the present step; none is under way. It points `latest` to itself and
   removes the rolling one before once it is whole. -1 with why() when it could not even begin. */
must_check int run_save_begin(struct run *r);

/* Whether run_save_end would not have to wait for one that is under way. All ranks agree. */
bool run_save_is_ready(const struct run *r);

/* Wait for the checkpoint under way: r->saving becomes 0, and r->saved its step when it is whole. A
   failure, -1, leaves the last good one as it was. */
must_check int run_save_end(struct run *r);

#endif
