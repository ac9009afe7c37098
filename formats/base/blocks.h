/* blocks.h -- a CRC32C for each block of a file, so that damage has a place.

   Blocks are of 1 MiB while BLOCKS_MAX of them hold the file, else of the least power of two that
   does: how large they are depends on the file's size alone, and nobody has to know that before. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include "checksum.h"

#include <stdbool.h>

enum { BLOCKS_MAX = 4096, BLOCK_BYTES_LEAST = 1 << 20 };

/* Zero means that no byte was added yet. */
struct blocks {
    uint64_t bytes;       /* added so far */
    uint64_t block_bytes; /* of every block but the last */
    size_t count;
    uint32_t *crc; /* [count], owned; room for BLOCKS_MAX */
};

void blocks_add(struct blocks *b, const void *data, size_t bytes);
void blocks_free(struct blocks *b); /* harmless when freed */

/* The CRC32C of the whole file. */
uint32_t blocks_crc32c(const struct blocks *b);
/* Eight digits a block, owned by the caller; NULL without memory. */
char *blocks_text(const struct blocks *b);
/* Can `text` be what blocks_text says of a file of so many bytes? */
bool blocks_text_good(const char *text, uint64_t block_bytes, uint64_t bytes);
/* Is block i what `text` says of it? */
bool blocks_same(const struct blocks *b, const char *text, size_t i);

/* Both checksums of a whole file, in one pass; b is zero before. */
struct xxh3 blocks_sums(struct blocks *b, const void *data, size_t bytes);

#endif
