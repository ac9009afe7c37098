/* run_memory.h -- what memory a run takes, and what it does to fit. */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

#include "plan.h"
#include "run.h"

/* Of the curves of TTT statistics; 0 where none are asked for. */
size_t run_curve_bytes(const struct run *r);

/* All that the run will take; its splits are open, its arrays not yet allocated. Chooses what is
   recomputed (in r->config), and *in_background, whether checkpoints are written while training
   goes on: where that is wanted, and what it takes fits beside the rest. */
must_check int run_plan(struct run *r, struct plan *plan, size_t free_bytes, bool *in_background);

#endif
