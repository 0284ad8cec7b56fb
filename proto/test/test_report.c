/* Our agents' messages: golden bytes written by hand from the protobuf
 * encoding, round trips, and what each kind of bad input is told. */
#include "proto/report.h"

#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- fixture and helpers ------------------------------------------------- */

static struct stat_report peers[REPORT_PEERS_MAX];

#define RAW(...)                                                               \
    (struct bytes)                                                             \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

#define KEY_BYTES                                                              \
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, \
        22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32

static const uint8_t key[REPORT_KEY_SIZE] = {KEY_BYTES};

/* session 1, sequence 1: what every batch here begins with */
#define HEAD 0x08, 1, 0x10, 1

static void assert_text(struct bytes value, const char *expected)
{
    assert_int_equal(value.size, strlen(expected));
    if (value.size > 0)
        assert_memory_equal(value.data, expected, value.size);
}

static void assert_batch_refused(struct bytes message, const char *expected)
{
    struct report_batch batch = {.peers = peers};
    struct errmsg e = {{0}};

    assert_int_equal(report_batch_decode(message, &batch, &e), ERR_INVALID);
    assert_string_equal(e.text, expected);
}

static struct report_batch accept_batch(struct bytes message)
{
    struct report_batch batch = {.peers = peers};
    struct errmsg e = {{0}};

    if (report_batch_decode(message, &batch, &e) != 0)
        fail_msg("refused: %s", e.text);
    return batch;
}

/* A batch with one peer, whose message is the key and @fields. */
static void put_one_peer(struct buf *out, struct bytes fields)
{
    const uint8_t head[] = {HEAD, 0x2a};

    buf_put(out, head, sizeof head);
    buf_put_varint(out, 34 + fields.size);
    buf_put_u8(out, 0x0a);
    buf_put_u8(out, 32);
    buf_put(out, key, sizeof key);
    buf_put(out, fields.data, fields.size);
}

static void assert_peer_refused(struct bytes fields, const char *expected)
{
    struct buf message = {0};

    put_one_peer(&message, fields);
    assert_batch_refused(buf_bytes(&message), expected);
    buf_deinit(&message);
}

/* --- ReportBatch --------------------------------------------------------- */

/* clang-format off */
static const uint8_t golden_batch[] = {
    0x08, 0x80, 0xf4, 0xaf, 0x9a, 0xa0, 0x34, /* session 1795351640576 */
    0x10, 0x07,                               /* sequence */
    0x18, 0xac, 0x02,                         /* sampled_at_ms 300 */
    0x2a, 0x56,                               /* peers, 86 bytes */
    0x0a, 0x20, KEY_BYTES,                    /*   public_key */
    0x10, 0x96, 0x01,                         /*   upload 150 */
    0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /*   download 2^64 - 1 */
    0xff, 0xff, 0xff, 0x01,
    0x20, 0x05,                               /*   latest_handshake */
    0x2a, 0x0b, '1', '9', '2', '.', '0', '.', /*   endpoint */
    '2', '.', '1', ':', '9',
    0x32, 0x08, '1', '0', '.', '0', '.', '0', /*   allowed_ips */
    '.', '2',
    0x32, 0x07, 'f', 'd', '0', '0', ':', ':', /*   allowed_ips */
    '2',
    0x38, 0x19,                               /*   keepalive_interval 25 */
    0x40, 0x01,                               /*   from_zero */
    0x2a, 0x22, 0x0a, 0x20, KEY_BYTES,        /* peers, an idle one */
    0x32, 0x02, 0xca, 0xfe,                   /* machine */
    0x38, 0x01,                               /* awaits_answer */
};
/* clang-format on */

static void a_batch_is_read_from_its_bytes(void **state)
{
    (void)state;
    struct report_batch b =
        accept_batch((struct bytes){golden_batch, sizeof golden_batch});

    assert_true(b.session == 1795351640576);
    assert_int_equal(b.sequence, 7);
    assert_int_equal(b.sampled_at_ms, 300);
    assert_int_equal(b.machine.size, 2);
    assert_true(b.awaits_answer);
    assert_int_equal(b.peer_count, 2);
    assert_memory_equal(b.peers[0].public_key, key, sizeof key);
    assert_int_equal(b.peers[0].upload, 150);
    assert_true(b.peers[0].download == UINT64_MAX);
    assert_int_equal(b.peers[0].latest_handshake, 5);
    assert_text(b.peers[0].endpoint, "192.0.2.1:9");
    assert_text(b.peers[0].allowed_ips, "10.0.0.2");
    assert_int_equal(b.peers[0].keepalive_interval_s, 25);
    assert_true(b.peers[0].from_zero);
    assert_int_equal(b.peers[1].upload, 0);
    assert_false(b.peers[1].from_zero);
    assert_int_equal(b.peers[1].endpoint.size, 0);
}

static void a_batch_is_written_as_its_bytes(void **state)
{
    (void)state;
    struct stat_report reports[2] = {
        {
            .upload = 150,
            .download = UINT64_MAX,
            .latest_handshake = 5,
            .endpoint = bytes_of_string("192.0.2.1:9"),
            .allowed_ips = bytes_of_string("10.0.0.2,fd00::2"),
            .keepalive_interval_s = 25,
            .from_zero = true,
        },
    };
    const struct report_batch batch = {
        .session = 1795351640576,
        .sequence = 7,
        .sampled_at_ms = 300,
        .machine = RAW(0xca, 0xfe),
        .peers = reports,
        .peer_count = 2,
        .awaits_answer = true,
    };
    struct buf out = {0};

    memcpy(reports[0].public_key, key, sizeof key);
    memcpy(reports[1].public_key, key, sizeof key);
    report_batch_encode(&out, &batch);
    assert_int_equal(out.size, sizeof golden_batch);
    assert_memory_equal(out.data, golden_batch, sizeof golden_batch);
    buf_deinit(&out);
}

static void a_peer_longer_than_one_length_byte_survives_the_round_trip(void **s)
{
    (void)s;
    char ips[REPORT_ALLOWED_IPS_LENGTH_MAX + 1];
    struct stat_report report = {.upload = 9};
    struct report_batch batch = {
        .session = 3, .sequence = 4, .peers = &report, .peer_count = 1};
    struct buf out = {0}, joined = {0};

    for (size_t i = 0; i < sizeof ips; i++)
        ips[i] = i % 10 == 9 ? ',' : '1';
    ips[REPORT_ALLOWED_IPS_LENGTH_MAX] = '\0';
    report.allowed_ips = bytes_of_string(ips);
    report_batch_encode(&out, &batch);
    struct report_batch back = accept_batch(buf_bytes(&out));
    assert_int_equal(back.session, 3);
    assert_int_equal(back.sequence, 4);
    assert_int_equal(back.peers[0].upload, 9);
    stat_report_join_allowed_ips(&back.peers[0], &joined);
    assert_text(buf_bytes(&joined), ips);
    buf_deinit(&out);
    buf_deinit(&joined);
}

static void unknown_fields_of_every_type_are_skipped(void **state)
{
    (void)state;
    struct report_batch b =
        accept_batch(RAW(0x20, 0x80, 0x01,                /* 4, varint */
                         HEAD,                            /* */
                         0x79, 1, 2, 3, 4, 5, 6, 7, 8,    /* 15, fixed64 */
                         0x82, 0x7d, 3, 'a', 'b', 'c',    /* 2000, bytes */
                         0xfd, 0xff, 0xff, 0xff, 0x0f, 1, /* 2^29 - 1, */
                         2, 3, 4));                       /* fixed32 */
    assert_int_equal(b.session, 1);
    assert_int_equal(b.sequence, 1);
    assert_int_equal(b.peer_count, 0);
}

static void of_a_field_that_comes_twice_the_last_one_counts(void **state)
{
    (void)state;
    struct buf message = {0};

    put_one_peer(&message, RAW(0x0a, 0x01, 'x', 0x10, 5, 0x0a, 0x20, KEY_BYTES,
                               0x10, 6, 0x2a, 1, 0xff, 0x2a, 0));
    buf_put(&message, (uint8_t[]){0x10, 9}, 2);
    struct report_batch b = accept_batch(buf_bytes(&message));
    assert_int_equal(b.sequence, 9);
    assert_memory_equal(b.peers[0].public_key, key, sizeof key);
    assert_int_equal(b.peers[0].upload, 6);
    assert_int_equal(b.peers[0].endpoint.size, 0);
    buf_deinit(&message);
}

static void a_keepalive_beyond_32_bits_is_cut_as_protobuf_does(void **state)
{
    (void)state;
    struct buf message = {0};

    put_one_peer(&message, RAW(0x38, 0x99, 0x80, 0x80, 0x80, 0x10));
    assert_int_equal(
        accept_batch(buf_bytes(&message)).peers[0].keepalive_interval_s, 25);
    buf_deinit(&message);
}

static void a_batch_without_its_numbers_is_refused(void **state)
{
    (void)state;
    assert_batch_refused((struct bytes){0},
                         "session: 0 or missing, must be at least 1");
    assert_batch_refused(RAW(0x10, 1),
                         "session: 0 or missing, must be at least 1");
    assert_batch_refused(RAW(0x08, 1),
                         "sequence: 0 or missing, must be at least 1");
    assert_batch_refused(RAW(0x08, 1, 0x10, 1, 0x10, 0),
                         "sequence: 0 or missing, must be at least 1");
}

static void bad_wire_bytes_are_refused_by_field(void **state)
{
    (void)state;
    assert_batch_refused(RAW(0x08), "session: cut");
    assert_batch_refused(RAW(0x08, 0xff), "session: cut");
    assert_batch_refused(RAW(0x80), "tag: cut");
    assert_batch_refused(RAW(HEAD, 0x2a, 1),
                         "peers: cut: longer than what holds it");
    assert_batch_refused(RAW(HEAD, 0x79, 1, 2),
                         "field 15: cut: longer than what holds it");
    assert_batch_refused(RAW(0x0a, 1, 1), "session: wrong wire type");
    assert_batch_refused(RAW(0x28, 1), "peers: wrong wire type");
    assert_batch_refused(
        RAW(0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02),
        "session: a varint of more than 64 bits");
    assert_batch_refused(RAW(HEAD, 0x82, 0x80, 0x80, 0x80, 0x80, 0x00),
                         "tag: a tag or length of more than 5 bytes");
    assert_batch_refused(RAW(HEAD, 0x32, 0x80, 0x80, 0x80, 0x80, 0x10),
                         "machine: a length of more than 32 bits");
    assert_batch_refused(RAW(HEAD, 0x4b, 0x4c),
                         "field 9: a group, or no wire type at all");
    assert_batch_refused(RAW(HEAD, 0x0f),
                         "session: a group, or no wire type at all");
    assert_batch_refused(RAW(HEAD, 0x00, 0x00), "tag: field number 0");
    assert_batch_refused(RAW(HEAD, 0x80, 0x00, 0x00), "tag: field number 0");
}

static void a_bad_peer_is_named_by_its_position(void **state)
{
    (void)state;
    struct buf message = {0};

    buf_put(&message, (uint8_t[]){HEAD}, 4);
    for (int i = 0; i < 17; i++)
        buf_put(&message, (uint8_t[]){0x2a, 34, 0x0a, 32, KEY_BYTES}, 36);
    size_t good = message.size;
    buf_put(&message, (uint8_t[]){0x2a, 33, 0x0a, 31, KEY_BYTES}, 35);
    assert_batch_refused(buf_bytes(&message),
                         "peers[17].public_key: 31 bytes, wanted 32");
    message.size = good;
    buf_put(&message, (uint8_t[]){0x2a, 0}, 2);
    assert_batch_refused(buf_bytes(&message),
                         "peers[17].public_key: 0 bytes, wanted 32");
    buf_deinit(&message);
}

static void a_bad_value_of_a_peer_is_named(void **state)
{
    (void)state;
    struct buf fields = {0};

    assert_peer_refused(RAW(0x2a, 1, 0xff),
                        "peers[0].endpoint: not UTF-8 text without NUL");
    assert_peer_refused(RAW(0x32, 2, 'a', 0),
                        "peers[0].allowed_ips: not UTF-8 text without NUL");
    assert_peer_refused(RAW(0x32, 1, 0xc0, 0x32, 1, 'a'),
                        "peers[0].allowed_ips: not UTF-8 text without NUL");
    assert_peer_refused(RAW(0x11, 1, 2, 3, 4, 5, 6, 7, 8),
                        "peers[0].upload: wrong wire type");
    assert_peer_refused(RAW(0x42, 1, 1), "peers[0].from_zero: wrong wire type");
    assert_peer_refused(RAW(0x18, 0x80), "peers[0].download: cut");

    buf_put(&fields, (uint8_t[]){0x2a, 64}, 2);
    for (int i = 0; i < 64; i++)
        buf_put_u8(&fields, 'x');
    assert_peer_refused(buf_bytes(&fields),
                        "peers[0].endpoint: 64 bytes, at most 63");
    buf_clear(&fields);
    buf_put(&fields, (uint8_t[]){0x32, 0xc0, 0x01}, 3);
    for (int i = 0; i < 192; i++)
        buf_put_u8(&fields, 'x');
    assert_peer_refused(buf_bytes(&fields),
                        "peers[0].allowed_ips: 192 bytes, at most 191");
    buf_deinit(&fields);
}

static void a_batch_beyond_its_limits_is_refused(void **state)
{
    (void)state;
    const uint8_t peer[] = {0x2a, 34, 0x0a, 32, KEY_BYTES};
    struct buf message = {0};

    buf_put(&message, (uint8_t[]){HEAD}, 4);
    for (int i = 0; i < REPORT_PEERS_MAX; i++)
        buf_put(&message, peer, sizeof peer);
    assert_int_equal(accept_batch(buf_bytes(&message)).peer_count,
                     REPORT_PEERS_MAX);
    buf_put(&message, peer, sizeof peer);
    assert_batch_refused(buf_bytes(&message),
                         "peers: more than 4096 in one batch: send the rest "
                         "with the next sequence");

    buf_clear(&message);
    buf_put(&message, (uint8_t[]){HEAD, 0x32, 65}, 6);
    for (int i = 0; i < 65; i++)
        buf_put_u8(&message, 0);
    assert_batch_refused(buf_bytes(&message), "machine: 65 bytes, at most 64");

    buf_clear(&message);
    uint8_t *room = buf_reserve(&message, REPORT_MESSAGE_SIZE_MAX + 1);
    assert_non_null(room);
    memset(room, 0, REPORT_MESSAGE_SIZE_MAX + 1);
    message.size = REPORT_MESSAGE_SIZE_MAX + 1;
    assert_batch_refused(buf_bytes(&message),
                         "message: 4194305 bytes, at most 4194304");
    buf_deinit(&message);
}

static void joined_allowed_ips_end_before_the_one_that_does_not_fit(void **s)
{
    (void)s;
    struct buf fields = {0}, message = {0}, joined = {0};

    for (int i = 0; i < 40; i++)
        buf_put(&fields, (uint8_t[]){0x32, 5, '1', '.', '2', '/', '8'}, 7);
    buf_put(&fields, (uint8_t[]){0x32, 0}, 2);
    put_one_peer(&message, buf_bytes(&fields));
    struct report_batch b = accept_batch(buf_bytes(&message));
    buf_put(&joined, "before", 6);
    stat_report_join_allowed_ips(&b.peers[0], &joined);
    /* 6 n - 1 <= 191: n = 32 */
    assert_int_equal(joined.size, 6 + 191);
    assert_memory_equal(joined.data, "before1.2/8,1.2/8,", 18);
    assert_int_equal(joined.data[joined.size - 1], '8');
    buf_deinit(&fields);
    buf_deinit(&message);
    buf_deinit(&joined);
}

/* --- ReportAck ----------------------------------------------------------- */

static void an_acknowledgement_is_read_and_written_as_its_bytes(void **state)
{
    (void)state;
    const struct bytes golden = RAW(0x08, 7, 0x10, 0xac, 0x02, 0x1a, 1, 'n');
    struct report_ack ack;
    struct buf out = {0};

    assert_int_equal(report_ack_decode(golden, &ack, NULL), 0);
    assert_int_equal(ack.sequence, 7);
    assert_int_equal(ack.applied_index, 300);
    assert_text(ack.leader, "n");
    report_ack_encode(&out, &ack);
    assert_true(bytes_equal(buf_bytes(&out), golden));
    buf_deinit(&out);
}

static void a_bad_acknowledgement_is_refused_by_field(void **state)
{
    (void)state;
    struct report_ack ack;
    struct errmsg e = {{0}};

    assert_int_equal(report_ack_decode(RAW(0x1a, 1, 0xff), &ack, &e),
                     ERR_INVALID);
    assert_string_equal(e.text, "leader: not UTF-8 text without NUL");
    assert_int_equal(report_ack_decode(RAW(0x0a, 0), &ack, &e), ERR_INVALID);
    assert_string_equal(e.text, "sequence: wrong wire type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_read_from_its_bytes),
        cmocka_unit_test(a_batch_is_written_as_its_bytes),
        cmocka_unit_test(
            a_peer_longer_than_one_length_byte_survives_the_round_trip),
        cmocka_unit_test(unknown_fields_of_every_type_are_skipped),
        cmocka_unit_test(of_a_field_that_comes_twice_the_last_one_counts),
        cmocka_unit_test(a_keepalive_beyond_32_bits_is_cut_as_protobuf_does),
        cmocka_unit_test(a_batch_without_its_numbers_is_refused),
        cmocka_unit_test(bad_wire_bytes_are_refused_by_field),
        cmocka_unit_test(a_bad_peer_is_named_by_its_position),
        cmocka_unit_test(a_bad_value_of_a_peer_is_named),
        cmocka_unit_test(a_batch_beyond_its_limits_is_refused),
        cmocka_unit_test(
            joined_allowed_ips_end_before_the_one_that_does_not_fit),
        cmocka_unit_test(an_acknowledgement_is_read_and_written_as_its_bytes),
        cmocka_unit_test(a_bad_acknowledgement_is_refused_by_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
