/* permute.c -- a permutation of 0..n-1 as a function of seed and n. */
#include "permute.h"

#include <assert.h>
#include <math.h>

static const uint64_t golden = 0x9e3779b97f4a7c15u;

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Below m, nearly uniform. */
static uint64_t draw(uint64_t key, uint64_t v, uint64_t m)
{
    return (uint64_t)((unsigned __int128)mix(key + v * golden) * m >> 64);
}

void permute_begin(struct permute *p, uint64_t seed, uint64_t n)
{
    *p = (struct permute){.n = n, .a = 1, .b = 1};
    if (n > 1) {
        /* The smallest a with a * a >= n: doubles are near, integers decide. */
        p->a = (uint64_t)sqrt((double)n);
        while ((unsigned __int128)p->a * p->a >= n)
            p->a--;
        while ((unsigned __int128)p->a * p->a < n)
            p->a++;
        p->b = n / p->a + (n % p->a != 0);
    }
    uint64_t state = seed ^ mix(n);
    for (int k = 0; k < 2 * PERMUTE_ROUNDS; k++)
        p->key[k] = mix(state += golden);
}

uint64_t permute_at(const struct permute *p, uint64_t i)
{
    assert(i < p->n);
    do {
        uint64_t x = i / p->b, y = i % p->b;
        for (int r = 0; r < PERMUTE_ROUNDS; r++) {
            x += draw(p->key[2 * r], y, p->a);
            x -= x >= p->a ? p->a : 0;
            y += draw(p->key[2 * r + 1], x, p->b);
            y -= y >= p->b ? p->b : 0;
        }
        i = x * p->b + y;
    } while (i >= p->n);
    return i;
}

/* One way back of all rounds, for LANES numbers at once: each waits for its own products. */
enum { LANES = 4 };

static void back(const struct permute *p, uint64_t number[LANES])
{
    uint64_t x[LANES], y[LANES];
    for (int k = 0; k < LANES; k++) {
        x[k] = number[k] / p->b;
        y[k] = number[k] % p->b;
    }
    for (int r = PERMUTE_ROUNDS; r-- > 0;)
        for (int k = 0; k < LANES; k++) {
            uint64_t d = draw(p->key[2 * r + 1], x[k], p->b);
            y[k] = y[k] < d ? y[k] + p->b - d : y[k] - d;
            d = draw(p->key[2 * r], y[k], p->a);
            x[k] = x[k] < d ? x[k] + p->a - d : x[k] - d;
        }
    for (int k = 0; k < LANES; k++)
        number[k] = x[k] * p->b + y[k];
}

uint64_t permute_find(const struct permute *p, uint64_t number)
{
    uint64_t place;
    permute_find_run(p, number, 1, &place);
    return place;
}

void permute_find_run(const struct permute *p, uint64_t number, size_t count, uint64_t *places)
{
    assert(number < p->n && count <= p->n - number);
    for (size_t at = 0, n; at < count; at += n) {
        uint64_t lane[LANES] = {0};
        n = count - at < LANES ? count - at : LANES;
        for (size_t k = 0; k < n; k++)
            lane[k] = number + at + k;
        back(p, lane);
        for (size_t k = 0; k < n; k++) {
            uint64_t one[LANES] = {lane[k]};
            while (one[0] >= p->n)
                back(p, one);
            places[at + k] = one[0];
        }
    }
}
