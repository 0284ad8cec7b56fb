#include "base/bytes.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static bool is_text(const char *raw, size_t size)
{
    return bytes_are_text((struct bytes){(const uint8_t *)raw, size});
}

static void varints_of_every_length_survive_a_round_trip(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        uint64_t values[] = {(uint64_t)1 << bit, ((uint64_t)1 << bit) - 1,
                             UINT64_MAX >> bit};
        for (size_t i = 0; i < 3; i++) {
            uint8_t raw[VARINT_SIZE_MAX];
            size_t size = varint_put(raw, values[i]);
            uint64_t back = ~values[i];
            assert_int_equal(varint_get(raw, size, &back), size);
            assert_true(back == values[i]);
            assert_int_equal(varint_get(raw, size - 1, &back), 0);
        }
    }
}

static void what_follows_a_varint_is_none_of_it(void **state)
{
    (void)state;
    static const uint8_t followers[] = {0x00, 0x7f, 0x80, 0xff};
    for (int bit = 0; bit < 64; bit++)
        for (size_t f = 0; f < sizeof followers; f++) {
            uint64_t value = UINT64_C(0xa5a5a5a5a5a5a5a5) >> bit, back = 0;
            uint8_t raw[2 * VARINT_SIZE_MAX];
            memset(raw, followers[f], sizeof raw);
            size_t size = varint_put(raw, value);
            assert_int_equal(varint_get(raw, sizeof raw, &back), size);
            assert_true(back == value);
        }
}

static void a_varint_beyond_64_bits_is_refused(void **state)
{
    (void)state;
    uint8_t raw[11];
    memset(raw, 0xff, sizeof raw);
    uint64_t value;
    assert_int_equal(varint_get(raw, sizeof raw, &value), 0);
    raw[9] = 0x02; /* bit 64 */
    assert_int_equal(varint_get(raw, sizeof raw, &value), 0);
    raw[9] = 0x01;
    assert_int_equal(varint_get(raw, sizeof raw, &value), 10);
    assert_true(value == UINT64_MAX);
}

static void zigzag_keeps_small_numbers_small(void **state)
{
    (void)state;
    assert_int_equal(zigzag(-1), 1);
    assert_int_equal(zigzag(1), 2);
    int64_t values[] = {0, 1, -1, INT64_MAX, INT64_MIN, 123456789, -987654321};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        assert_true(unzigzag(zigzag(values[i])) == values[i]);
}

static void utf8_is_checked_to_the_letter_of_the_rfc(void **state)
{
    (void)state;
    assert_true(is_text("", 0));
    assert_true(is_text("gateway \xc3\xa9 \xe2\x82\xac \xf0\x9f\x9a\x80", 19));
    assert_false(is_text("a\0b", 3));
    assert_false(is_text("\xc0\xaf", 2));         /* overlong */
    assert_false(is_text("\xe0\x80\xaf", 3));     /* overlong */
    assert_false(is_text("\xed\xa0\x80", 3));     /* surrogate */
    assert_false(is_text("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
    assert_false(is_text("\xe2\x82", 2));         /* cut */
    assert_false(is_text("\x80", 1));
}

/* They are looked at eight at a time. */
static void one_bad_byte_anywhere_makes_no_text(void **state)
{
    (void)state;
    static const char bad[] = {'\0', (char)0x80, (char)0xff};
    char raw[40];
    for (size_t size = 1; size <= sizeof raw; size++)
        for (size_t at = 0; at < size; at++) {
            memset(raw, at % 2 == 0 ? 0x01 : 0x7f, sizeof raw);
            assert_true(is_text(raw, size));
            for (size_t i = 0; i < sizeof bad; i++) {
                raw[at] = bad[i];
                assert_false(is_text(raw, size));
            }
            if (at + 1 < size) {
                memcpy(raw + at, "\xc3\xa9", 2);
                assert_true(is_text(raw, size));
            }
        }
}

static void a_reader_that_runs_out_fails_once_and_for_all(void **state)
{
    (void)state;
    const uint8_t raw[] = {0x01, 0x02, 0x03};
    struct reader r = reader_of((struct bytes){raw, sizeof raw});
    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_u32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0);
}

static void a_length_beyond_the_input_is_refused(void **state)
{
    (void)state;
    const uint8_t raw[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 'x'};
    struct reader r = reader_of((struct bytes){raw, sizeof raw});
    assert_int_equal(reader_bytes(&r).size, 0);
    assert_true(r.failed);
}

static void what_a_buffer_takes_a_reader_gives_back(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_put_u8(&b, 7);
    buf_put_u32(&b, 0xdeadbeef);
    buf_put_u64(&b, 0x0123456789abcdefULL);
    buf_put_varint(&b, 300);
    buf_put_string(&b, "peer");
    buf_printf(&b, "%03d", 42);
    assert_false(buf_failed(&b));

    struct reader r = reader_of(buf_bytes(&b));
    assert_int_equal(reader_u8(&r), 7);
    assert_int_equal(reader_u32(&r), 0xdeadbeef);
    assert_true(reader_u64(&r) == 0x0123456789abcdefULL);
    assert_int_equal(reader_varint(&r), 300);
    assert_true(bytes_equal(reader_bytes(&r), bytes_of_string("peer")));
    assert_true(bytes_equal(reader_take(&r, 3), bytes_of_string("042")));
    assert_false(r.failed);
    assert_int_equal(r.size, 0);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_of_every_length_survive_a_round_trip),
        cmocka_unit_test(what_follows_a_varint_is_none_of_it),
        cmocka_unit_test(a_varint_beyond_64_bits_is_refused),
        cmocka_unit_test(zigzag_keeps_small_numbers_small),
        cmocka_unit_test(utf8_is_checked_to_the_letter_of_the_rfc),
        cmocka_unit_test(one_bad_byte_anywhere_makes_no_text),
        cmocka_unit_test(a_reader_that_runs_out_fails_once_and_for_all),
        cmocka_unit_test(a_length_beyond_the_input_is_refused),
        cmocka_unit_test(what_a_buffer_takes_a_reader_gives_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
