/* shard.h -- parameters and gradients between the ranks of a mesh, beside the computing.

   With fsdp a rank holds a stretch of each unit (params.h). The model tells where it stands: a
   block's parameters are gathered while the block before it computes, into one of two places; its
   gradients are summed and shared out while the next one's are computed. The embedding and what
   follows the blocks stay gathered from shard_begin to shard_end, for both ends of the model may
   need them. Gradients are then summed over dp, in pieces, after the step's last micro-batch.

   With one rank along dp and fsdp nothing here does anything. */
#ifndef SHARD_H
#define SHARD_H

#include "params.h"
#include "plan.h"

enum { SHARD_PLACES = 2 };

/* Zero means closed. Fields are private. */
struct shard {
    struct params *params; /* borrowed */
    bool training;
    char *memory; /* on the device, owned: the next three */
    struct shard_place {
        float *master, *grad;
        real *work;
        int unit; /* whose parameters are here or on their way; -1: none */
        uint64_t gathered, reduced;
    } outer[2], place[SHARD_PLACES]; /* outer: of the first unit and the last */
    uint64_t ticket;                 /* of the last sum over dp */
    size_t begin, end;               /* floats of gradients that are summed, and not yet over dp */
};

/* Add to a plan what shard_open will take. */
void shard_plan(struct plan *plan, const struct params *p, bool training);

/* p is allocated. -1 with why(). */
must_check int shard_open(struct shard *s, struct params *p, bool training);
void shard_close(struct shard *s); /* harmless when closed */

/* A micro-batch begins: with backward, or forward alone. */
void shard_begin(struct shard *s, bool backward);

/* Block l comes next, in the forward or the backward: its parameters are there for the ops that
   follow, and in the backward zeroed gradients (or this rank's, to be added to). */
void shard_forward(struct shard *s, int l);
void shard_backward(struct shard *s, int l);

/* The backward has added all it has to a unit's gradients. last: in the step's last micro-batch,
   and then they are summed over dp. */
void shard_gradients(struct shard *s, int unit, bool last);

/* The backward is over. The ops that follow find this rank's gradients whole. */
void shard_end(struct shard *s, bool last);

#endif
