/* utf8.c -- is it well-formed UTF-8? Plain ASCII passes 32 bytes at a time. */
#include "utf8.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080u

static uint64_t word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

bool utf8_valid(const void *data, size_t bytes, size_t *bad_offset)
{
    const uint8_t *begin = data, *p = begin, *end = begin + bytes;
    while (p < end) {
        if (*p < 0x80) {
            while (end - p >= 32 &&
                   !((word(p) | word(p + 8) | word(p + 16) | word(p + 24)) & HIGH_BITS))
                p += 32;
            while (end - p >= 8 && !(word(p) & HIGH_BITS))
                p += 8;
            while (p < end && *p < 0x80)
                p++;
            continue;
        }
        uint32_t code;
        unsigned n = utf8_next(p, end, &code);
        if (code == UTF8_BAD) {
            if (bad_offset)
                *bad_offset = (size_t)(p - begin);
            return false;
        }
        p += n;
    }
    return true;
}

unsigned utf8_put(uint32_t code, uint8_t out[4])
{
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}
