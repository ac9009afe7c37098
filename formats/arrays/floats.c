/* floats.c -- floats of 16 and 32 bits, from one to the other. */
#include "floats.h"

bool floats_is(enum tensor_dtype dtype)
{
    return dtype == TENSOR_F32 || dtype == TENSOR_BF16 || dtype == TENSOR_F16;
}

/* ---- wider -------------------------------------------------------------------------------- */

static uint32_t from_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, rest = half & 1023;
    if (exponent == 31)
        return sign | 0x7F800000 | rest << 13;
    if (exponent)
        return sign | (exponent + 112) << 23 | rest << 13;
    if (!rest)
        return sign;
    /* Below 2^-14: a float of its own exponent. */
    for (exponent = 113; !(rest & 1024); exponent--)
        rest <<= 1;
    return sign | exponent << 23 | (rest & 1023) << 13;
}

void floats_widen(float *to, const void *from, size_t count, enum tensor_dtype dtype)
{
    const uint8_t *bytes = from;
    if (dtype == TENSOR_F32) {
        memcpy(to, from, count * sizeof *to);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t half = le16(bytes + 2 * i);
        uint32_t bits = dtype == TENSOR_BF16 ? (uint32_t)half << 16 : from_half(half);
        memcpy(&to[i], &bits, sizeof bits);
    }
}

/* ---- narrower ----------------------------------------------------------------------------- */

static uint16_t to_bf16(uint32_t bits)
{
    bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return (uint16_t)(nan ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static uint16_t to_half(uint32_t bits)
{
    uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    if (size > 0x7F800000)
        return (uint16_t)(sign | 0x7E00 | (size >> 13 & 0x3FF));
    if (size >= 0x477FF000) /* from half way beyond 65504 */
        return (uint16_t)(sign | 0x7C00);
    if (size >= 0x38800000) /* 2^-14 */
        return (uint16_t)(sign | (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13);
    uint32_t drop = 126 - (size >> 23); /* bits that go, of a mantissa with its leading one */
    if (drop > 24)
        return (uint16_t)sign;
    uint32_t whole = (size & 0x7FFFFF) | 0x800000, half = 1u << (drop - 1);
    return (uint16_t)(sign | (whole + half - 1 + (whole >> drop & 1)) >> drop);
}

size_t floats_narrow(void *to, const float *from, size_t count, enum tensor_dtype dtype)
{
    uint8_t *bytes = to;
    if (dtype == TENSOR_F32) {
        memmove(to, from, count * sizeof *from);
        return count * sizeof *from;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        uint16_t half = dtype == TENSOR_BF16 ? to_bf16(bits) : to_half(bits);
        memcpy(bytes + 2 * i, &half, sizeof half);
    }
    return count * sizeof(uint16_t);
}
