/* textfile.h -- a run's newest numbers in a file for a cluster's collectors, in the text format of
   Prometheus. */
#ifndef TEXTFILE_H
#define TEXTFILE_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* Zero means none. */
struct textfile {
    const char *path, *run; /* borrowed; the run's name is each line's label */
    double written_s;       /* now_s() of the last time */
    int64_t step;
    double loss, grad_norm, learning_rate, tokens_per_s, elapsed_s;
    bool has_validation;
    double validation_loss;
    int64_t skipped; /* updates left out */
};

/* Replace the file by the numbers as they stand; not oftener than every five seconds, unless `now`.
   Nothing without a path. -1 with why(). */
must_check int textfile_write(struct textfile *t, bool now);

#endif
