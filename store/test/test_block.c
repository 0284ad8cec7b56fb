#include "store/block.h"
#include "store/meta.h"
#include "store/totals.h"

#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct bytes key_of(const struct block_writer *w, size_t size)
{
    return (struct bytes){w->key, size};
}

static struct cell cell_at(uint32_t device, uint32_t gateway, uint64_t up,
                           uint64_t down)
{
    return (struct cell){.bucket = 28333333,
                         .location = 7,
                         .device = device,
                         .gateway = gateway,
                         .upload = up,
                         .download = down};
}

static void cells_come_back_from_a_block(void **state)
{
    (void)state;
    const struct cell cells[] = {
        cell_at(1, 9, 1, 0),
        cell_at(1, 10, 0, UINT64_MAX),
        cell_at(2, 3, 77, 88),
        cell_at(3, 3, 5, 5),
        cell_at(UINT32_MAX, UINT32_MAX, 1, 1),
    };
    const size_t count = sizeof cells / sizeof *cells;
    struct block_writer w = {0};
    block_start(&w, &cells[0]);
    for (size_t i = 1; i < count; i++)
        block_add(&w, &cells[i]);
    struct block_reader r;
    struct cell cell;
    assert_int_equal(
        block_open(&r, key_of(&w, BLOCK_KEY_SIZE), buf_bytes(&w.value)), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(block_next(&r, &cell), 1);
        assert_int_equal(cell_compare(&cell, &cells[i]), 0);
        assert_int_equal(cell.upload, cells[i].upload);
        assert_int_equal(cell.download, cells[i].download);
    }
    assert_int_equal(block_next(&r, &cell), 0);
    block_writer_deinit(&w);
}

static void a_row_of_the_same_gateway_takes_a_byte_and_its_numbers(void **state)
{
    (void)state;
    struct block_writer w = {0};
    struct cell first = cell_at(1, 9, 1, 1), second = cell_at(2, 9, 1, 1);
    block_start(&w, &first);
    assert_int_equal(w.value.size, 1 + 3);
    block_add(&w, &second);
    assert_int_equal(w.value.size, 1 + 3 + 3);
    block_writer_deinit(&w);
}

/* Every prefix, and every byte changed to every value: an error or cells, and
 * never cells out of order. Sanitizers watch the rest. */
static void check_block_bytes(struct bytes key, struct bytes value)
{
    struct block_reader r;
    struct cell cell, last = {0};
    if (block_open(&r, key, value) != 0)
        return;
    int rc;
    size_t count = 0;
    while ((rc = block_next(&r, &cell)) > 0) {
        assert_true(count++ == 0 || cell_compare(&last, &cell) < 0);
        last = cell;
    }
    assert_true(rc == ERR_CORRUPT || (rc == 0 && count > 0));
}

static void damage_to_a_block_is_an_error_or_cells_in_order(void **state)
{
    (void)state;
    struct block_writer w = {0};
    struct cell cells[] = {cell_at(1, 9, 1000, 2), cell_at(1, 10, 3, 70000),
                           cell_at(5, 10, 1, 1)};
    block_start(&w, &cells[0]);
    block_add(&w, &cells[1]);
    block_add(&w, &cells[2]);
    struct bytes key = key_of(&w, BLOCK_KEY_SIZE);
    for (size_t size = 0; size < w.value.size; size++) {
        uint8_t *exact = malloc(size + 1);
        assert_non_null(exact);
        memcpy(exact, w.value.data, size);
        check_block_bytes(key, (struct bytes){exact, size});
        free(exact);
    }
    for (size_t at = 0; at < w.value.size; at++) {
        uint8_t saved = w.value.data[at];
        for (int b = 0; b < 256; b++) {
            w.value.data[at] = (uint8_t)b;
            check_block_bytes(key, buf_bytes(&w.value));
        }
        w.value.data[at] = saved;
    }
    block_writer_deinit(&w);
}

static void a_block_without_rows_is_damaged(void **state)
{
    (void)state;
    uint8_t key[BLOCK_KEY_SIZE] = {0}, value = BLOCK_VERSION;
    struct block_reader r;
    struct cell cell;
    assert_int_equal(block_open(&r, (struct bytes){key, sizeof key},
                                (struct bytes){&value, 1}),
                     0);
    assert_int_equal(block_next(&r, &cell), ERR_CORRUPT);
    assert_int_equal(
        block_open(&r, (struct bytes){key, 15}, (struct bytes){&value, 1}),
        ERR_CORRUPT);
    value = BLOCK_VERSION + 1;
    assert_int_equal(block_open(&r, (struct bytes){key, sizeof key},
                                (struct bytes){&value, 1}),
                     ERR_CORRUPT);
}

static struct slot slot_at(uint32_t device, uint32_t gateway, uint64_t seed)
{
    return (struct slot){
        .location = 3,
        .device = device,
        .gateway = gateway,
        .last = {.upload = seed,
                 .download = seed * 3,
                 .handshake_s = seed % 2 == 0 ? 0 : UINT64_MAX,
                 .time_ms = seed,
                 .origin = seed % 40},
        .seen_ms = UINT64_MAX - seed,
        .open = {{.upload = seed, .download = 1, .minute = 28, .used = true},
                 {.upload = 2,
                  .download = seed,
                  .minute = 29,
                  .used = seed % 3 == 0}},
        .partial = {{.upload = seed * 5, .download = 3}, {.upload = 1}},
        .partial_used = {seed % 5 == 0, seed % 2 == 0},
        .connected_s = seed % 7 == 0 ? 0 : seed,
    };
}

static void assert_slot(const struct slot *got, const struct slot *want)
{
    assert_int_equal(slot_key_compare(slot_key_of(got), slot_key_of(want)), 0);
    assert_int_equal(got->last.upload, want->last.upload);
    assert_int_equal(got->last.download, want->last.download);
    assert_int_equal(got->last.handshake_s, want->last.handshake_s);
    assert_int_equal(got->last.time_ms, want->last.time_ms);
    assert_int_equal(got->last.origin, want->last.origin);
    assert_int_equal(got->seen_ms, want->seen_ms);
    assert_int_equal(got->connected_s, want->connected_s);
    for (size_t i = 0; i < PARTIALS; i++) {
        assert_int_equal(got->partial_used[i], want->partial_used[i]);
        if (!want->partial_used[i])
            continue;
        assert_int_equal(got->partial[i].upload, want->partial[i].upload);
        assert_int_equal(got->partial[i].download, want->partial[i].download);
    }
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(got->open[i].used, want->open[i].used);
        if (!want->open[i].used)
            continue;
        assert_int_equal(got->open[i].minute, want->open[i].minute);
        assert_int_equal(got->open[i].upload, want->open[i].upload);
        assert_int_equal(got->open[i].download, want->open[i].download);
    }
}

static void slots_come_back_from_a_checkpoint_block(void **state)
{
    (void)state;
    /* More origins than the block remembers. */
    enum { COUNT = 80 };
    struct slot slots[COUNT];
    struct block_writer w = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        slots[i] = slot_at(i / 2, i % 2 + 1, (uint64_t)i * 977);
        if (i == 0)
            checkpoint_start(&w, 1700000000123, &slots[i]);
        else
            checkpoint_add(&w, &slots[i]);
    }
    struct block_reader r;
    struct slot slot;
    assert_int_equal(checkpoint_open(&r, key_of(&w, CHECKPOINT_KEY_SIZE),
                                     buf_bytes(&w.value)),
                     0);
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(checkpoint_next(&r, &slot), 1);
        assert_slot(&slot, &slots[i]);
    }
    assert_int_equal(checkpoint_next(&r, &slot), 0);
    block_writer_deinit(&w);
}

static void damage_to_a_checkpoint_is_an_error_or_slots_in_order(void **state)
{
    (void)state;
    struct slot a = slot_at(1, 1, 3), b = slot_at(1, 2, 6);
    struct block_writer w = {0};
    checkpoint_start(&w, 1700000000123, &a);
    checkpoint_add(&w, &b);
    for (size_t at = 0; at < w.value.size; at++) {
        uint8_t saved = w.value.data[at];
        for (int v = 0; v < 256; v++) {
            w.value.data[at] = (uint8_t)v;
            struct block_reader r;
            struct slot slot, last = {0};
            if (checkpoint_open(&r, key_of(&w, CHECKPOINT_KEY_SIZE),
                                buf_bytes(&w.value)) != 0)
                continue;
            size_t count = 0;
            int rc;
            while ((rc = checkpoint_next(&r, &slot)) > 0) {
                assert_true(count++ == 0 ||
                            slot_key_compare(slot_key_of(&last),
                                             slot_key_of(&slot)) < 0);
                last = slot;
            }
            assert_true(rc == ERR_CORRUPT || count > 0);
        }
        w.value.data[at] = saved;
    }
    for (size_t size = 0; size < w.value.size; size++) {
        struct block_reader r;
        struct slot slot;
        int rc = checkpoint_open(&r, key_of(&w, CHECKPOINT_KEY_SIZE),
                                 (struct bytes){w.value.data, size});
        while (rc == 0 && (rc = checkpoint_next(&r, &slot)) > 0)
            rc = 0;
    }
    block_writer_deinit(&w);
}

/* Golden bytes of format 2: a change here needs a new format number. */
static void the_bytes_of_format_2_are_these(void **state)
{
    (void)state;
    struct block_writer w = {0};
    struct cell a = cell_at(2, 9, 300, 5), b = cell_at(4, 10, 1, 0);
    block_start(&w, &a);
    block_add(&w, &b);
    const uint8_t key[] = {0x01, 0xb0, 0x55, 0x15, 0, 0, 0, 7,
                           0,    0,    0,    2,    0, 0, 0, 9};
    const uint8_t value[] = {1, 0, 0xac, 0x02, 5, 5, 10, 1, 0};
    assert_memory_equal(w.key, key, sizeof key);
    assert_int_equal(w.value.size, sizeof value);
    assert_memory_equal(w.value.data, value, sizeof value);
    struct slot slot = {.location = 1,
                        .device = 2,
                        .gateway = 3,
                        .last = {.upload = 4,
                                 .download = 5,
                                 .handshake_s = 59,
                                 .time_ms = 60001,
                                 .origin = 0x0102030405060708},
                        .seen_ms = 60000,
                        .connected_s = 58,
                        .open[1] = {6, 7, 1, true},
                        .partial[1] = {8, 9},
                        .partial_used[1] = true};
    checkpoint_start(&w, 60000, &slot);
    const uint8_t checkpoint[] = {1, 0xe0, 0xd4, 0x03, 0, 0, 8, 7, 6,
                                  5, 4,    3,    2,    1, 4, 5, 2, 1,
                                  0, 26,   0,    6,    7, 8, 9, 4};
    assert_int_equal(w.value.size, sizeof checkpoint);
    assert_memory_equal(w.value.data, checkpoint, sizeof checkpoint);
    block_writer_deinit(&w);
    uint8_t total_key[TOTAL_KEY_SIZE];
    total_key_put(total_key, TIER_DAY, 1, 2, 3);
    assert_memory_equal(total_key, "\3\0\0\0\1\0\0\0\2\0\0\0\3", 13);
}

static void a_meta_record_survives_and_every_flipped_bit_is_seen(void **state)
{
    (void)state;
    struct meta meta = {.applied_index = 5,
                        .applied_term = 6,
                        .log_time_ms = 7,
                        .generation = 8,
                        .horizon = {9, 12, 13},
                        .cluster_id = {10, 11}};
    uint8_t raw[META_SIZE];
    meta_put(raw, &meta);
    struct bytes stored = {raw, sizeof raw};
    struct meta back;
    struct errmsg e;
    assert_int_equal(meta_get(stored, &back, &e), 0);
    uint8_t again[META_SIZE];
    meta_put(again, &back);
    assert_memory_equal(again, raw, sizeof raw);
    assert_int_equal(back.applied_index, 5);
    assert_int_equal(back.horizon[TIER_DAY], 13);
    for (size_t bit = 0; bit < META_SIZE * 8; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(meta_get(stored, &back, &e), ERR_CORRUPT);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    stored.size = 3;
    assert_int_equal(meta_get(stored, &back, &e), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_come_back_from_a_block),
        cmocka_unit_test(
            a_row_of_the_same_gateway_takes_a_byte_and_its_numbers),
        cmocka_unit_test(damage_to_a_block_is_an_error_or_cells_in_order),
        cmocka_unit_test(a_block_without_rows_is_damaged),
        cmocka_unit_test(slots_come_back_from_a_checkpoint_block),
        cmocka_unit_test(damage_to_a_checkpoint_is_an_error_or_slots_in_order),
        cmocka_unit_test(the_bytes_of_format_2_are_these),
        cmocka_unit_test(a_meta_record_survives_and_every_flipped_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
