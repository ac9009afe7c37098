/* order.c -- the order in which windows are trained on: torch's, from the run's seed. */
#include "order.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- generator ---------------------------------------------------------------------------- */

enum { WORDS = 624, SHIFT = 397 };

void mt19937_seed(struct mt19937 *g, uint32_t seed)
{
    g->word[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        g->word[i] = 1812433253u * (g->word[i - 1] ^ g->word[i - 1] >> 30) + i;
    g->next = WORDS;
}

static uint32_t twist(uint32_t high, uint32_t low)
{
    uint32_t mixed = (high & 0x80000000u) | (low & 0x7fffffffu);
    return mixed >> 1 ^ (low & 1 ? 0x9908b0dfu : 0);
}

static void refill(struct mt19937 *g)
{
    uint32_t *w = g->word;
    int i = 0;
    for (; i < WORDS - SHIFT; i++)
        w[i] = w[i + SHIFT] ^ twist(w[i], w[i + 1]);
    for (; i < WORDS - 1; i++)
        w[i] = w[i + SHIFT - WORDS] ^ twist(w[i], w[i + 1]);
    w[WORDS - 1] = w[SHIFT - 1] ^ twist(w[WORDS - 1], w[0]);
    g->next = 0;
}

uint32_t mt19937_next(struct mt19937 *g)
{
    if (g->next == WORDS)
        refill(g);
    uint32_t y = g->word[g->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

static uint64_t next64(struct mt19937 *g)
{
    uint64_t high = mt19937_next(g);
    return high << 32 | mt19937_next(g);
}

uint64_t order_sampler_seed(uint64_t seed)
{
    struct mt19937 g;
    mt19937_seed(&g, (uint32_t)seed);
    return next64(&g) & INT64_MAX;
}

/* ---- permutations ------------------------------------------------------------------------- */

/* torch 2.6's limit, (2^32 - 1) / 20: above it 32 bits modulo the count would be uneven. */
static bool is_large(const struct order *o)
{
    return o->rule == ORDER_TORCH_2_6 && o->count >= UINT32_MAX / 20;
}

static void shuffle(struct order *o)
{
    uint32_t *item = o->item, n = (uint32_t)o->count;
    for (uint32_t i = 0; i < n; i++)
        item[i] = i;
    for (uint32_t i = 0; i + 1 < n; i++) {
        uint32_t j = i + mt19937_next(&o->generator) % (n - i), held = item[i];
        item[i] = item[j];
        item[j] = held;
    }
}

/* Inside out: each item takes a random place among those before it. */
static void shuffle_large(struct order *o)
{
    uint32_t *item = o->item, n = (uint32_t)o->count;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = (uint32_t)(next64(&o->generator) % ((uint64_t)i + 1));
        item[i] = item[j];
        item[j] = i;
    }
}

/* A permutation uses up the same count of draws whatever they are, so it need not be made. */
static void skip_epoch(struct order *o)
{
    uint64_t draws = is_large(o) ? 2 * o->count : o->count - 1;
    while (draws--)
        mt19937_next(&o->generator);
}

int order_rule_find(enum order_rule *rule, const char *name)
{
    if (strcmp(name, "torch2.3") && strcmp(name, "torch2.6"))
        return fail("%s: not an order; expected torch2.3 or torch2.6", name);
    *rule = !strcmp(name, "torch2.3") ? ORDER_TORCH_2_3 : ORDER_TORCH_2_6;
    return 0;
}

int order_open(struct order *o, enum order_rule rule, uint64_t seed, uint64_t count)
{
    *o = (struct order){.rule = rule, .sampler_seed = order_sampler_seed(seed), .count = count};
    if (count == 0)
        return fail("there is nothing to put in order");
    if (count > UINT32_MAX)
        return fail("%" PRIu64 " windows are more than an order can hold, %" PRIu32
                    "; a longer --seq_length makes fewer",
                    count, UINT32_MAX);
    o->item = malloc((size_t)count * sizeof *o->item);
    if (!o->item)
        return fail("out of memory: the order of %" PRIu64 " windows needs %" PRIu64 " bytes",
                    count, 4 * count);
    return 0;
}

void order_close(struct order *o)
{
    free(o->item);
    *o = (struct order){0};
}

const uint32_t *order_epoch(struct order *o, uint64_t epoch)
{
    assert(epoch > 0 && o->item);
    if (epoch == o->epoch)
        return o->item;
    if (o->epoch == 0 || epoch < o->epoch) {
        mt19937_seed(&o->generator, (uint32_t)o->sampler_seed);
        o->epoch = 0;
    }
    while (++o->epoch < epoch)
        skip_epoch(o);
    is_large(o) ? shuffle_large(o) : shuffle(o);
    return o->item;
}

struct order_place order_place(const struct order *o, uint64_t steps_done, uint64_t batch)
{
    assert(batch > 0 && batch <= o->count);
    uint64_t steps = o->count / batch;
    return (struct order_place){steps_done / steps + 1, steps_done % steps * batch};
}

const uint32_t *order_step(struct order *o, uint64_t steps_done, uint64_t batch)
{
    struct order_place at = order_place(o, steps_done, batch);
    return order_epoch(o, at.epoch) + at.position;
}
