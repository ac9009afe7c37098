/* rundir.h -- the directory of a run, EXP_DIR/EXP_NAME: its checkpoints, and which is the newest.

     latest        the text "step_N": the newest whole checkpoint
     step_N/       checkpoints (state.h): milestones, and the rolling one */
#ifndef RUNDIR_H
#define RUNDIR_H

#include "err.h"

#include <limits.h>
#include <stdint.h>

/* Zero means closed. */
struct rundir {
    char path[PATH_MAX];
    int lock_fd; /* held while open, so that two trainers cannot share the directory */
};

/* Make the directory and lock it. Half-written checkpoints of killed runs are removed. */
must_check int rundir_open(struct rundir *r, const char *exp_dir, const char *exp_name);
/* Only its path, where another rank has the directory in its hands. */
must_check int rundir_name(struct rundir *r, const char *exp_dir, const char *exp_name);
void rundir_close(struct rundir *r); /* harmless when closed */

/* "RUN/NAME" into path. */
must_check int rundir_path(const char *run_dir, const char *name, char path[PATH_MAX]);

/* The step that `latest` of any run's directory names; 0 when there is no such file. -1 with why()
   when it cannot be read or names nothing. */
must_check int rundir_latest(const char *run_dir, int64_t *step);

/* Point `latest` at step. */
must_check int rundir_point(const struct rundir *r, int64_t step);

/* Remove the checkpoints other than `step` that are no milestones. */
must_check int rundir_sweep(const struct rundir *r, int64_t step);

/* Remove a directory of plain files, and of such a directory called STATE_AVERAGE (state.h). A
   missing one is fine. */
must_check int rundir_remove(const char *dir);

#endif
