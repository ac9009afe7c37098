/* events.h -- TensorBoard's event files: numbers and pictures by step.

   A file is records: u64 length, u32 checksum of it, that many bytes, u32 checksum of those, all
   little-endian; a checksum is CRC32C, turned right by 15 bits, plus 0xa282ead8. The bytes are a
   protocol buffer:

     Event    1 wall time, double   2 step   3 "brain.Event:2", in the first   5 Summary
              7 SessionLog, status START: forget what earlier files have from this step on
     Summary  1 value: 1 tag, 2 number (float) or 4 picture: 1 height, 2 width, 3 channels, 4 PNG

   Both formats are TensorFlow's. */
#ifndef EVENTS_H
#define EVENTS_H

#include "err.h"

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

/* Zero means closed. Fields are private. */
struct events {
    char path[PATH_MAX];
    int fd;
    int64_t good_bytes; /* of whole records in the file */
    uint8_t *record;    /* [bytes], owned: what is being put together */
    size_t bytes, room;
};

/* A new file in dir, events.out.tfevents.TIME.HOST.PID. step: the first that it will tell of; of a
   resumed run, what earlier files have from there on is to be forgotten. */
must_check int events_open(struct events *e, const char *dir, int64_t step);
void events_close(struct events *e); /* harmless when closed, as are the puts then */

must_check int events_put(struct events *e, int64_t step, const char *tag, double value);
/* png [bytes]: an RGB picture. */
must_check int events_put_picture(struct events *e, int64_t step, const char *tag, const void *png,
                                  size_t bytes, int width, int height);

#endif
