/* random.c -- numbers by counter: element i of a named stream under a seed, in any order. */
#include "random.h"

#include <math.h>

void random_philox(uint32_t out[4], const uint32_t counter[4], uint64_t key)
{
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3];
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p = 0xD2511F53ull * a, q = 0xCD9E8D57ull * c;
        a = (uint32_t)(q >> 32) ^ b ^ k0;
        b = (uint32_t)q;
        c = (uint32_t)(p >> 32) ^ d ^ k1;
        d = (uint32_t)p;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

uint64_t random_stream(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
    return hash;
}

static void block_of(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                           (uint32_t)(stream >> 32)};
    random_philox(out, counter, seed);
}

/* Two independent normals from 64 bits (Box and Muller). */
static void pair(float to[2], uint32_t a, uint32_t b)
{
    float radius = sqrtf(-2 * logf(((float)a + 1) * 0x1p-32f));
    float angle = (float)b * (float)(2 * M_PI * 0x1p-32);
    to[0] = radius * cosf(angle);
    to[1] = radius * sinf(angle);
}

void random_normal(float *to, size_t count, uint64_t seed, uint64_t stream, uint64_t first,
                   float deviation)
{
    uint32_t bits[4];
    float four[4];
    for (size_t i = 0; i < count; i++) {
        uint64_t at = first + i;
        if (i == 0 || at % 4 == 0) {
            block_of(bits, seed, stream, at / 4);
            pair(four, bits[0], bits[1]);
            pair(four + 2, bits[2], bits[3]);
        }
        to[i] = four[at % 4] * deviation;
    }
}

void random_cut_normal(float *to, size_t count, uint64_t seed, uint64_t stream, uint64_t first,
                       float deviation)
{
    uint32_t bits[4];
    for (size_t i = 0; i < count; i++) {
        /* A try in the high bits of the counter: element i never touches another's numbers. */
        float two[2] = {3, 3};
        for (uint64_t attempt = 0; fabsf(two[0]) > 2; attempt++) {
            block_of(bits, seed, stream, (first + i) | attempt << 48);
            pair(two, bits[0], bits[1]);
        }
        to[i] = two[0] * deviation;
    }
}

double random_uniform(uint64_t seed, uint64_t stream, uint64_t draw)
{
    uint32_t bits[4];
    block_of(bits, seed, stream, draw);
    return bits[0] * 0x1p-32;
}
