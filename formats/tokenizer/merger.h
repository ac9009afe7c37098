/* merger.h -- merges a stretch of symbols until no two neighbours make a piece: of all pairs the
   best score first, the leftmost among equals. */
#ifndef MERGER_H
#define MERGER_H

#include "bpe.h"
#include "err.h"
#include "rank_queue.h"

#include <stddef.h>
#include <stdint.h>

/* One thread's scratch; start from {0}. Fields are private but for `symbols`. */
struct merger {
    uint32_t *symbols; /* [symbol_room], owned: the stretch goes here */
    size_t symbol_room;
    uint32_t *ranks;         /* owned: of each symbol with the one right of it */
    uint64_t *live;          /* owned: which symbols still stand */
    size_t room;             /* the longest stretch that these two have room for */
    struct rank_queue queue; /* of the places to merge at */
};

/* Make room for `count` symbols; what is there is kept. */
must_check int merger_room(struct merger *m, size_t count);

/* A stretch of at most MERGER_SHORT symbols, which need no scratch: merges them in place and
   returns how many are left. pairs[i] is what symbols i and i + 1 merge into, from bpe_merged, and
   is overwritten. */
#define MERGER_SHORT 32
size_t merger_short(const struct bpe *b, uint32_t *symbols, struct bpe_result *pairs, size_t count);

/* Merge symbols[0 .. *count) in place; *count becomes what is left. n log n at worst. */
must_check int merger_run(struct merger *m, const struct bpe *b, size_t *count);

/* Give back scratch that only a very long stretch needed. */
void merger_trim(struct merger *m);
void merger_close(struct merger *m);

#endif
