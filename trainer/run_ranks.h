/* run_ranks.h -- what the ranks of a run do together. With one rank nothing of it does anything. */
#ifndef RUN_RANKS_H
#define RUN_RANKS_H

#include "run.h"

/* Before anything is opened: that all ranks run the same program with the same flags. On every
   rank -1 with a sentence naming the first that differs, as from the next. */
must_check int run_agree_program(struct peers *peers);

/* That all ranks read the same data, and begin from the same checkpoint ("" from none). Rank 0
   comes here when the run's directory is in order. */
must_check int run_agree_data(struct run *r);
must_check int run_agree_begin(struct run *r, const char *step_dir);

/* Begin to watch the others, and join the collectives. */
must_check int run_join(struct run *r);
void run_part(struct run *r); /* harmless when not joined */

/* Whether this rank is the one that speaks and writes for all. */
bool run_is_first(const struct run *r);

/* x[i] = the sum over all ranks; count at most RUN_SUMS. */
enum { RUN_SUMS = 16 };
must_check int run_sum(struct run *r, double *x, int count);

/* The lowest rank that says so, or -1; and the text that this one then has, on every rank. */
must_check int run_first_of(struct run *r, bool so, char *text, size_t bytes, int *rank);

/* A checkpoint of many ranks: make room for it before, and when this rank's files are written
   (status) make those of all a checkpoint. Every rank returns the same, with the sentence of the
   first that failed. */
must_check int run_save_prepare(struct run *r);
must_check int run_save_join(struct run *r, int status, bool *whole);

#endif
