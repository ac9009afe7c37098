/* state.h -- a checkpoint: one directory that holds everything a run needs to go on.

     step_N/params.safetensors    masters, fp32, under the names of params.h
            moments.safetensors   mu/NAME and nu/NAME, fp32; mean/NAME where the optimiser
                                  accumulates gradients
            state.json            step, place in the data, flags, model, hashes of the two files

   Written by N ranks, the arrays are in params-R-of-N.safetensors and moments-R-of-N.safetensors, R
   from 00000 on, one of each a rank (pieces.h), and state.json tells "ranks": N. Any mesh reads
   what any other has written.

   Where the run keeps a running average of its parameters, step_N/average is a checkpoint of those
   alone, of the same kind.

   A converted one may lack the place in the data, and the moments with their file.

   The directory is written under another name, synced, and renamed when whole. The bytes of the
   arrays depend on nothing but the run. */
#ifndef STATE_H
#define STATE_H

#include "checksum.h"
#include "config.h"
#include "order.h"
#include "params.h"

#include <jansson.h>
#include <limits.h>

/* Where a run stands in its data, and what fixes that order. windows 0: not told. */
struct state_data {
    char order[16]; /* "torch2.3" */
    int64_t seed;
    uint64_t windows, seq_length, global_batch_size;
    uint64_t epoch, position; /* position: windows of this epoch already used */
    struct order_log reshuffles;
    struct xxh3 manifest; /* of the dataset's manifest.jsonl, "" without one */
};

/* What a checkpoint knows beside its arrays. Zero means closed. */
struct state {
    int64_t step;
    bool milestone;     /* to be kept when newer ones are whole */
    bool has_moments;   /* set by state_read, as is the next */
    struct xxh3 params; /* of params.safetensors */
    double elapsed_s;   /* the run took so far */
    struct state_data data;
    struct config config;
    json_t *spikes; /* spikes.h, of a run that looks for them, or NULL; owned */
    json_t *flags;  /* {"name": "text"}, every flag as resolved; owned */
};

#define STATE_AVERAGE "average"

/* Write RUN_DIR/step_N, with p's moments and average if it has them. One that is there already is
   replaced once the new one is whole. On failure -1 with why(), and what was there before is
   untouched. */
must_check int state_save(const struct state *s, const struct params *p, const char *run_dir);

/* The same by many ranks. Rank 0 makes an empty directory; then each rank fills in its files, which
   are synced when this returns; then rank 0, told of all files, writes state.json and gives the
   directory its name. */
struct state_file {
    uint64_t bytes;
    struct xxh3 digest;
};
struct state_files {
    struct state_file params, moments, average; /* of the latter 0 bytes where there is none */
};
must_check int state_begin_ranks(const char *run_dir, int64_t step, bool has_average);
must_check int state_save_rank(struct state_files *files, const struct params *p,
                               const char *run_dir, int64_t step);
must_check int state_end_ranks(const struct state *s, const char *run_dir,
                               const struct state_files *files, int ranks);

/* Read state.json of a step directory, and check that the files it names are there and as long as
   it says. */
must_check int state_read(struct state *s, const char *step_dir);
void state_close(struct state *s); /* harmless when closed */

/* Note in the checkpoint of a step directory that the data after it are reshuffled as logged. */
must_check int state_note_reshuffles(const char *step_dir, const struct order_log *log);

/* Fill p's masters, or its masters and moments, from a step directory; working copies are brought
   up to date. Hashes are checked. Every tensor must be one of p's, of its shape and fp32, and
   every one of p's must be there: else -1 with why() listing those missing and those too many. */
must_check int state_load_params(struct params *p, const char *step_dir);
must_check int state_load_all(struct params *p, const char *step_dir);

/* Fill p's average in the same way; where the checkpoint has none, from p's masters, and says so.
 */
must_check int state_load_average(struct params *p, const char *step_dir);

/* Turn a path people give into a step directory: one itself, or a run's directory with `latest`;
   that directory's "average" is the average of its newest checkpoint. */
must_check int state_find(char step_dir[PATH_MAX], const char *path);

#endif
