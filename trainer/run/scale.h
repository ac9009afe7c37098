/* scale.h -- what a step on a mesh takes, before any device is asked: memory, bytes sent, time.

   The model behind it, and where its figures come from: docs/scale.md. */
#ifndef SCALE_H
#define SCALE_H

#include "options.h"

/* Print the plan for --gpus devices of the kind --gpu: the fastest meshes that fit, and the best
   one's memory, bytes and time. -1 with why() when flags contradict each other or nothing fits. */
must_check int scale_print(const struct options *o);

#endif
