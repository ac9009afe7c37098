/* checksum.c -- CRC32C by the CPU's instruction or by tables; XXH3-128 by the xxHash library. */
#include "checksum.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#ifdef __x86_64__
#    include <nmmintrin.h>
#endif

static const uint32_t POLY = 0x82f63b78; /* Castagnoli, bits reversed */

/* ---- CRC32C ------------------------------------------------------------------------------- */

static uint32_t table[8][256];

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (POLY & -(c & 1));
        table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
}

static uint32_t crc_by_table(uint32_t crc, const uint8_t *p, size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_table);
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        w ^= crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= table[7 - i][w >> 8 * i & 255];
    }
    while (n--)
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 255];
    return crc;
}

/* The product of two polynomials modulo POLY, bits reversed as everywhere here. */
static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t p = 0;
    for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit)
            p ^= b;
        b = b >> 1 ^ (POLY & -(b & 1));
    }
    return p;
}

/* x to the power 8 * bytes. */
static uint32_t shift_of(uint64_t bytes)
{
    uint32_t p = 1u << 31, square = 1u << 23; /* 1 and x^8 */
    for (; bytes; bytes >>= 1, square = multiply(square, square))
        if (bytes & 1)
            p = multiply(p, square);
    return p;
}

uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
    return multiply(shift_of(bytes_b), crc_a) ^ crc_b;
}

#ifdef __x86_64__
/* Three streams at once: the instruction takes three cycles but one can start every cycle. */
enum { LANE_BYTES = 4096 };
static uint32_t lane_shift, two_lanes_shift;

static void make_shifts(void)
{
    lane_shift = shift_of(LANE_BYTES);
    two_lanes_shift = shift_of(2 * LANE_BYTES);
}

__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *p,
                                                                     size_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_shifts);
    for (; n >= 3 * LANE_BYTES; n -= 3 * LANE_BYTES, p += 3 * LANE_BYTES) {
        uint64_t a = crc, b = 0, c = 0;
        for (int i = 0; i < LANE_BYTES; i += 8) {
            uint64_t x, y, z;
            memcpy(&x, p + i, 8);
            memcpy(&y, p + LANE_BYTES + i, 8);
            memcpy(&z, p + 2 * LANE_BYTES + i, 8);
            a = _mm_crc32_u64(a, x);
            b = _mm_crc32_u64(b, y);
            c = _mm_crc32_u64(c, z);
        }
        crc = multiply(two_lanes_shift, (uint32_t)a) ^ multiply(lane_shift, (uint32_t)b) ^
              (uint32_t)c;
    }
    uint64_t wide = crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t x;
        memcpy(&x, p, 8);
        wide = _mm_crc32_u64(wide, x);
    }
    crc = (uint32_t)wide;
    while (n--)
        crc = _mm_crc32_u8(crc, *p++);
    return crc;
}
#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t bytes)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_by_instruction(~crc, data, bytes);
#endif
    return ~crc_by_table(~crc, data, bytes);
}

/* ---- XXH3 --------------------------------------------------------------------------------- */

static struct xxh3 hex_of(XXH128_hash_t h)
{
    struct xxh3 x;
    snprintf(x.hex, sizeof x.hex, "%016llx%016llx", (unsigned long long)h.high64,
             (unsigned long long)h.low64);
    return x;
}

struct xxh3 xxh3_of(const void *data, size_t bytes)
{
    return hex_of(XXH3_128bits(data, bytes));
}

void xxh3_begin(struct xxh3_stream *s)
{
    s->state = XXH3_createState();
    if (!s->state)
        abort(); /* half a kilobyte: nothing sensible can go on */
    XXH3_128bits_reset(s->state);
}

void xxh3_add(struct xxh3_stream *s, const void *data, size_t bytes)
{
    XXH3_128bits_update(s->state, data, bytes);
}

struct xxh3 xxh3_end(struct xxh3_stream *s)
{
    XXH128_hash_t h = XXH3_128bits_digest(s->state);
    XXH3_freeState(s->state);
    s->state = NULL;
    return hex_of(h);
}
