/* digits.h -- a whole number in decimal digits, as the network and our own notes write it. */
#ifndef DIGITS_H
#define DIGITS_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>

/* Digits at *p as a number that fits int64_t; *p is behind them then. False when there are none or
   too many, and nothing has changed. */
static inline bool digits_read(const char **p, const char *end, uint64_t *to)
{
    uint64_t v = 0;
    const char *s = *p;
    for (; s < end && isdigit((unsigned char)*s); s++) {
        if (v > (INT64_MAX - 9) / 10)
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    if (s == *p)
        return false;
    *p = s;
    *to = v;
    return true;
}

#endif
