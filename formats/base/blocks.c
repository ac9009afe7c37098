/* blocks.c -- a CRC32C for each block of a file, so that damage has a place. */
#include "blocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 8, CHUNK_BYTES = 1 << 18 };

/* Two blocks become one. All of them are full. */
static void join(struct blocks *b)
{
    b->count /= 2;
    for (size_t i = 0; i < b->count; i++)
        b->crc[i] = crc32c_combine(b->crc[2 * i], b->crc[2 * i + 1], b->block_bytes);
    b->block_bytes *= 2;
}

static void block_begin(struct blocks *b)
{
    if (!b->crc) {
        b->crc = malloc(BLOCKS_MAX * sizeof *b->crc);
        if (!b->crc)
            abort(); /* 16 kilobytes: nothing sensible can go on */
        b->block_bytes = BLOCK_BYTES_LEAST;
    }
    if (b->count == BLOCKS_MAX)
        join(b);
    b->crc[b->count++] = 0;
}

void blocks_add(struct blocks *b, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    while (bytes) {
        uint64_t room = b->count * b->block_bytes - b->bytes;
        if (room == 0) {
            block_begin(b);
            room = b->block_bytes;
        }
        size_t n = bytes < room ? bytes : (size_t)room;
        b->crc[b->count - 1] = crc32c(b->crc[b->count - 1], from, n);
        b->bytes += n;
        from += n;
        bytes -= n;
    }
}

void blocks_free(struct blocks *b)
{
    free(b->crc);
    *b = (struct blocks){0};
}

uint32_t blocks_crc32c(const struct blocks *b)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < b->count; i++) {
        uint64_t left = b->bytes - i * b->block_bytes;
        crc = crc32c_combine(crc, b->crc[i], left < b->block_bytes ? left : b->block_bytes);
    }
    return crc;
}

char *blocks_text(const struct blocks *b)
{
    char *text = malloc(DIGITS * b->count + 1);
    for (size_t i = 0; text && i < b->count; i++)
        snprintf(text + DIGITS * i, DIGITS + 1, "%08x", b->crc[i]);
    if (text)
        text[DIGITS * b->count] = 0;
    return text;
}

bool blocks_text_good(const char *text, uint64_t block_bytes, uint64_t bytes)
{
    size_t digits = strlen(text);
    uint64_t right = BLOCK_BYTES_LEAST;
    while (bytes && (bytes - 1) / right >= BLOCKS_MAX)
        right *= 2;
    if (bytes == 0)
        return block_bytes == 0 && digits == 0;
    return block_bytes == right && digits == DIGITS * ((bytes - 1) / right + 1) &&
           strspn(text, "0123456789abcdef") == digits;
}

bool blocks_same(const struct blocks *b, const char *text, size_t i)
{
    char mine[DIGITS + 1];
    snprintf(mine, sizeof mine, "%08x", b->crc[i]);
    return !memcmp(mine, text + DIGITS * i, DIGITS);
}

struct xxh3 blocks_sums(struct blocks *b, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    struct xxh3_stream s;
    xxh3_begin(&s);
    for (size_t at = 0, n; at < bytes; at += n) {
        n = bytes - at < CHUNK_BYTES ? bytes - at : CHUNK_BYTES;
        xxh3_add(&s, from + at, n);
        blocks_add(b, from + at, n);
    }
    return xxh3_end(&s);
}
