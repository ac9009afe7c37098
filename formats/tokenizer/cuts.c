/* cuts.c -- the places where a text may be cut, 64 bytes at a time. */
#include "cuts.h"

#include "utf8.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080u

/* Whether p[0 .. 64] are 65 ASCII characters. */
static bool is_ascii(const uint8_t *p)
{
    uint64_t words[8], all = p[64];
    memcpy(words, p, sizeof words);
    for (int i = 0; i < 8; i++)
        all |= words[i];
    return !(all & HIGH_BITS);
}

/* Without a branch, since nobody can guess them. */
static uint64_t ascii_mask(const struct bpe *b, const uint8_t *p)
{
    uint64_t joined = 0;
    for (int i = 0; i < 64; i += 8) {
        uint64_t eight = 0;
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            eight |= (uint64_t)b->ascii_joins[p[i + k]][p[i + k + 1]] << k;
        joined |= eight << i;
    }
    return ~joined;
}

static inline uint32_t next_code(const uint8_t **p, const uint8_t *end)
{
    uint32_t code;
    *p += utf8_next(*p, end, &code);
    return code == BLANK_MARK ? ' ' : code;
}

void cuts_look(struct cuts *c)
{
    const uint8_t *p = c->block = c->after, *next = p;
    if (c->end - p > 64 && is_ascii(p)) {
        c->mask = ascii_mask(c->b, p);
        c->after = p + 64;
        return;
    }
    uint32_t last = next_code(&next, c->end);
    c->mask = 0;
    while (next - c->block <= 64) { /* the character before `next` is in the block */
        p = next;
        uint32_t code = p < c->end ? next_code(&next, c->end) : UTF8_BAD;
        if (code == UTF8_BAD || !bpe_joins(c->b, last, code))
            c->mask |= (uint64_t)1 << (p - c->block - 1);
        if (p == c->end)
            break;
        last = code;
    }
    c->after = p;
}
