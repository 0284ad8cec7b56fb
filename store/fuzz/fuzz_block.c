/* Minute and checkpoint blocks as a damaged file might hold them. The first
 * byte chooses the decoder, then comes the key, then the value. What decodes is
 * in order, and what is encoded again decodes to the same. */
#include "base/assert.h"
#include "store/block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void minute_block(struct bytes key, struct bytes value)
{
    struct block_reader r, again;
    struct cell cell, last = {0}, back;
    if (block_open(&r, key, value) != 0)
        return;
    struct block_writer w = {0};
    size_t count = 0;
    while (block_next(&r, &cell) > 0) {
        ASSERT(count == 0 || cell_compare(&last, &cell) < 0);
        if (count++ == 0)
            block_start(&w, &cell);
        else
            block_add(&w, &cell);
        last = cell;
    }
    if (count > 0) {
        ASSERT(block_open(&again, (struct bytes){w.key, BLOCK_KEY_SIZE},
                          buf_bytes(&w.value)) == 0);
        for (; count > 0; count--)
            ASSERT(block_next(&again, &back) == 1);
        ASSERT(cell_compare(&back, &last) == 0 && back.upload == last.upload &&
               back.download == last.download);
        ASSERT(block_next(&again, &back) == 0);
    }
    block_writer_deinit(&w);
}

static void checkpoint_block(struct bytes key, struct bytes value)
{
    struct block_reader r, again;
    struct slot slot, last = {0}, back;
    if (checkpoint_open(&r, key, value) != 0)
        return;
    struct block_writer w = {0};
    size_t count = 0;
    while (checkpoint_next(&r, &slot) > 0) {
        ASSERT(count == 0 ||
               slot_key_compare(slot_key_of(&last), slot_key_of(&slot)) < 0);
        if (count++ == 0)
            checkpoint_start(&w, r.base_ms, &slot);
        else
            checkpoint_add(&w, &slot);
        last = slot;
    }
    if (count > 0) {
        ASSERT(checkpoint_open(&again,
                               (struct bytes){w.key, CHECKPOINT_KEY_SIZE},
                               buf_bytes(&w.value)) == 0);
        for (; count > 0; count--)
            ASSERT(checkpoint_next(&again, &back) == 1);
        ASSERT(back.last.time_ms == last.last.time_ms &&
               back.last.origin == last.last.origin &&
               back.last.handshake_s == last.last.handshake_s &&
               back.open[0].upload == last.open[0].upload &&
               back.open[1].minute == last.open[1].minute);
    }
    block_writer_deinit(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t key_size = data[0] % 2 == 0 ? BLOCK_KEY_SIZE : CHECKPOINT_KEY_SIZE;
    if (size < 1 + key_size)
        return 0;
    struct bytes key = {data + 1, key_size};
    struct bytes value = {data + 1 + key_size, size - 1 - key_size};
    if (data[0] % 2 == 0)
        minute_block(key, value);
    else
        checkpoint_block(key, value);
    return 0;
}
