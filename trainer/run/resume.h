/* resume.h -- from which checkpoint a run begins, and whether it may go on with it. */
#ifndef RESUME_H
#define RESUME_H

#include "options.h"
#include "rundir.h"
#include "state.h"

/* Where a run begins. Zero: from nothing. */
struct resume {
    char step_dir[PATH_MAX]; /* "" from nothing */
    bool whole;              /* go on with moments and place; else take the parameters alone */
    bool in_place;           /* the checkpoint is of this run's own directory */
    struct state state;      /* of step_dir; owned */
};

/* Decide by the flags and by what lies in the run's directory (NULL: it has none, for an
   evaluation). -1 with one sentence when flags and directory do not say clearly. */
must_check int resume_find(struct resume *r, const struct options *o, const struct rundir *dir);
void resume_close(struct resume *r);

/* Whether data that stands so can go on after r's checkpoint; data's epoch and position are those
   after its step. -1 with a sentence naming what differs. */
must_check int resume_check_data(const struct resume *r, const struct state_data *data);

/* Whether the checkpoint's moments mean the same to the optimiser of the flags. -1 with why(). */
must_check int resume_check_optim(const struct resume *r);

/* Say which flags differ from those the checkpoint was made with. */
void resume_tell_changes(const struct resume *r);

#endif
