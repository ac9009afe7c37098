/* mesh.h -- ranks in three axes, as --mesh_dim asks for them.

     dp     replicas of the model, which read different rows
     fsdp   ranks that share parameters, gradients and moments, and read different rows
     mp     ranks that split heads, feed-forward columns and vocabulary, and read the same rows */
#ifndef MESH_H
#define MESH_H

#include "err.h"

/* A plain value; {1, 1, 1, 0} is a single process. */
struct mesh {
    int dp, fsdp, mp;
    int rank; /* (dp place * fsdp + fsdp place) * mp + mp place */
};

#define MESH_ONE ((struct mesh){.dp = 1, .fsdp = 1, .mp = 1})

/* "DP,FSDP,MP", as "2,1,1", "!-1,1,1" or with names, "fsdp:4,dp:2,mp:1", for so many ranks: at most
   one axis is -1 and becomes what is left. -1 with a sentence. */
must_check int mesh_parse(struct mesh *m, const char *text, int ranks);

/* Ranks that read different rows, and which of them this one is. */
static inline int mesh_data_ranks(const struct mesh *m)
{
    return m->dp * m->fsdp;
}

static inline int mesh_data_rank(const struct mesh *m)
{
    return m->rank / m->mp;
}

static inline int mesh_fsdp_rank(const struct mesh *m)
{
    return m->rank / m->mp % m->fsdp;
}

static inline int mesh_dp_rank(const struct mesh *m)
{
    return m->rank / m->mp / m->fsdp;
}

static inline int mesh_mp_rank(const struct mesh *m)
{
    return m->rank % m->mp;
}

static inline int mesh_ranks(const struct mesh *m)
{
    return m->dp * m->fsdp * m->mp;
}

#endif
