/* gunzip.h -- gzip data of one or several members, every checksum checked.

   libarchive has a gzip filter, but it ignores the CRC: of 300 flipped bits in a file of 719 bytes
   228 went through unseen. Here none does. */
#ifndef GUNZIP_H
#define GUNZIP_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero means closed. */
struct gunzip {
    struct z_stream_s *z; /* owned */
    bool inside;          /* a member, not between two */
};

must_check int gunzip_open(struct gunzip *g);
void gunzip_close(struct gunzip *g); /* harmless when closed */

/* Inflate from in[*in_bytes] into out[out_bytes]. On return *in_bytes is what was used up, and the
   result the bytes made; 0 means that more input is wanted. `inside` then says whether the data may
   end here. -1 with why(), which names no file. Zeros behind a member are padding. */
must_check long gunzip_more(struct gunzip *g, const uint8_t *in, size_t *in_bytes, uint8_t *out,
                            size_t out_bytes);

#endif
