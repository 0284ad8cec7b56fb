#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

/* Of eight bytes read as one number. */
#define TOP_BITS UINT64_C(0x8080808080808080)
#define LOW_BITS UINT64_C(0x0101010101010101)

/* The number of continuation bytes after a valid lead, and the allowed range of
 * the first of them (RFC 3629 section 4); -1 for a byte that leads nothing. */
static int utf8_tail(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = 0x80;
    *high = 0xbf;
    if (lead >= 0x01 && lead <= 0x7f)
        return 0;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 1;
    if (lead >= 0xe0 && lead <= 0xef) {
        if (lead == 0xe0)
            *low = 0xa0;
        if (lead == 0xed)
            *high = 0x9f;
        return 2;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        if (lead == 0xf0)
            *low = 0x90;
        if (lead == 0xf4)
            *high = 0x8f;
        return 3;
    }
    return -1;
}

/* Eight bytes from 0x01 to 0x7f. */
static bool are_plain(const uint8_t *data)
{
    uint64_t word = le64_get(data);
    return (word & TOP_BITS) == 0 && ((word - LOW_BITS) & TOP_BITS) == 0;
}

bool bytes_are_text(struct bytes b)
{
    size_t i = 0;
    while (b.size - i >= sizeof(uint64_t) && are_plain(b.data + i))
        i += sizeof(uint64_t);
    /* What is left of a plain text is the end of its last eight bytes. */
    if (i > 0 && b.size - i < sizeof(uint64_t) &&
        are_plain(b.data + b.size - sizeof(uint64_t)))
        return true;
    while (i < b.size) {
        uint8_t low, high;
        int tail = utf8_tail(b.data[i++], &low, &high);
        if (tail < 0 || b.size - i < (size_t)tail)
            return false;
        for (; tail > 0; tail--, i++) {
            if (b.data[i] < low || b.data[i] > high)
                return false;
            low = 0x80;
            high = 0xbf;
        }
    }
    return true;
}

int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

size_t varint_put(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

/* The low seven bits of each byte of @word, side by side. */
static uint64_t fold_sevens(uint64_t word)
{
    word = (word & 0x007f007f007f007f) | (word & 0x7f007f007f007f00) >> 1;
    word = (word & 0x00003fff00003fff) | (word & 0x3fff00003fff0000) >> 2;
    return (word & 0x000000000fffffff) | (word & 0x0fffffff00000000) >> 4;
}

size_t varint_get_long(const uint8_t *data, size_t size, uint64_t *value)
{
    /* Counters have four to seven bytes: all at once. */
    uint64_t word = size >= sizeof word ? le64_get(data) : 0;
    uint64_t ends = size >= sizeof word ? ~word & TOP_BITS : 0;
    if (ends != 0) {
        *value = fold_sevens(word & (ends ^ (ends - 1)));
        return (size_t)__builtin_ctzll(ends) / 8 + 1;
    }
    uint64_t v = 0;
    for (size_t i = 0; i < size && i < VARINT_SIZE_MAX; i++) {
        uint64_t bits = data[i] & 0x7f;
        if (i == VARINT_SIZE_MAX - 1 && data[i] > 1)
            return 0;
        v |= bits << (7 * i);
        if (data[i] < 0x80) {
            *value = v;
            return i + 1;
        }
    }
    return 0;
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

uint8_t *buf_reserve(struct buf *b, size_t size)
{
    if (b->failed)
        return NULL;
    if (b->data != NULL && b->capacity - b->size >= size)
        return b->data + b->size;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity - b->size < size && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    uint8_t *data =
        capacity - b->size < size ? NULL : realloc(b->data, capacity);
    if (data == NULL) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->capacity = capacity;
    return b->data + b->size;
}

void buf_put(struct buf *b, const void *data, size_t size)
{
    uint8_t *room = size == 0 ? NULL : buf_reserve(b, size);
    if (room == NULL)
        return;
    memcpy(room, data, size);
    b->size += size;
}

void buf_put_u8(struct buf *b, uint8_t value)
{
    buf_put(b, &value, 1);
}

void buf_put_u32(struct buf *b, uint32_t value)
{
    uint8_t raw[4];
    le32_put(raw, value);
    buf_put(b, raw, sizeof raw);
}

void buf_put_u64(struct buf *b, uint64_t value)
{
    uint8_t raw[8];
    le64_put(raw, value);
    buf_put(b, raw, sizeof raw);
}

void buf_put_varint(struct buf *b, uint64_t value)
{
    uint8_t *room = buf_reserve(b, VARINT_SIZE_MAX);
    if (room != NULL)
        b->size += varint_put(room, value);
}

void buf_put_bytes(struct buf *b, struct bytes value)
{
    buf_put_varint(b, value.size);
    buf_put(b, value.data, value.size);
}

void buf_put_string(struct buf *b, const char *value)
{
    buf_put_bytes(b, bytes_of_string(value));
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    uint8_t *room = length < 0 ? NULL : buf_reserve(b, (size_t)length + 1);
    if (room == NULL) {
        b->failed = true;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)room, (size_t)length + 1, format, args);
    va_end(args);
    b->size += (size_t)length;
}

struct bytes reader_take(struct reader *r, size_t size)
{
    static const uint8_t nothing[1];
    if (r->failed || size > r->size) {
        r->failed = true;
        return (struct bytes){nothing, 0};
    }
    struct bytes taken = {r->data, size};
    r->data += size;
    r->size -= size;
    return taken;
}

uint8_t reader_u8(struct reader *r)
{
    struct bytes b = reader_take(r, 1);
    return b.size == 1 ? b.data[0] : 0;
}

uint32_t reader_u32(struct reader *r)
{
    struct bytes b = reader_take(r, 4);
    return b.size == 4 ? le32_get(b.data) : 0;
}

uint64_t reader_u64(struct reader *r)
{
    struct bytes b = reader_take(r, 8);
    return b.size == 8 ? le64_get(b.data) : 0;
}

uint32_t reader_varint32(struct reader *r)
{
    uint64_t value = reader_varint(r);
    if (value > UINT32_MAX) {
        r->failed = true;
        return 0;
    }
    return (uint32_t)value;
}

struct bytes reader_bytes(struct reader *r)
{
    uint64_t size = reader_varint(r);
    if (size > r->size)
        r->failed = true;
    return reader_take(r, r->failed ? 0 : (size_t)size);
}
