/* live.h -- the line on stderr that tells how training goes. */
#ifndef LIVE_H
#define LIVE_H

#include "metrics.h"

#include <stdbool.h>

/* Rewritten in place on a terminal; in a log a new one every 15 seconds. Fields are private. */
struct live {
    int64_t first, total;
    double began_s, shown_s;
    bool terminal, standing;
};

/* Steps done so far, and in all. */
void live_begin(struct live *l, int64_t done, int64_t total);

/* "step 120/300  loss 3.4127  grad 0.41  lr 2.80e-03  1.68 k tok/s  2 min left"; `now`: even if
   another was shown a moment ago. */
void live_show(struct live *l, const struct metrics_step *s, bool now);

/* Leave the line standing, so that a sentence can follow. */
void live_break(struct live *l);

#endif
