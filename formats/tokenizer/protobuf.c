/* protobuf.c -- the wire form of protocol buffers. */
#include "protobuf.h"

#include "file.h"

static int varint(struct proto *p, uint64_t *value)
{
    const uint8_t *begin = p->at;
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (p->at == p->end)
            return fail("byte %zu: a number runs past the end of its message",
                        (size_t)(begin - p->file));
        uint8_t byte = *p->at++;
        if (shift == 63 && byte > 1)
            break;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return 0;
    }
    return fail("byte %zu: a number of more than 64 bits", (size_t)(begin - p->file));
}

static int fixed(struct proto *p, struct proto_field *f, size_t bytes)
{
    if ((size_t)(p->end - p->at) < bytes)
        return fail("byte %zu: field %u needs %zu bytes where %zu are left", f->offset, f->number,
                    bytes, (size_t)(p->end - p->at));
    f->value = bytes == 4 ? le32(p->at) : le64(p->at);
    p->at += bytes;
    return 1;
}

int proto_next(struct proto *p, struct proto_field *f)
{
    *f = (struct proto_field){.offset = (size_t)(p->at - p->file)};
    if (p->at == p->end)
        return 0;
    uint64_t tag;
    if (varint(p, &tag))
        return -1;
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return fail("byte %zu: no field has the number %llu", f->offset,
                    (unsigned long long)(tag >> 3));
    f->number = (uint32_t)(tag >> 3);
    f->wire = tag & 7;
    switch (f->wire) {
    case PROTO_VARINT:
        return varint(p, &f->value) ? -1 : 1;
    case PROTO_FIXED64:
        return fixed(p, f, 8);
    case PROTO_FIXED32:
        return fixed(p, f, 4);
    case PROTO_BYTES:
        if (varint(p, &f->value))
            return -1;
        if (f->value > (uint64_t)(p->end - p->at))
            return fail("byte %zu: field %u claims %llu bytes where %zu are left", f->offset,
                        f->number, (unsigned long long)f->value, (size_t)(p->end - p->at));
        f->data = p->at;
        f->bytes = (size_t)f->value;
        p->at += f->bytes;
        return 1;
    }
    return fail("byte %zu: field %u has wire type %u, which is not in use", f->offset, f->number,
                (unsigned)(tag & 7));
}

struct proto proto_inside(const struct proto *p, const struct proto_field *f)
{
    return (struct proto){.at = f->data, .end = f->data + f->bytes, .file = p->file};
}

int proto_want(const struct proto_field *f, enum proto_wire wire)
{
    if (f->wire == wire)
        return 0;
    return fail("byte %zu: field %u has wire type %u, not %u", f->offset, f->number,
                (unsigned)f->wire, (unsigned)wire);
}
