/* ids.h -- token ids as they are stored, u16 or u32 without alignment, looked at quickly. */
#ifndef IDS_H
#define IDS_H

#include <stddef.h>
#include <stdint.h>

/* The largest of `count` ids of id_bytes (2 or 4) each; 0 when there are none. */
uint32_t ids_most(const void *stored, size_t count, size_t id_bytes);

/* The first that is not below `bound`, or `count`. */
size_t ids_find(const void *stored, size_t count, size_t id_bytes, uint64_t bound);

/* to[i] = id i, for every i. */
void ids_widen(uint32_t *to, const void *stored, size_t count, size_t id_bytes);

/* How many are `id`. */
uint64_t ids_count(const void *stored, size_t count, size_t id_bytes, uint32_t id);

#endif
