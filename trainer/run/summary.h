/* summary.h -- what a run has come to, for people, at its end. */
#ifndef SUMMARY_H
#define SUMMARY_H

#include "run.h"

/* Note where the run stands before this process goes on with it. */
struct summary {
    int64_t first_step;
    double began_s;
};

void summary_begin(struct summary *s, const struct run *r);

/* A block of lines on stderr: tokens, time, speed, use of the machine and what that is a share of,
   best validation loss, memory, checkpoint, and the command that writes text from it. gflops: what
   the machine reaches in a matrix product, 0 unknown. Nothing when quiet. */
void summary_tell(const struct summary *s, const struct run *r, double gflops);

#endif
