/* The protobuf wire format, as far as our messages need it: a bounded cursor
 * that yields the fields a message is known to have, and the puts of an
 * encoder. What is accepted is what protobuf-c accepts: fields in any order,
 * unknown ones skipped; groups, field number 0 and a known field of another
 * wire type refused. It is lax in four places where we refuse: a varint of more
 * than 64 bits and a length of more than 32 (it cuts both), a bool of any wire
 * type, and field number 0 in more than one byte. No thread, no allocation but
 * in the caller's buf. */
#pragma once

#include "base/bytes.h"

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2, /* bytes, string, message */
    WIRE_FIXED32 = 5,
};

/* What a message type is made of: index = field number, a NULL name = unknown.
 * Only varint and bytes fields occur. */
struct wire_field_spec {
    const char *name;
    enum wire_type type;
};

struct wire_spec {
    const struct wire_field_spec *fields; /* static storage */
    uint32_t count;
};

/* One field as it was found: the member of its type is set. */
struct wire_field {
    uint32_t number;
    uint64_t value;     /* varint */
    struct bytes bytes; /* borrowed from the message */
};

/* A cursor with a sticky failure. */
struct wire {
    const uint8_t *at, *end; /* borrowed: the message's bytes */
    struct wire_spec spec;
    const char *fault;    /* static text: what is wrong; NULL = nothing */
    uint32_t fault_field; /* the field's number, 0 = before it was known */
};

static inline struct wire wire_of(struct bytes message, struct wire_spec spec)
{
    const uint8_t *end =
        message.size > 0 ? message.data + message.size : message.data;
    return (struct wire){message.data, end, spec, NULL, 0};
}

/* The next known field; unknown ones are skipped on the way. False at the end
 * of the message, or when w->fault is set. */
bool wire_next(struct wire *w, struct wire_field *out);

/* --- writing: a field whose value is the default is left out ------------- */

void wire_put_uint(struct buf *out, uint32_t field, uint64_t value);
void wire_put_bytes(struct buf *out, uint32_t field, struct bytes value);

/* A field of a repeated kind or in a oneof: written even if it is empty. */
void wire_put_bytes_always(struct buf *out, uint32_t field, struct bytes value);

/* An embedded message: what is put between open and close is its body. */
size_t wire_open(struct buf *out, uint32_t field);
void wire_close(struct buf *out, size_t mark);
