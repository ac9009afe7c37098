/* utf8.h -- UTF-8: is it well-formed, and one character at a time. */
#ifndef UTF8_H
#define UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether data is well-formed UTF-8 as Unicode defines it: no overlong form, no surrogate, nothing
   above U+10FFFF, nothing cut short. If not, *bad_offset (may be NULL) is the offset of the first
   byte of the first bad sequence. */
bool utf8_valid(const void *data, size_t bytes, size_t *bad_offset);

/* Write the character's 1 to 4 bytes to out; returns how many. code is at most 0x10FFFF. */
unsigned utf8_put(uint32_t code, uint8_t out[4]);

#define UTF8_BAD UINT32_MAX

/* The length in bytes of the well-formed character at p < end, and its code in *code. Anything else
   counts as one byte with the code UTF8_BAD, so that a scan over damaged text stays inside it. */
static inline unsigned utf8_next(const uint8_t *p, const uint8_t *end, uint32_t *code)
{
    size_t left = (size_t)(end - p);
    uint32_t a = p[0], c;
    if (a < 0x80) {
        *code = a;
        return 1;
    }
    if (a >= 0xC2 && a < 0xE0 && left >= 2 && (p[1] & 0xC0) == 0x80) {
        *code = (a & 0x1F) << 6 | (p[1] & 0x3F);
        return 2;
    }
    if (a >= 0xE0 && a < 0xF0 && left >= 3 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
        c = (a & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        if (c >= 0x800 && (c < 0xD800 || c > 0xDFFF)) {
            *code = c;
            return 3;
        }
    }
    if (a >= 0xF0 && a < 0xF5 && left >= 4 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80 &&
        (p[3] & 0xC0) == 0x80) {
        c = (a & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 |
            (p[3] & 0x3F);
        if (c >= 0x10000 && c <= 0x10FFFF) {
            *code = c;
            return 4;
        }
    }
    *code = UTF8_BAD;
    return 1;
}

#endif
