/* metrics.h -- metrics.jsonl, one JSON object a line.

     {"step", "loss", "grad_norm", "learning_rate", "tokens_per_s", "elapsed_s"}   every step
     {"step", "layer", "x", "ttt_stats"}    at milestones: the ends of the mini-batches, and the
                                            four curves of docs/model.md over them
     {"step", "val_loss", "val_tokens"}     where the validation data was read

     {"step", "weights", "activations"}     with --norms_every: of the embedding, of each layer and,
                                            of weights, of the rest the norm; of activations the
                                            root mean square of what leaves each

     {"step", "skipped": true}              an update left out: its numbers were not finite
     {"step", "skipped": true, "spike", "deviations"}    or its loss stood out so far; null: beyond
                                            all measure, after equal losses

   Floats have nine digits, which restore a float. A line is written whole or not at all. What it
   tells goes on to TensorBoard's event files and to a collector's text file where they are asked
   for. */
#ifndef METRICS_H
#define METRICS_H

#include "events.h"
#include "textfile.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Zero means closed. Fields are private. */
struct metrics {
    char path[PATH_MAX];
    int fd;
    int64_t good_bytes; /* of whole lines in the file */
    FILE *line;         /* collects lines to be written at once, in text */
    char *text;
    size_t text_bytes;
    struct events events;
    struct textfile textfile;
};

/* Open path for appending after the lines of steps up to `step`: later ones, which a killed run
   left, are cut off, atomically. Step 0 begins anew. */
must_check int metrics_open(struct metrics *m, const char *path, int64_t step);
void metrics_close(struct metrics *m); /* harmless when closed */

/* From now on also write event files into dir, and the newest numbers of a run of this name to
   textfile; either may be NULL. What older event files tell of steps after `step` is void. */
must_check int metrics_follow(struct metrics *m, const char *dir, const char *textfile,
                              const char *run, int64_t step);

struct metrics_step {
    int64_t step;
    float loss, grad_norm, learning_rate; /* as the reference logs them */
    double tokens_per_s, elapsed_s;
    bool skipped;            /* the update was left out; then only step counts, or also */
    float spike, deviations; /* the loss, where it was left out for that; else both 0 */
};

must_check int metrics_put(struct metrics *m, const struct metrics_step *s);
/* weights [layers + 2], activations [layers + 1]. */
must_check int metrics_put_norms(struct metrics *m, int64_t step, const double *weights,
                                 const double *activations, int layers);
/* curves [layers][4][points]; x of point i is mini_batch * (i + 1). */
must_check int metrics_put_stats(struct metrics *m, int64_t step, const double *curves, int layers,
                                 int points, int mini_batch);
must_check int metrics_put_validation(struct metrics *m, int64_t step, double loss,
                                      uint64_t tokens);

/* The last numbers to the text file, whenever it was written before. */
must_check int metrics_end(struct metrics *m);

/* The lowest validation loss that the file tells of and its step; false: none. */
bool metrics_best(const struct metrics *m, double *loss, int64_t *step);

/* Make what was put survive a power cut: before a checkpoint that says so many steps are done. */
must_check int metrics_sync(const struct metrics *m);

#endif
