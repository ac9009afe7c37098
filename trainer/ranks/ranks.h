/* ranks.h -- which of several processes this one is, as its launcher's environment tells.

   Asked in this order; the first that tells both a rank and a number of ranks counts:

     TTT_RANK TTT_RANKS TTT_LOCAL_RANK                    by hand
     OMPI_COMM_WORLD_RANK _SIZE _LOCAL_RANK               Open MPI's mpirun
     RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT   torchrun
     SLURM_PROCID SLURM_STEP_NUM_TASKS SLURM_LOCALID      srun
     PMI_RANK PMI_SIZE MPI_LOCALRANKID                    MPICH's mpirun

   Ranks meet at rank 0: at TTT_MASTER_ADDR and TTT_MASTER_PORT where set, else where the launcher
   tells, else on this machine when all ranks are on it. The token keeps processes of other jobs
   out: TTT_JOB_TOKEN, else what the launcher calls its job. */
#ifndef RANKS_H
#define RANKS_H

#include "err.h"

/* A plain value. */
struct ranks {
    int rank, count; /* 0 and 1: a single process */
    int local, here; /* which of the ranks on this machine, and how many they are, 0: unknown */
    const char *launcher; /* "mpirun", for people */
    char address[256];    /* where rank 0 is */
    int port;             /* the first that rank 0 tries */
    char token[128];
};

/* -1 with why() when the environment contradicts itself, or does not tell where rank 0 is. */
must_check int ranks_find(struct ranks *r);

/* The first name of a list as Slurm writes it: "a[03-07,9],b" is "a03". Into name [size]. */
void ranks_first_host(char *name, int size, const char *list);

#endif
