/* trained.h -- the model of a checkpoint, for use: its parameters without what only training
   needs. */
#ifndef TRAINED_H
#define TRAINED_H

#include "checksum.h"
#include "config.h"
#include "params.h"

#include <limits.h>

/* Zero means closed. */
struct trained {
    char dir[PATH_MAX]; /* the step's directory */
    int64_t step;
    struct config config;
    struct params params; /* owned */
    struct xxh3 digest;   /* of params.safetensors */
};

/* path: a run's directory, whose newest checkpoint it is, or one step_N. Says which it is. Of the
   parameters a rank of a mesh has its part. -1 with why(). */
must_check int trained_open(struct trained *t, const char *path, const struct mesh *mesh);
void trained_close(struct trained *t); /* harmless when closed */

#endif
