/* Chunks of raw reports as a damaged or foreign file might hold them: the key,
 * then the value. Also with the checksum put right, and with what follows the
 * head as the entries themselves, or no fuzzer gets behind checksum and zstd.
 * What decodes is packed again, which must decode to the same. */
#include "base/assert.h"
#include "store/raw_chunk.h"

#include <stdlib.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct raw_chunk *a, const struct raw_chunk *b)
{
    ASSERT(a->key.first == b->key.first && a->key.after == b->key.after &&
           a->key.first_ms == b->key.first_ms && a->key.cut == b->key.cut);
    ASSERT(a->last == b->last && a->last_ms == b->last_ms);
    ASSERT(a->count == b->count);
}

/* Appends the entries as our writer would; false if they do not decode. */
static bool copy_entries(const struct raw_chunk *c, struct raw_chunk *out)
{
    struct raw_reader r = raw_reader_of(c);
    uint64_t index;
    struct bytes entry;
    int rc;
    *out = (struct raw_chunk){.key = c->key};
    while ((rc = raw_reader_next(&r, &index, &entry)) == 1)
        raw_chunk_add(out, index, c->last_ms, entry);
    out->key.first_ms = c->key.first_ms;
    ASSERT(!buf_failed(&out->entries));
    return rc == 0;
}

static void read_chunk(const struct raw_chunk *c)
{
    struct raw_chunk copy, back;
    if (copy_entries(c, &copy)) {
        struct raw_packer *packer;
        struct buf value = {0};
        check_same(c, &copy);
        ASSERT(c->last + 1 > c->key.first); /* where a walk goes on */
        ASSERT(raw_packer_create(&packer) == 0);
        ASSERT(raw_chunk_pack(packer, &copy, &value) == 0);
        ASSERT(raw_chunk_unpack(&copy.key, buf_bytes(&value), &back) == 0);
        check_same(&copy, &back);
        ASSERT(bytes_equal(buf_bytes(&copy.entries), buf_bytes(&back.entries)));
        raw_chunk_deinit(&back);
        buf_deinit(&value);
        raw_packer_destroy(packer);
    }
    raw_chunk_deinit(&copy);
}

static void unpack(const struct raw_key *key, struct bytes value)
{
    struct raw_chunk c, head;
    int rc = raw_chunk_unpack(key, value, &c);
    if (rc == 0) {
        ASSERT(raw_chunk_peek(key, value, &head) == 0);
        check_same(&head, &c);
        read_chunk(&c);
    }
    raw_chunk_deinit(&c);
}

static void put_checksum_right(const uint8_t *raw_key, uint8_t *value,
                               size_t size)
{
    uint64_t seed = XXH3_64bits(raw_key, RAW_KEY_SIZE);
    le64_put(value, XXH3_64bits_withSeed(value + 8, size - 8, seed));
}

static void read_as_entries(const struct raw_key *key, struct bytes value)
{
    struct raw_chunk c;
    if (raw_chunk_peek(key, value, &c) != 0)
        return;
    buf_put(&c.entries, value.data + RAW_HEAD_SIZE, value.size - RAW_HEAD_SIZE);
    if (c.entries.size > 0 && c.entries.size <= RAW_CHUNK_SIZE_MAX)
        read_chunk(&c);
    raw_chunk_deinit(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct raw_key key;
    if (size < RAW_KEY_SIZE ||
        raw_key_get((struct bytes){data, RAW_KEY_SIZE}, &key) != 0)
        return 0;
    struct bytes value = {data + RAW_KEY_SIZE, size - RAW_KEY_SIZE};
    uint8_t again[RAW_KEY_SIZE];
    raw_key_put(again, &key);
    ASSERT(memcmp(again, data, sizeof again) == 0);
    unpack(&key, value);
    if (value.size < RAW_HEAD_SIZE)
        return 0;
    uint8_t *right = malloc(value.size);
    ASSERT(right != NULL);
    memcpy(right, value.data, value.size);
    put_checksum_right(data, right, value.size);
    unpack(&key, (struct bytes){right, value.size});
    free(right);
    read_as_entries(&key, value);
    return 0;
}
