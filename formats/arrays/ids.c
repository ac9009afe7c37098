/* ids.c -- token ids as they are stored. */
#include "ids.h"
#include "file.h"

/* Inner loops of this length become vector instructions at -O2 with every compiler we use. */
enum { LANES = 64 };

static uint32_t one(const uint8_t *p, size_t i, size_t id_bytes)
{
    return id_bytes == 2 ? le16(p + 2 * i) : le32(p + 4 * i);
}

static size_t most16(const uint8_t *p, size_t count, uint32_t *most)
{
    uint16_t top[LANES] = {0}, v[LANES];
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        memcpy(v, p + 2 * i, sizeof v);
        for (int j = 0; j < LANES; j++)
            top[j] = v[j] > top[j] ? v[j] : top[j];
    }
    for (int j = 0; j < LANES; j++)
        *most = top[j] > *most ? top[j] : *most;
    return i;
}

static size_t most32(const uint8_t *p, size_t count, uint32_t *most)
{
    uint32_t top[LANES] = {0}, v[LANES];
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        memcpy(v, p + 4 * i, sizeof v);
        for (int j = 0; j < LANES; j++)
            top[j] = v[j] > top[j] ? v[j] : top[j];
    }
    for (int j = 0; j < LANES; j++)
        *most = top[j] > *most ? top[j] : *most;
    return i;
}

uint32_t ids_most(const void *stored, size_t count, size_t id_bytes)
{
    const uint8_t *p = stored;
    uint32_t most = 0;
    size_t i = id_bytes == 2 ? most16(p, count, &most) : most32(p, count, &most);
    for (; i < count; i++) {
        uint32_t v = one(p, i, id_bytes);
        most = v > most ? v : most;
    }
    return most;
}

size_t ids_find(const void *stored, size_t count, size_t id_bytes, uint64_t bound)
{
    size_t i = 0;
    while (i < count && one(stored, i, id_bytes) < bound)
        i++;
    return i;
}

void ids_widen(uint32_t *to, const void *stored, size_t count, size_t id_bytes)
{
    const uint8_t *p = stored;
    if (id_bytes == 4) {
        memcpy(to, p, 4 * count);
        return;
    }
    uint16_t v[LANES];
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        memcpy(v, p + 2 * i, sizeof v);
        for (int j = 0; j < LANES; j++)
            to[i + (size_t)j] = v[j];
    }
    for (; i < count; i++)
        to[i] = le16(p + 2 * i);
}

uint64_t ids_count(const void *stored, size_t count, size_t id_bytes, uint32_t id)
{
    const uint8_t *p = stored;
    uint64_t sum = 0;
    size_t i = 0;
    if (id_bytes == 2 && id <= UINT16_MAX) {
        uint16_t v[LANES], want = (uint16_t)id;
        while (i + LANES <= count) {
            /* Lanes count to at most 65535 before they are added up. */
            uint16_t hits[LANES] = {0};
            for (int run = 0; run < UINT16_MAX && i + LANES <= count; run++, i += LANES) {
                memcpy(v, p + 2 * i, sizeof v);
                for (int j = 0; j < LANES; j++)
                    hits[j] = (uint16_t)(hits[j] + (v[j] == want));
            }
            for (int j = 0; j < LANES; j++)
                sum += hits[j];
        }
    }
    for (; i < count; i++)
        sum += one(p, i, id_bytes) == id;
    return sum;
}
