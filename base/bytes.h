/* Bytes and their codecs: borrowed views, a growing buffer, a bounded reader,
 * and the integer forms of our formats (docs/format.md): LEB128 varints,
 * zigzag, little-endian values, big-endian keys. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A view: borrowed, not terminated, may hold any byte. */
struct bytes {
    const uint8_t *data;
    size_t size;
};

static inline struct bytes bytes_of_string(const char *s)
{
    return (struct bytes){(const uint8_t *)s, strlen(s)};
}

static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* A byte string is well-formed UTF-8 (RFC 3629: no surrogates, no overlong
 * forms, at most U+10FFFF) without NUL. */
bool bytes_are_text(struct bytes b);

/* The value of a hexadecimal digit of either case, -1 for another character. */
int hex_digit(uint8_t c);

/* --- integers ----------------------------------------------------------- */

enum { VARINT_SIZE_MAX = 10 };

/* Bytes written at @out, which has room for VARINT_SIZE_MAX. */
size_t varint_put(uint8_t *out, uint64_t value);

/* The same as varint_get, for what is longer than one byte. */
size_t varint_get_long(const uint8_t *data, size_t size, uint64_t *value);

/* Bytes consumed, 0 if the input is cut or longer than 64 bits. */
static inline size_t varint_get(const uint8_t *data, size_t size,
                                uint64_t *value)
{
    if (size == 0 || data[0] >= 0x80)
        return varint_get_long(data, size, value);
    *value = data[0];
    return 1;
}

static inline uint64_t zigzag(int64_t value)
{
    return ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0);
}

static inline int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static inline void be32_put(uint8_t *out, uint32_t v)
{
    out[0] = (uint8_t)(v >> 24);
    out[1] = (uint8_t)(v >> 16);
    out[2] = (uint8_t)(v >> 8);
    out[3] = (uint8_t)v;
}

static inline uint32_t be32_get(const uint8_t *in)
{
    return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 |
           (uint32_t)in[2] << 8 | in[3];
}

static inline void le32_put(uint8_t *out, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static inline uint16_t le16_get(const uint8_t *in)
{
    return (uint16_t)(in[0] | in[1] << 8);
}

static inline uint32_t le32_get(const uint8_t *in)
{
    return (uint32_t)in[3] << 24 | (uint32_t)in[2] << 16 |
           (uint32_t)in[1] << 8 | in[0];
}

static inline void le64_put(uint8_t *out, uint64_t v)
{
    le32_put(out, (uint32_t)v);
    le32_put(out + 4, (uint32_t)(v >> 32));
}

static inline uint64_t le64_get(const uint8_t *in)
{
    return (uint64_t)le32_get(in + 4) << 32 | le32_get(in);
}

/* --- writing ------------------------------------------------------------ */

/* A growing buffer with a sticky failure: a chain of puts is checked once, at
 * the end, by buf_failed(). Zero-initialise; buf_deinit frees. */
struct buf {
    uint8_t *data; /* owned */
    size_t size;
    size_t capacity;
    bool failed; /* out of memory: later puts do nothing */
};

void buf_deinit(struct buf *b);

/* Forgets the content, keeps the memory. */
static inline void buf_clear(struct buf *b)
{
    b->size = 0;
    b->failed = false;
}

static inline bool buf_failed(const struct buf *b)
{
    return b->failed;
}

/* Room for @size more bytes; NULL (and failed) when memory is short. The
 * caller writes there and adds to b->size. */
uint8_t *buf_reserve(struct buf *b, size_t size);

void buf_put(struct buf *b, const void *data, size_t size);
void buf_put_u8(struct buf *b, uint8_t value);
void buf_put_u32(struct buf *b, uint32_t value); /* little-endian */
void buf_put_u64(struct buf *b, uint64_t value); /* little-endian */
void buf_put_varint(struct buf *b, uint64_t value);
/* A varint length, then the bytes. */
void buf_put_bytes(struct buf *b, struct bytes value);
void buf_put_string(struct buf *b, const char *value);
void buf_printf(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->size};
}

/* --- reading ------------------------------------------------------------ */

/* A bounded cursor with a sticky failure: a read past the end yields zeros and
 * sets failed, so a decoder checks once. Values borrow from the input. */
struct reader {
    const uint8_t *data; /* borrowed */
    size_t size;         /* bytes left */
    bool failed;
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.data, b.size, false};
}

uint8_t reader_u8(struct reader *r);
uint32_t reader_u32(struct reader *r); /* little-endian */
uint64_t reader_u64(struct reader *r); /* little-endian */

static inline uint64_t reader_varint(struct reader *r)
{
    uint64_t value = 0;
    size_t n = r->failed ? 0 : varint_get(r->data, r->size, &value);
    if (n == 0) {
        r->failed = true;
        return 0;
    }
    r->data += n;
    r->size -= n;
    return value;
}

/* A varint that must fit 32 bits; otherwise failed. */
uint32_t reader_varint32(struct reader *r);
/* @size bytes as they are. */
struct bytes reader_take(struct reader *r, size_t size);
/* A varint length, then the bytes. */
struct bytes reader_bytes(struct reader *r);
