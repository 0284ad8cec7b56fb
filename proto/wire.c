#include "proto/wire.h"

enum {
    TAG_SIZE_MAX = 5,    /* as protobuf-c: field numbers of up to 32 bits */
    LENGTH_SIZE_MAX = 5, /* as protobuf-c */
};

static bool refuse(struct wire *w, const char *fault)
{
    w->fault = fault;
    return false;
}

static bool take_long_varint(struct wire *w, size_t size_max, uint64_t *value)
{
    size_t left = (size_t)(w->end - w->at);
    size_t size = varint_get(w->at, left < size_max ? left : size_max, value);
    if (size == 0) {
        if (left < size_max)
            return refuse(w, "cut");
        return refuse(w, size_max == VARINT_SIZE_MAX
                             ? "a varint of more than 64 bits"
                             : "a tag or length of more than 5 bytes");
    }
    w->at += size;
    return true;
}

/* Nearly every varint here is one byte. */
static inline bool take_varint(struct wire *w, size_t size_max, uint64_t *value)
{
    if (w->at == w->end || *w->at >= 0x80)
        return take_long_varint(w, size_max, value);
    *value = *w->at++;
    return true;
}

static bool take_bytes(struct wire *w, size_t size, struct bytes *out)
{
    if (size > (size_t)(w->end - w->at))
        return refuse(w, "cut: longer than what holds it");
    *out = (struct bytes){w->at, size};
    w->at += size;
    return true;
}

static bool take_value(struct wire *w, uint32_t type, struct wire_field *out)
{
    uint64_t length;

    switch (type) {
    case WIRE_VARINT:
        return take_varint(w, VARINT_SIZE_MAX, &out->value);
    case WIRE_FIXED64:
        return take_bytes(w, 8, &out->bytes);
    case WIRE_FIXED32:
        return take_bytes(w, 4, &out->bytes);
    case WIRE_BYTES:
        return take_varint(w, LENGTH_SIZE_MAX, &length) &&
               (length <= UINT32_MAX ||
                refuse(w, "a length of more than 32 bits")) &&
               take_bytes(w, (size_t)length, &out->bytes);
    default:
        return refuse(w, "a group, or no wire type at all");
    }
}

bool wire_next(struct wire *w, struct wire_field *out)
{
    while (w->fault == NULL && w->at < w->end) {
        uint64_t tag;

        w->fault_field = 0;
        if (!take_varint(w, TAG_SIZE_MAX, &tag))
            return false;
        out->number = (uint32_t)(tag >> 3);
        w->fault_field = out->number;
        if (out->number == 0)
            return refuse(w, "field number 0");
        if (!take_value(w, (uint32_t)tag & 7, out))
            return false;
        if (out->number >= w->spec.count ||
            w->spec.fields[out->number].name == NULL)
            continue;
        if (((uint32_t)tag & 7) != w->spec.fields[out->number].type)
            return refuse(w, "wrong wire type");
        return true;
    }
    return false;
}

static void put_tag(struct buf *out, uint32_t field, enum wire_type type)
{
    buf_put_varint(out, field << 3 | type);
}

void wire_put_uint(struct buf *out, uint32_t field, uint64_t value)
{
    if (value == 0)
        return;
    put_tag(out, field, WIRE_VARINT);
    buf_put_varint(out, value);
}

void wire_put_bytes_always(struct buf *out, uint32_t field, struct bytes value)
{
    put_tag(out, field, WIRE_BYTES);
    buf_put_bytes(out, value);
}

void wire_put_bytes(struct buf *out, uint32_t field, struct bytes value)
{
    if (value.size > 0)
        wire_put_bytes_always(out, field, value);
}

/* The length is known only at the end. One byte is kept for it, which is nearly
 * always enough; otherwise the body moves. */
size_t wire_open(struct buf *out, uint32_t field)
{
    put_tag(out, field, WIRE_BYTES);
    buf_put_u8(out, 0);
    return out->size;
}

void wire_close(struct buf *out, size_t mark)
{
    uint8_t length[VARINT_SIZE_MAX];

    if (buf_failed(out))
        return;
    size_t body = out->size - mark;
    size_t size = varint_put(length, body);
    if (size > 1) {
        if (buf_reserve(out, size - 1) == NULL)
            return;
        memmove(out->data + mark + size - 1, out->data + mark, body);
        out->size += size - 1;
    }
    memcpy(out->data + mark - 1, length, size);
}
