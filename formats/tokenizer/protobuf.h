/* protobuf.h -- the wire form of protocol buffers, field by field, with every length doubted. */
#ifndef PROTOBUF_H
#define PROTOBUF_H

#include "err.h"

#include <stddef.h>
#include <stdint.h>

/* A message being read. `file` is where the outermost one begins: sentences count bytes from it. */
struct proto {
    const uint8_t *at, *end, *file;
};

enum proto_wire { PROTO_VARINT = 0, PROTO_FIXED64 = 1, PROTO_BYTES = 2, PROTO_FIXED32 = 5 };

struct proto_field {
    uint32_t number;
    enum proto_wire wire;
    uint64_t value;      /* PROTO_VARINT, PROTO_FIXED64, PROTO_FIXED32: the bits */
    const uint8_t *data; /* PROTO_BYTES: borrowed */
    size_t bytes;
    size_t offset; /* of the field's tag in the file */
};

/* Read the next field. Returns 1, 0 at the message's end, or -1 with why() naming the byte. */
must_check int proto_next(struct proto *p, struct proto_field *f);

/* The message inside a field of kind PROTO_BYTES. */
struct proto proto_inside(const struct proto *p, const struct proto_field *f);

/* 0 when the field has this wire form, else -1 with why(). */
must_check int proto_want(const struct proto_field *f, enum proto_wire wire);

#endif
