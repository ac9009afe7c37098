/* bf16.h -- floats that hold what bf16 can. */
#ifndef BF16_H
#define BF16_H

#include <stdint.h>
#include <string.h>

/* To nearest, ties to even; not a number stays so. */
static inline float bf16_rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    float y;
    memcpy(&y, &bits, sizeof y);
    return x == x ? y : x;
}

#endif
