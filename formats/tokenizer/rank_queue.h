/* rank_queue.h -- places waiting by rank: the best rank first, the leftmost place among equals.

   Places of one rank mostly arrive from left to right, as a sweep over a text makes them: they wait
   in a queue of their rank, and only those that arrive out of order in a heap. So an operation
   takes constant time as a rule, and log n at worst. */
#ifndef RANK_QUEUE_H
#define RANK_QUEUE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero means closed. Fields are private. */
struct rank_queue {
    struct rank_line *lines; /* [ranks], owned */
    uint64_t *set[3]; /* owned: the ranks with a line; above 64 words of one, a bit of the next */
    size_t words[3];
    struct rank_chunk *chunks; /* owned; the first one is never used */
    uint32_t chunk_count, chunk_room, unused;
    uint64_t *heap; /* owned: rank << 32 | place */
    size_t heap_count, heap_room;
};

/* An empty queue for ranks below `ranks`. */
must_check int rank_queue_open(struct rank_queue *q, size_t ranks);
void rank_queue_close(struct rank_queue *q); /* harmless when closed */

must_check int rank_queue_put(struct rank_queue *q, uint32_t rank, uint32_t place);
/* Take the first one; false when there is none. */
bool rank_queue_take(struct rank_queue *q, uint32_t *rank, uint32_t *place);

#endif
