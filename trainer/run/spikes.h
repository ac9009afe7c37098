/* spikes.h -- steps whose loss stands out above those before it, so that their update can be left
   out.

   A loss is a spike where it lies more than z standard deviations above the mean of the last
   `window` losses that were none. Nothing is one before so many are known; and after
   SPIKES_IN_A_ROW of them the next loss is taken as it is, for then it is a new level. */
#ifndef SPIKES_H
#define SPIKES_H

#include "err.h"

#include <jansson.h>
#include <stdbool.h>

enum { SPIKES_IN_A_ROW = 8 };

/* Zero means closed: nothing is a spike. Fields are private. */
struct spikes {
    double z;
    int window, count, next, in_a_row;
    double *loss; /* [window], a ring, owned */
};

/* -1 with why() when memory is short. z 0: stays closed. */
must_check int spikes_open(struct spikes *s, double z, int window);
void spikes_close(struct spikes *s); /* harmless when closed */

/* Whether the loss of a step is a spike, and how many deviations above the mean it lies; else it is
   one of those to come that others are measured by. */
bool spikes_judge(struct spikes *s, double loss, double *deviations);

/* {"losses": [...], oldest first, "in_a_row": N}, or NULL when closed or memory is short. */
json_t *spikes_to_json(const struct spikes *s);
/* What a run had seen; of more losses than the window has, the newest. -1 when it is no such
   object. */
must_check int spikes_from_json(struct spikes *s, const json_t *from);

#endif
