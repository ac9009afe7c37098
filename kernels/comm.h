/* comm.h -- what ranks tell each other: collectives along the axes of a mesh.

   A mesh has dp * fsdp * mp ranks; rank = (dp place * fsdp + fsdp place) * mp + mp place, so that
   ranks which split one layer are neighbours. Each rank is a process with a device of its own.
   MPI carries the arrays of the CPU build, NCCL those of the CUDA builds; with one rank neither is
   needed. Every rank of an axis makes the same calls in the same order.

   Collectives are queued like ops (device.h): each begins after the ops called before it. Later
   ops do not wait for it, unless comm_wait() has been told to; until then nothing may touch its
   arrays. On an axis of one rank a collective is a copy, or nothing when it is in place. Failures
   are kept for comm_error(). Sums are made in the arrays' type, float in float; every rank gets
   the same bits, and the same call on the same mesh gives them again. */
#ifndef COMM_H
#define COMM_H

#include "real.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* COMM_DATA: dp and fsdp together, the ranks that read different rows. COMM_WORLD: all. */
enum comm_axis { COMM_DP, COMM_FSDP, COMM_MP, COMM_DATA, COMM_WORLD, COMM_AXES };

enum comm_type { COMM_F32, COMM_F64, COMM_BF16 };
#ifdef TTT_BF16
#    define COMM_REAL COMM_BF16
#else
#    define COMM_REAL COMM_F32
#endif

enum { COMM_ID_BYTES = 128 };

/* Who this process is. */
struct comm_mesh {
    int rank, dp, fsdp, mp;
    unsigned char id[COMM_ID_BYTES]; /* what comm_make_id told rank 0; the same everywhere */
};

/* "MPI", "NCCL", or "" when this build has neither and runs one rank. */
const char *comm_kind(void);

/* For people: library and version. After comm_open. */
const char *comm_describe(void);

/* On rank 0, before comm_open, when there are several. NULL, or a sentence. */
const char *comm_make_id(unsigned char id[COMM_ID_BYTES]);

/* Join the others; the device is open. Not needed for a single rank. NULL, or a sentence. */
const char *comm_open(const struct comm_mesh *mesh);
void comm_close(void); /* harmless when closed */

/* Ranks along an axis, and which of them this one is; 1 and 0 before comm_open. */
int comm_ranks(enum comm_axis axis);
int comm_rank(enum comm_axis axis);

/* Each collective returns a ticket for comm_wait, a point in their queue: behind this one and all
   before it, also where this one had nothing to do. */

/* x = the sum of all ranks' x.                                              x [count] */
uint64_t comm_all_reduce(void *x, size_t count, enum comm_type type, enum comm_axis axis);

/* to = the ranks' from, in their order.  to [ranks][count]; from [count], may be its own place in
   to */
uint64_t comm_all_gather(void *to, const void *from, size_t count, enum comm_type type,
                         enum comm_axis axis);

/* to = this rank's part of the sum of all ranks' from.  to [count], may be its own place in from;
   from [ranks][count] */
uint64_t comm_reduce_scatter(void *to, const void *from, size_t count, enum comm_type type,
                             enum comm_axis axis);

/* x = the root's x.                                                         x [count] */
uint64_t comm_broadcast(void *x, size_t count, enum comm_type type, int root, enum comm_axis axis);

/* Ops called from now on come after the ticket's collective. */
void comm_wait(uint64_t ticket);

/* Return when every rank of the axis has called it, and everything queued is done. */
void comm_barrier(enum comm_axis axis);

/* The first thing that went wrong, as a sentence, or NULL. */
const char *comm_error(void);

/* The same of what fails by itself while ops wait for it, perhaps for ever: for another thread to
   ask, from before comm_open until after comm_close. */
const char *comm_alarm(void);

/* What this rank has sent along an axis since comm_open, as the algorithms that send least do: of
   n ranks and b bytes, an all-reduce 2 (n-1)/n b, a gather or a scatter (n-1)/n b of the whole, a
   broadcast b (n-1)/n. Axes of one rank send nothing and count nothing. */
struct comm_traffic {
    uint64_t calls, bytes;
};
struct comm_traffic comm_traffic_of(enum comm_axis axis);

#ifdef __cplusplus
}
#endif
#endif
