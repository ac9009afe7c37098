/* checksum.h -- CRC32C (Castagnoli) and XXH3-128, the two checksums of the suite. */
#ifndef CHECKSUM_H
#define CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Continue a CRC32C: start from 0, feed pieces in order. Equal to Google Cloud Storage's crc32c.
   Uses the CPU's instruction where there is one. */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

/* The CRC32C of A followed by B, from the two and B's length. */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b);

/* XXH3-128 in canonical (big-endian) hexadecimal: 32 digits and a NUL. */
struct xxh3 {
    char hex[33];
};
struct xxh3 xxh3_of(const void *data, size_t bytes);

/* The same over a stream. Owned state: xxh3_end frees it. */
struct xxh3_stream {
    void *state;
};
void xxh3_begin(struct xxh3_stream *s);
void xxh3_add(struct xxh3_stream *s, const void *data, size_t bytes);
struct xxh3 xxh3_end(struct xxh3_stream *s);

#endif
