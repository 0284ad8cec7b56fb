#include "store/raw_chunk.h"

#include "base/assert.h"

#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

static void be64_put(uint8_t *out, uint64_t v)
{
    be32_put(out, (uint32_t)(v >> 32));
    be32_put(out + 4, (uint32_t)v);
}

static uint64_t be64_get(const uint8_t *in)
{
    return (uint64_t)be32_get(in) << 32 | be32_get(in + 4);
}

void raw_key_put(uint8_t out[RAW_KEY_SIZE], const struct raw_key *key)
{
    be64_put(out, key->first);
    be64_put(out + 8, key->after);
    be64_put(out + 16, key->first_ms);
    out[24] = key->cut;
}

int raw_key_get(struct bytes in, struct raw_key *key)
{
    if (in.size != RAW_KEY_SIZE)
        return ERR_CORRUPT;
    *key = (struct raw_key){.first = be64_get(in.data),
                            .after = be64_get(in.data + 8),
                            .first_ms = be64_get(in.data + 16),
                            .cut = in.data[24] == 1};
    return key->first > key->after && in.data[24] <= 1 ? 0 : ERR_CORRUPT;
}

/* --- writing -------------------------------------------------------------- */

void raw_chunk_deinit(struct raw_chunk *c)
{
    buf_deinit(&c->entries);
    *c = (struct raw_chunk){0};
}

void raw_chunk_add(struct raw_chunk *c, uint64_t index, uint64_t log_time_ms,
                   struct bytes entry)
{
    if (c->count == 0) {
        c->key.first = c->last = index;
        c->key.first_ms = log_time_ms;
    }
    ASSERT(c->count == 0 || index > c->last);
    buf_put_varint(&c->entries, index - c->last);
    buf_put_bytes(&c->entries, entry);
    c->last = index;
    c->last_ms = log_time_ms;
    c->count++;
}

struct raw_packer {
    ZSTD_CCtx *zstd; /* owned */
};

int raw_packer_create(struct raw_packer **out)
{
    struct raw_packer *p = calloc(1, sizeof *p);
    *out = NULL;
    if (p == NULL)
        return ERR_NOMEM;
    p->zstd = ZSTD_createCCtx();
    if (p->zstd == NULL) {
        free(p);
        return ERR_NOMEM;
    }
    *out = p;
    return 0;
}

void raw_packer_destroy(struct raw_packer *p)
{
    if (p == NULL)
        return;
    ZSTD_freeCCtx(p->zstd);
    free(p);
}

/* Of everything but itself; the key too, so that no value passes under another
 * one. */
static uint64_t checksum(const struct raw_key *key, struct bytes value)
{
    uint8_t raw[RAW_KEY_SIZE];
    raw_key_put(raw, key);
    uint64_t seed = XXH3_64bits(raw, sizeof raw);
    return XXH3_64bits_withSeed(value.data + 8, value.size - 8, seed);
}

int raw_chunk_pack(struct raw_packer *p, const struct raw_chunk *c,
                   struct buf *out)
{
    size_t room = ZSTD_compressBound(c->entries.size);
    buf_clear(out);
    uint8_t *value = buf_reserve(out, RAW_HEAD_SIZE + room);
    if (value == NULL || buf_failed(&c->entries))
        return ERR_NOMEM;
    ASSERT(c->entries.size <= RAW_CHUNK_SIZE_MAX);
    size_t size =
        ZSTD_compressCCtx(p->zstd, value + RAW_HEAD_SIZE, room, c->entries.data,
                          c->entries.size, RAW_LEVEL);
    if (ZSTD_isError(size)) /* there is room: only memory can be short */
        return ERR_NOMEM;
    le32_put(value + 8, RAW_CHUNK_FORMAT);
    le32_put(value + 12, c->count);
    le64_put(value + 16, c->last);
    le64_put(value + 24, c->last_ms);
    le32_put(value + 32, (uint32_t)c->entries.size);
    le32_put(value + 36, 0);
    out->size = RAW_HEAD_SIZE + size;
    le64_put(value, checksum(&c->key, buf_bytes(out)));
    return 0;
}

/* --- reading -------------------------------------------------------------- */

static int read_head(const struct raw_key *key, struct bytes value,
                     struct raw_chunk *out, uint32_t *size)
{
    *out = (struct raw_chunk){.key = *key};
    if (value.size < RAW_HEAD_SIZE)
        return ERR_CORRUPT;
    uint32_t format = le32_get(value.data + 8);
    if (format > RAW_CHUNK_FORMAT)
        return ERR_NEWER;
    out->count = le32_get(value.data + 12);
    out->last = le64_get(value.data + 16);
    out->last_ms = le64_get(value.data + 24);
    *size = le32_get(value.data + 32);
    bool good = format == RAW_CHUNK_FORMAT && out->count > 0 &&
                out->last >= key->first && out->last != UINT64_MAX &&
                *size > 0 && *size <= RAW_CHUNK_SIZE_MAX &&
                le32_get(value.data + 36) == 0;
    return good ? 0 : ERR_CORRUPT;
}

int raw_chunk_peek(const struct raw_key *key, struct bytes value,
                   struct raw_chunk *out)
{
    uint32_t size;
    return read_head(key, value, out, &size);
}

int raw_chunk_unpack(const struct raw_key *key, struct bytes value,
                     struct raw_chunk *out)
{
    uint32_t size;
    int rc = read_head(key, value, out, &size);
    if (rc != 0)
        return rc;
    if (le64_get(value.data) != checksum(key, value))
        return ERR_CORRUPT;
    uint8_t *entries = buf_reserve(&out->entries, size);
    if (entries == NULL)
        return ERR_NOMEM;
    size_t got = ZSTD_decompress(entries, size, value.data + RAW_HEAD_SIZE,
                                 value.size - RAW_HEAD_SIZE);
    if (ZSTD_isError(got) || got != size)
        return ERR_CORRUPT;
    out->entries.size = size;
    return 0;
}

struct raw_reader raw_reader_of(const struct raw_chunk *c)
{
    return (struct raw_reader){.rest = reader_of(buf_bytes(&c->entries)),
                               .index = c->key.first,
                               .last = c->last,
                               .left = c->count};
}

int raw_reader_next(struct raw_reader *r, uint64_t *index, struct bytes *entry)
{
    if (r->left == 0)
        return r->rest.size == 0 && r->index == r->last ? 0 : ERR_CORRUPT;
    uint64_t step = reader_varint(&r->rest);
    *entry = reader_bytes(&r->rest);
    if (r->rest.failed || (step == 0) == r->begun || step > r->last - r->index)
        return ERR_CORRUPT;
    r->begun = true;
    r->left--;
    *index = r->index += step;
    return 1;
}
