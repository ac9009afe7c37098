/* scale.h -- what a step on a mesh takes, before any device is asked: memory, bytes sent, time.

   The model behind it, and where its figures come from: docs/scale.md. */
#ifndef SCALE_H
#define SCALE_H

#include "config.h"
#include "mesh.h"
#include "options.h"
#include "params.h"

/* Bytes that a rank sends in one step along each axis (comm.h counts the same). */
struct scale_bytes {
    uint64_t dp, fsdp, mp;
};

/* p is listed on the mesh; parts micro-batches of batch rows of seq tokens on each rank. */
struct scale_bytes scale_count(const struct params *p, const struct config *c, int parts, int batch,
                               int seq);

/* Print the plan for --gpus devices of the kind --gpu: the fastest meshes that fit, and the best
   one's memory, bytes and time. -1 with why() when flags contradict each other or nothing fits. */
must_check int scale_print(const struct options *o);

#endif
