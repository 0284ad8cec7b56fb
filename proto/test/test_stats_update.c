/* defguard's StatsUpdate and the keys in it: golden bytes written by hand from
 * the protobuf encoding, round trips, and what each kind of bad input is told.
 */
#include "proto/report.h"

#include "proto/key_text.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define RAW(...)                                                               \
    (struct bytes)                                                             \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

/* of the bytes 1 to 32 */
#define KEY_BASE64 "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

static void assert_text(struct bytes value, const char *expected)
{
    assert_int_equal(value.size, strlen(expected));
    if (value.size > 0)
        assert_memory_equal(value.data, expected, value.size);
}

static void assert_update_refused(struct bytes message, const char *expected)
{
    struct stat_report report;
    bool has_peer;
    struct errmsg e = {{0}};

    assert_int_equal(stats_update_decode(message, &report, &has_peer, &e),
                     ERR_INVALID);
    assert_string_equal(e.text, expected);
}

static void put_stats(struct buf *out, const char *key_text,
                      struct bytes fields)
{
    buf_put(out, (uint8_t[]){0x08, 2, 0x1a}, 3);
    buf_put_varint(out, 2 + strlen(key_text) + fields.size);
    buf_put_u8(out, 0x0a);
    buf_put_string(out, key_text);
    buf_put(out, fields.data, fields.size);
}

static void assert_key_refused(const char *key_text)
{
    struct buf message = {0};

    put_stats(&message, key_text, (struct bytes){0});
    assert_update_refused(
        buf_bytes(&message),
        "peer_stats.public_key: not 32 bytes in base64 with padding");
    buf_deinit(&message);
}

static void a_stats_update_is_read_and_written_as_its_bytes(void **state)
{
    (void)state;
    struct buf golden = {0}, out = {0};
    struct stat_report report;
    bool has_peer = false;

    put_stats(&golden, KEY_BASE64,
              RAW(0x12, 3, 'a', ':', '1', 0x18, 0x96, 0x01, 0x20, 4, 0x28, 25,
                  0x30, 6, 0x3a, 2, 'i', 'p'));
    assert_int_equal(
        stats_update_decode(buf_bytes(&golden), &report, &has_peer, NULL), 0);
    assert_true(has_peer);
    for (size_t i = 0; i < REPORT_KEY_SIZE; i++)
        assert_int_equal(report.public_key[i], i + 1);
    assert_text(report.endpoint, "a:1");
    assert_int_equal(report.upload, 150);
    assert_int_equal(report.download, 4);
    assert_int_equal(report.keepalive_interval_s, 25);
    assert_int_equal(report.latest_handshake, 6);
    assert_text(report.allowed_ips, "ip");
    assert_false(report.from_zero);

    stats_update_encode(&out, 2, &report);
    assert_true(bytes_equal(buf_bytes(&out), buf_bytes(&golden)));
    buf_clear(&out);
    stat_report_join_allowed_ips(&report, &out);
    assert_text(buf_bytes(&out), "ip");
    buf_deinit(&out);
    buf_deinit(&golden);
}

static void an_empty_payload_has_no_peer(void **state)
{
    (void)state;
    struct stat_report report;
    bool has_peer = true;

    assert_int_equal(
        stats_update_decode(RAW(0x08, 2, 0x12, 0), &report, &has_peer, NULL),
        0);
    assert_false(has_peer);
    has_peer = true;
    assert_int_equal(
        stats_update_decode((struct bytes){0}, &report, &has_peer, NULL), 0);
    assert_false(has_peer);
}

static void of_two_payloads_the_last_one_counts_whole(void **state)
{
    (void)state;
    struct buf message = {0};
    struct stat_report report;
    bool has_peer = false;

    put_stats(&message, "no key", RAW(0x18, 5, 0x20, 6));
    buf_put(&message, (uint8_t[]){0x12, 0}, 2);
    assert_int_equal(
        stats_update_decode(buf_bytes(&message), &report, &has_peer, NULL), 0);
    assert_false(has_peer);
    put_stats(&message, KEY_BASE64, RAW(0x18, 7));
    assert_int_equal(
        stats_update_decode(buf_bytes(&message), &report, &has_peer, NULL), 0);
    assert_true(has_peer);
    assert_int_equal(report.upload, 7);
    assert_int_equal(report.download, 0);
    buf_deinit(&message);
}

static void only_strict_base64_of_32_bytes_is_a_key(void **state)
{
    (void)state;
    assert_key_refused("");
    assert_key_refused(
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA"); /* no = */
    assert_key_refused(
        "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyB="); /* bit */
    assert_key_refused("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAh"); /* 33 */
    assert_key_refused("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHy==");
    assert_key_refused("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n");
    assert_key_refused("-QIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    assert_key_refused(" QIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=");
    /* which libsodium takes for a digit */
    assert_key_refused("1YipCFbuHmluv\341sWieE+eQqM1nHmVKDCDHkGuloiW+U=");
}

static void keys_survive_the_way_through_text(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        uint8_t raw[KEY_SIZE], back[KEY_SIZE] = {0};
        char text[KEY_TEXT_LENGTH + 1];
        for (unsigned k = 0; k < KEY_SIZE; k++)
            raw[k] = (uint8_t)(i * (k + 1) + (k == 31 ? i : 0));
        key_to_text(raw, text);
        assert_int_equal(strlen(text), KEY_TEXT_LENGTH);
        assert_true(key_from_text(bytes_of_string(text), back));
        assert_memory_equal(back, raw, KEY_SIZE);
    }
}

static void a_bad_stats_update_is_refused_by_field(void **state)
{
    (void)state;
    struct buf message = {0};

    put_stats(&message, KEY_BASE64, RAW(0x12, 1, 0));
    assert_update_refused(buf_bytes(&message),
                          "peer_stats.endpoint: not UTF-8 text without NUL");
    buf_clear(&message);
    put_stats(&message, KEY_BASE64, RAW(0x3a, 1, 0xff));
    assert_update_refused(buf_bytes(&message),
                          "peer_stats.allowed_ips: not UTF-8 text without NUL");
    buf_clear(&message);
    put_stats(&message, KEY_BASE64, RAW(0x30, 0x80));
    assert_update_refused(buf_bytes(&message),
                          "peer_stats.latest_handshake: cut");
    assert_update_refused(RAW(0x12, 1, 0x80), "empty.tag: cut");
    assert_update_refused(RAW(0x10, 1), "empty: wrong wire type");
    assert_update_refused(RAW(0x1a, 2, 0),
                          "peer_stats: cut: longer than what holds it");
    buf_deinit(&message);
}

static void allowed_ips_too_long_to_show_are_left_out(void **state)
{
    (void)state;
    struct buf message = {0}, field = {0};
    struct stat_report report;
    bool has_peer = false;

    buf_put(&field, (uint8_t[]){0x3a, 0xc0, 0x01}, 3);
    for (int i = 0; i < 192; i++)
        buf_put_u8(&field, '1');
    put_stats(&message, KEY_BASE64, buf_bytes(&field));
    assert_int_equal(
        stats_update_decode(buf_bytes(&message), &report, &has_peer, NULL), 0);
    assert_true(has_peer);
    assert_int_equal(report.allowed_ips.size, 0);
    buf_deinit(&field);
    buf_deinit(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stats_update_is_read_and_written_as_its_bytes),
        cmocka_unit_test(an_empty_payload_has_no_peer),
        cmocka_unit_test(of_two_payloads_the_last_one_counts_whole),
        cmocka_unit_test(only_strict_base64_of_32_bytes_is_a_key),
        cmocka_unit_test(keys_survive_the_way_through_text),
        cmocka_unit_test(a_bad_stats_update_is_refused_by_field),
        cmocka_unit_test(allowed_ips_too_long_to_show_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
