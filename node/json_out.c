/* See json_out.h. jansson is the oracle of its test. */
#include "node/json_out.h"

#include "base/assert.h"

static void separate(struct json_out *o)
{
    uint64_t bit = (uint64_t)1 << o->depth;
    if (o->after_key)
        o->after_key = false;
    else if ((o->nonempty & bit) != 0)
        buf_put_u8(o->buf, ',');
    o->nonempty |= bit;
}

static void enter(struct json_out *o, uint8_t bracket)
{
    separate(o);
    buf_put_u8(o->buf, bracket);
    ASSERT(o->depth + 1 < JSON_OUT_DEPTH_MAX);
    o->depth++;
    o->nonempty &= ~((uint64_t)1 << o->depth);
}

static void leave(struct json_out *o, uint8_t bracket)
{
    ASSERT(o->depth > 0 && !o->after_key);
    o->depth--;
    buf_put_u8(o->buf, bracket);
}

void out_begin(struct json_out *o, struct buf *buf)
{
    *o = (struct json_out){.buf = buf};
}

void out_object(struct json_out *o)
{
    enter(o, '{');
}

void out_object_end(struct json_out *o)
{
    leave(o, '}');
}

void out_array(struct json_out *o)
{
    enter(o, '[');
}

void out_array_end(struct json_out *o)
{
    leave(o, ']');
}

void out_key(struct json_out *o, const char *name)
{
    separate(o);
    buf_put_u8(o->buf, '"');
    buf_put(o->buf, name, strlen(name));
    buf_put(o->buf, "\":", 2);
    o->after_key = true;
}

static void put_escaped(struct buf *buf, uint8_t c)
{
    switch (c) {
    case '"':
        buf_put(buf, "\\\"", 2);
        return;
    case '\\':
        buf_put(buf, "\\\\", 2);
        return;
    case '\n':
        buf_put(buf, "\\n", 2);
        return;
    default:
        buf_printf(buf, "\\u%04x", c);
    }
}

void out_text(struct json_out *o, struct bytes value)
{
    bool utf8 = bytes_are_text(value);
    separate(o);
    buf_put_u8(o->buf, '"');
    size_t start = 0; /* of the run that needs no escape */
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        bool plain = c >= 0x20 && c != '"' && c != '\\' && c != 0x7f &&
                     (c < 0x80 || utf8);
        if (plain)
            continue;
        buf_put(o->buf, value.data + start, i - start);
        start = i + 1;
        if (c >= 0x80)
            buf_put(o->buf, "\\ufffd", 6);
        else
            put_escaped(o->buf, c);
    }
    if (value.size > start)
        buf_put(o->buf, value.data + start, value.size - start);
    buf_put_u8(o->buf, '"');
}

void out_string(struct json_out *o, const char *value)
{
    if (value == NULL)
        out_null(o);
    else
        out_text(o, bytes_of_string(value));
}

void out_uint(struct json_out *o, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    separate(o);
    buf_put(o->buf, digits + at, sizeof digits - at);
}

void out_int(struct json_out *o, int64_t value)
{
    separate(o);
    buf_printf(o->buf, "%lld", (long long)value);
}

void out_bool(struct json_out *o, bool value)
{
    separate(o);
    buf_put(o->buf, value ? "true" : "false", value ? 4 : 5);
}

void out_null(struct json_out *o)
{
    separate(o);
    buf_put(o->buf, "null", 4);
}

void out_member(struct json_out *o, const char *name, const char *value)
{
    out_key(o, name);
    out_string(o, value);
}

void out_member_uint(struct json_out *o, const char *name, uint64_t value)
{
    out_key(o, name);
    out_uint(o, value);
}

void out_member_bool(struct json_out *o, const char *name, bool value)
{
    out_key(o, name);
    out_bool(o, value);
}

void out_member_null(struct json_out *o, const char *name)
{
    out_key(o, name);
    out_null(o);
}

void out_comma_list(struct json_out *o, const char *list)
{
    out_array(o);
    while (list != NULL && *list != '\0') {
        size_t length = strcspn(list, ",");
        const char *part = list;
        list += length + (list[length] == ',' ? 1 : 0);
        while (length > 0 && *part == ' ') {
            part++;
            length--;
        }
        while (length > 0 && part[length - 1] == ' ')
            length--;
        if (length > 0)
            out_text(o, (struct bytes){(const uint8_t *)part, length});
    }
    out_array_end(o);
}
