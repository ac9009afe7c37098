/* norms.h -- how large a run's weights and activations are, layer by layer. */
#ifndef NORMS_H
#define NORMS_H

#include "run.h"

/* After a step, on every rank together. weights [layers + 2]: the norms over all parameters of the
   embedding, of each layer and of what follows them. activations [layers + 1]: the root mean
   squares of what leaves the embedding and each layer, over the tokens of the step's last
   micro-batch. -1 with why() when a rank or the device broke. */
must_check int norms_measure(struct run *r, double *weights, double *activations);

#endif
