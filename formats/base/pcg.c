/* pcg.c -- numpy's SeedSequence, PCG64 and permutation. */
#include "pcg.h"

#include <math.h>

/* ---- SeedSequence ------------------------------------------------------------------------- */

static uint32_t hash_mix(uint32_t v, uint32_t *h)
{
    v ^= *h;
    *h *= 0x931e8875u;
    v *= *h;
    return v ^ v >> 16;
}

static uint32_t mix(uint32_t x, uint32_t y)
{
    uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ r >> 16;
}

/* Entropy words to the eight words of state that PCG64 asks for. */
static void seed_sequence(uint32_t out[8], const uint32_t *words, size_t count)
{
    uint32_t pool[4], h = 0x43b0d7e5u;
    for (size_t i = 0; i < 4; i++)
        pool[i] = hash_mix(i < count ? words[i] : 0, &h);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            if (from != to)
                pool[to] = mix(pool[to], hash_mix(pool[from], &h));
    for (size_t i = 4; i < count; i++)
        for (int to = 0; to < 4; to++)
            pool[to] = mix(pool[to], hash_mix(words[i], &h));
    h = 0x8b51f9ddu;
    for (int i = 0; i < 8; i++) {
        uint32_t v = pool[i % 4] ^ h;
        h *= 0x58f38dedu;
        v *= h;
        out[i] = v ^ v >> 16;
    }
}

/* ---- PCG64 -------------------------------------------------------------------------------- */

static unsigned __int128 wide(uint64_t high, uint64_t low)
{
    return (unsigned __int128)high << 64 | low;
}

static void step(struct pcg *g)
{
    g->state = g->state * wide(2549297995355413924u, 4865540595714422341u) + g->step;
}

void pcg_seed_words(struct pcg *g, const uint32_t *words, size_t count)
{
    uint32_t w[8];
    uint64_t quad[4];
    seed_sequence(w, words, count);
    for (int i = 0; i < 4; i++)
        quad[i] = w[2 * i] | (uint64_t)w[2 * i + 1] << 32;
    *g = (struct pcg){.step = wide(quad[2], quad[3]) << 1 | 1};
    step(g);
    g->state += wide(quad[0], quad[1]);
    step(g);
}

void pcg_seed(struct pcg *g, uint64_t seed)
{
    uint32_t words[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    pcg_seed_words(g, words, words[1] ? 2 : 1);
}

static uint64_t next64(struct pcg *g)
{
    step(g);
    uint64_t high = (uint64_t)(g->state >> 64), x = high ^ (uint64_t)g->state;
    unsigned turn = (unsigned)(high >> 58);
    return x >> turn | x << (-turn & 63);
}

static uint32_t next32(struct pcg *g)
{
    if (g->has_held) {
        g->has_held = false;
        return g->held;
    }
    uint64_t x = next64(g);
    g->held = (uint32_t)(x >> 32);
    g->has_held = true;
    return (uint32_t)x;
}

/* ---- permutation -------------------------------------------------------------------------- */

uint64_t pcg_interval(struct pcg *g, uint64_t most)
{
    if (most == 0)
        return 0;
    uint64_t mask = UINT64_MAX >> __builtin_clzll(most), x;
    do
        x = (most <= UINT32_MAX ? next32(g) : next64(g)) & mask;
    while (x > most);
    return x;
}

void pcg_permutation(struct pcg *g, uint64_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    for (size_t i = n; i-- > 1;) {
        uint64_t j = pcg_interval(g, i), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

int pcg_split(uint64_t *test_rows, double ratio, uint64_t n)
{
    if (!(ratio > 0 && ratio < 1))
        return fail("a ratio of %g is not between 0 and 1", ratio);
    *test_rows = (uint64_t)ceil(ratio * (double)n);
    if (*test_rows < n)
        return 0;
    return fail("%llu documents cannot be split by %g: none would be left for training",
                (unsigned long long)n, ratio);
}
