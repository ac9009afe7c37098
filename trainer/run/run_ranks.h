/* run_ranks.h -- what the ranks of a run do together. With one rank nothing of it does anything. */
#ifndef RUN_RANKS_H
#define RUN_RANKS_H

#include "run.h"

/* That all ranks begin from the same checkpoint ("" from none). Rank 0 comes here when the run's
   directory is in order. */
must_check int run_agree_begin(struct run *r, const char *step_dir);

/* Whether this rank is the one that speaks and writes for all. */
bool run_is_first(const struct run *r);

/* A checkpoint of many ranks: make room for it before, and when this rank's files are written
   (status) make those of all a checkpoint. Every rank returns the same, with the sentence of the
   first that failed. */
must_check int run_save_prepare(struct run *r);
must_check int run_save_join(struct run *r, int status, bool *whole);

#endif
