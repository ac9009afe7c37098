/* order.c -- the order in which windows are trained on: torch's, from the run's seed. */
#include "order.h"

#include <assert.h>
#include <inttypes.h>
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
bool order_is_large(enum order_rule rule, uint64_t count)
{
    return rule == ORDER_TORCH_2_6 && count >= UINT32_MAX / 20;
}

static void swap(uint32_t *a, uint32_t *b)
{
    uint32_t held = *a;
    *a = *b;
    *b = held;
}

void order_shuffle(struct mt19937 *g, uint32_t *item, uint32_t n, bool large)
{
    if (large) /* inside out: each item changes places with one of those before it, or stays */
        for (uint32_t i = 0; i < n; i++)
            swap(&item[i], &item[next64(g) % ((uint64_t)i + 1)]);
    else
        for (uint32_t i = 0; i + 1 < n; i++)
            swap(&item[i], &item[i + mt19937_next(g) % (n - i)]);
}

/* Permute the windows of an epoch from place `after` on. */
static void permute(struct order *o, uint64_t after)
{
    uint64_t n = o->count - after;
    order_shuffle(&o->generator, o->item + after, (uint32_t)n, order_is_large(o->rule, n));
}

/* A permutation uses up the same count of draws whatever they are, so it need not be made. */
static void skip(struct order *o, uint64_t after)
{
    uint64_t n = o->count - after, draws = order_is_large(o->rule, n) ? 2 * n : n - 1;
    while (draws--)
        mt19937_next(&o->generator);
}

/* All permutations of one epoch: the whole, then the reshuffles in their order. */
static void each_of_epoch(struct order *o, void (*draw)(struct order *o, uint64_t after))
{
    draw(o, 0);
    for (int i = 0; i < o->log.count; i++)
        if (o->log.list[i].epoch == o->epoch)
            draw(o, o->log.list[i].after);
}

int order_rule_find(enum order_rule *rule, const char *name)
{
    if (strcmp(name, "torch2.3") && strcmp(name, "torch2.6"))
        return fail("%s: not an order; expected torch2.3 or torch2.6", name);
    *rule = !strcmp(name, "torch2.3") ? ORDER_TORCH_2_3 : ORDER_TORCH_2_6;
    return 0;
}

size_t order_bytes(uint64_t count)
{
    const struct order *o = NULL;
    return (size_t)count * sizeof *o->item;
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
    o->item = malloc(order_bytes(count));
    if (!o->item)
        return fail("out of memory: the order of %" PRIu64 " windows needs %zu bytes", count,
                    order_bytes(count));
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
        each_of_epoch(o, skip);
    for (uint32_t i = 0; i < o->count; i++)
        o->item[i] = i;
    each_of_epoch(o, permute);
    return o->item;
}

struct order_place order_place(const struct order *o, uint64_t steps_done, uint64_t batch)
{
    assert(batch > 0 && batch <= o->count);
    uint64_t steps = o->count / batch;
    return (struct order_place){steps_done / steps + 1, steps_done % steps * batch};
}

void order_replay(struct order *o, const struct order_log *log)
{
    o->log = *log;
    o->epoch = 0;
}

int order_reshuffle(struct order *o, struct order_place at)
{
    struct order_log *log = &o->log;
    assert(at.epoch > 0 && at.position < o->count);
    if (log->count == ORDER_RESHUFFLES)
        return fail("the data were reshuffled %d times already, as often as can be noted",
                    (int)ORDER_RESHUFFLES);
    if (log->count && log->list[log->count - 1].epoch > at.epoch)
        return fail("the data were reshuffled in epoch %" PRIu64 ", which is not reached yet",
                    log->list[log->count - 1].epoch);
    log->list[log->count++] = (struct order_reshuffle){at.epoch, at.position};
    o->epoch = 0;
    return 0;
}

const uint32_t *order_step(struct order *o, uint64_t steps_done, uint64_t batch)
{
    struct order_place at = order_place(o, steps_done, batch);
    return order_epoch(o, at.epoch) + at.position;
}
