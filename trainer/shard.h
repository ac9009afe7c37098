/* shard.h -- parameters and gradients between the ranks of a mesh, beside the computing.

   The model tells where it stands; collectives are queued so that they run while it goes on. A
   unit is what is moved at once: the embedding, each block, the rest (params.h). */
#ifndef SHARD_H
#define SHARD_H

#include "params.h"

/* Zero means closed; with one rank every function does nothing. Fields are private. */
struct shard {
    struct params *params; /* borrowed */
    uint64_t ticket;       /* of the last collective begun */
    size_t begin, end;     /* floats of gradients that are whole and not yet on their way */
};

must_check int shard_open(struct shard *e, struct params *p);
void shard_close(struct shard *e); /* harmless when closed */

/* The backward has added all it has to a unit's gradients. last: in the step's last micro-batch,
   and then they are summed over dp. */
void shard_gradients(struct shard *e, int unit, bool last);

/* The backward is over. After a last one the ops that follow find whole gradients. */
void shard_end(struct shard *e, bool last);

#endif
