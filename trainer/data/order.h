/* order.h -- the order in which windows are trained on: torch's, from the run's seed.

   A run's sampler seed is the first 63-bit number that torch draws after manual_seed(--seed). Epoch
   e is torch.randperm(count) drawn after e - 1 others from a generator of that seed. A reshuffle
   draws one more in the midst of an epoch and permutes what is left of it, so the order is a pure
   function of rule, seed, count, epoch and the log of reshuffles. */
#ifndef ORDER_H
#define ORDER_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* torch's default generator on the CPU: MT19937, seeded from 32 bits. */
struct mt19937 {
    uint32_t word[624];
    int next; /* of the next word to temper; 624 when the block is used up */
};

void mt19937_seed(struct mt19937 *g, uint32_t seed);
uint32_t mt19937_next(struct mt19937 *g);

/* The seed the reference's sampler draws for itself when the run's is `seed`. */
uint64_t order_sampler_seed(uint64_t seed);

/* torch drew a permutation the same way until 2.5; from 2.6 on, 214748364 items and more are
   shuffled by another algorithm. */
enum order_rule { ORDER_TORCH_2_3, ORDER_TORCH_2_6 };

/* The rule called "torch2.3" or "torch2.6". */
must_check int order_rule_find(enum order_rule *rule, const char *name);

/* Whether a rule shuffles so many items by the later algorithm. */
bool order_is_large(enum order_rule rule, uint64_t count);

/* Permute items as torch permutes 0, 1, 2, ..., by the later algorithm when large. */
void order_shuffle(struct mt19937 *g, uint32_t *item, uint32_t n, bool large);

/* The reshuffles of a run, oldest first: in which epoch, after how many of its windows. A plain
   value; epochs never fall, but a later entry of an epoch may lie before an earlier one. */
enum { ORDER_RESHUFFLES = 64 };
struct order_log {
    int count;
    struct order_reshuffle {
        uint64_t epoch, after;
    } list[ORDER_RESHUFFLES];
};

/* Zero means closed. */
struct order {
    enum order_rule rule;
    struct order_log log;
    uint64_t sampler_seed;
    uint64_t count; /* of windows, 1 to 2^32 - 1 */
    uint64_t epoch; /* whose order `item` holds, from 1; 0 before the first */
    uint32_t *item; /* [count], owned */
    struct mt19937 generator;
};

/* Memory of an open order. */
size_t order_bytes(uint64_t count);

/* The log begins empty. */
must_check int order_open(struct order *o, enum order_rule rule, uint64_t seed, uint64_t count);
void order_close(struct order *o); /* harmless when closed */

/* Take over the log of a run that goes on. */
void order_replay(struct order *o, const struct order_log *log);

/* Where a run of `batch` windows a step stands: an epoch's last, incomplete batch is dropped.
   batch is at most count. */
struct order_place {
    uint64_t epoch;    /* from 1 */
    uint64_t position; /* windows of this epoch already used */
};
struct order_place order_place(const struct order *o, uint64_t steps_done, uint64_t batch);

/* Give what follows `at` another order: one more entry of the log. -1 with why() when it is full
   or tells of a later epoch. */
must_check int order_reshuffle(struct order *o, struct order_place at);

/* The order of an epoch, counted from 1: [count], valid until the next call. An earlier epoch than
   the last asked for starts again from the seed. */
const uint32_t *order_epoch(struct order *o, uint64_t epoch);

/* The windows of the step after steps_done: [batch], valid until the next call. */
const uint32_t *order_step(struct order *o, uint64_t steps_done, uint64_t batch);

#endif
