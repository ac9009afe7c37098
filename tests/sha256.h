/* sha256.h -- SHA-256 (FIPS 180-4), because the goldens name arrays by it. */
#ifndef SHA256_H
#define SHA256_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline uint32_t sha256_turn(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static inline void sha256_block(uint32_t h[8], const uint8_t *p, const uint32_t k[64])
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | p[4 * i + 1] << 16 | p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (sha256_turn(a, 7) ^ sha256_turn(a, 18) ^ a >> 3) +
               (sha256_turn(b, 17) ^ sha256_turn(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t e = s[4], a = s[0];
        uint32_t t = s[7] + (sha256_turn(e, 6) ^ sha256_turn(e, 11) ^ sha256_turn(e, 25)) +
                     ((e & s[5]) ^ (~e & s[6])) + k[i] + w[i];
        uint32_t u = (sha256_turn(a, 2) ^ sha256_turn(a, 13) ^ sha256_turn(a, 22)) +
                     ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

/* 64 hexadecimal digits of data's SHA-256 into hex. */
static inline void sha256(char hex[65], const void *data, size_t bytes)
{
    uint32_t h[8], k[64];
    int found = 0;
    /* The constants are fractions of roots of the first primes. */
    for (int p = 2; found < 64; p++) {
        int d = 2;
        while (d * d <= p && p % d)
            d++;
        if (d * d <= p)
            continue;
        long double c = cbrtl(p), q = sqrtl(p);
        if (found < 8)
            h[found] = (uint32_t)((q - floorl(q)) * 4294967296.0L);
        k[found++] = (uint32_t)((c - floorl(c)) * 4294967296.0L);
    }
    const uint8_t *p = data;
    size_t whole = bytes / 64 * 64;
    for (size_t at = 0; at < whole; at += 64)
        sha256_block(h, p + at, k);
    uint8_t tail[128] = {0};
    size_t rest = bytes - whole, end = rest < 56 ? 64 : 128;
    memcpy(tail, p + whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        tail[end - 1 - i] = (uint8_t)((uint64_t)bytes * 8 >> 8 * i);
    for (size_t at = 0; at < end; at += 64)
        sha256_block(h, tail + at, k);
    for (int i = 0; i < 8; i++)
        snprintf(hex + 8 * i, 9, "%08x", h[i]);
}

#endif
