/* Random messages, well-formed and spoilt, read by the hand walk and by
 * protobuf-c (proto/test/oracle.h aborts on a difference). The seed is printed;
 * HOLDFAST_SEED sets it. */
#include "proto/report.h"

#include "proto/test/oracle.h"
#include "proto/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ROUNDS = 60000 };

static uint64_t random_state;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(next_random() % limit);
}

static bool one_in(uint32_t n)
{
    return below(n) == 0;
}

static uint64_t random_value(void)
{
    return next_random() >> below(64);
}

/* --- generators ---------------------------------------------------------- */

static void put_text(struct buf *out, uint32_t field, size_t length_max)
{
    static const char *const characters[] = {"0", "9", ".", ":", "[", "/",
                                             ",", "a", "é", "€", "𐍈"};
    struct buf text = {0};
    size_t length = below((uint32_t)length_max);

    while (text.size < length) {
        const char *c = characters[below(11)];
        buf_put(&text, c, strlen(c));
    }
    if (one_in(60))
        buf_put_u8(&text, (uint8_t)below(256));
    wire_put_bytes_always(out, field, buf_bytes(&text));
    buf_deinit(&text);
}

static void put_key(struct buf *out, uint32_t field)
{
    uint8_t key[REPORT_KEY_SIZE + 1];

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)next_random();
    size_t size = one_in(80) ? below(REPORT_KEY_SIZE + 2) : REPORT_KEY_SIZE;
    wire_put_bytes_always(out, field, (struct bytes){key, size});
}

static void put_base64_key(struct buf *out, uint32_t field)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[46];

    for (size_t i = 0; i < 45; i++)
        text[i] = alphabet[below(64)];
    if (!one_in(30)) /* else: stray bits */
        text[42] = alphabet[(size_t)4 * below(16)];
    text[43] = '=';
    if (one_in(40))
        text[below(45)] = " =-\n"[below(4)];
    text[one_in(40) ? 43 + below(3) : 44] = '\0';
    wire_put_bytes_always(out, field, bytes_of_string(text));
}

/* Any field of any wire type: mostly unknown, sometimes of the wrong type. */
static void put_stranger(struct buf *out)
{
    static const uint8_t zeros[8];
    uint64_t field = one_in(4) ? below(10) : random_value() >> 32;
    uint32_t type = one_in(20) ? below(8) : (uint32_t[]){0, 1, 2, 5}[below(4)];

    buf_put_varint(out, field << 3 | type);
    if (type == WIRE_VARINT)
        buf_put_varint(out, random_value());
    if (type == WIRE_FIXED64)
        buf_put(out, zeros, 8);
    if (type == WIRE_FIXED32)
        buf_put(out, zeros, 4);
    if (type == WIRE_BYTES)
        buf_put_bytes(out, (struct bytes){zeros, below(8)});
}

/* A varint with more bytes than it needs; more than 64 bits now and then. */
static void put_long_varint(struct buf *out, uint32_t field)
{
    buf_put_varint(out, field << 3);
    for (uint32_t i = below(10); i > 0; i--)
        buf_put_u8(out, (uint8_t)(0x80 | next_random()));
    buf_put_u8(out, (uint8_t)below(one_in(2) ? 2 : 128));
}

static void put_peer_report(struct buf *out)
{
    size_t mark = wire_open(out, 5);

    put_key(out, 1);
    for (uint32_t i = below(12); i > 0; i--) {
        switch (below(9)) {
        case 0:
            put_text(out, 5, one_in(30) ? 80 : 50);
            break;
        case 1:
        case 2:
            put_text(out, 6, one_in(30) ? 220 : 50);
            break;
        case 3:
            put_long_varint(out, 2 + below(3));
            break;
        case 4:
            if (one_in(4))
                put_stranger(out);
            break;
        case 5:
            put_key(out, 1);
            break;
        default:
            buf_put_varint(out, (uint32_t[]){2, 3, 4, 7, 8}[below(5)] << 3);
            buf_put_varint(out, random_value());
            break;
        }
    }
    wire_close(out, mark);
}

static void put_report_batch(struct buf *out)
{
    static const uint8_t machine[REPORT_MACHINE_SIZE_MAX + 1];

    wire_put_uint(out, 1 + below(2), random_value());
    for (uint32_t i = below(8); i > 0; i--) {
        if (one_in(16))
            put_stranger(out);
        else if (one_in(8))
            wire_put_bytes_always(
                out, 6,
                (struct bytes){machine, below(REPORT_MACHINE_SIZE_MAX + 2)});
        else if (one_in(4))
            wire_put_uint(out, 1 + below(3), random_value());
        else
            put_peer_report(out);
    }
    wire_put_uint(out, 1, one_in(50) ? 0 : random_value() | 1);
    wire_put_uint(out, 2, one_in(50) ? 0 : random_value() | 1);
}

static void put_peer_stats(struct buf *out)
{
    size_t mark = wire_open(out, 3);

    put_base64_key(out, 1);
    for (uint32_t i = below(10); i > 0; i--) {
        if (one_in(16))
            put_stranger(out);
        else if (one_in(16))
            put_long_varint(out, 3 + below(4));
        else if (one_in(10))
            put_base64_key(out, 1);
        else if (one_in(3))
            put_text(out, one_in(2) ? 2 : 7, one_in(20) ? 300 : 60);
        else
            wire_put_uint(out, 3 + below(4), random_value());
    }
    wire_close(out, mark);
}

static void put_stats_update(struct buf *out)
{
    wire_put_uint(out, 1, random_value());
    if (!one_in(8))
        put_peer_stats(out);
    while (one_in(3)) {
        if (one_in(2)) {
            size_t mark = wire_open(out, 2);
            if (one_in(2))
                put_stranger(out);
            wire_close(out, mark);
        } else if (one_in(2)) {
            put_peer_stats(out);
        } else {
            put_stranger(out);
        }
    }
}

static void put_single(struct buf *out)
{
    put_text(out, 1, one_in(8) ? 300 : 40);
    while (one_in(2)) {
        if (one_in(2))
            put_stranger(out);
        else
            put_text(out, 1, 40);
    }
}

static void put_ack(struct buf *out)
{
    put_long_varint(out, 1);
    wire_put_uint(out, 2, random_value());
    put_text(out, 3, one_in(4) ? 300 : 40);
    if (one_in(3))
        put_stranger(out);
}

/* --- the comparison ------------------------------------------------------ */

/* Flips, cuts, doubles or overwrites something. */
static void spoil(struct buf *b)
{
    for (uint32_t i = 1 + below(3); i > 0 && b->size > 0; i--) {
        size_t at = below((uint32_t)b->size);
        switch (below(4)) {
        case 0:
            b->data[at] ^= (uint8_t)(1u << below(8));
            break;
        case 1:
            b->size = at;
            break;
        case 2:
            b->data[at] = (uint8_t)next_random();
            break;
        default:
            buf_put(b, (uint8_t[]){b->data[at]}, 1);
            break;
        }
    }
}

/* The message in memory of exactly its size, so that sanitizers see a read past
 * its end. */
static int judge(int (*oracle)(struct bytes), const struct buf *b)
{
    uint8_t *exact = malloc(b->size > 0 ? b->size : 1);

    assert_non_null(exact);
    if (b->size > 0)
        memcpy(exact, b->data, b->size);
    int rc = oracle((struct bytes){exact, b->size});
    free(exact);
    return rc;
}

/* Both verdicts must occur often, or the generator tests nothing. */
static void compare_many(void (*generate)(struct buf *),
                         int (*oracle)(struct bytes))
{
    unsigned accepted = 0, refused = 0;
    struct buf b = {0};

    for (int i = 0; i < ROUNDS; i++) {
        buf_clear(&b);
        generate(&b);
        if (i % 2 == 1)
            spoil(&b);
        assert_false(buf_failed(&b));
        if (judge(oracle, &b) == 0)
            accepted++;
        else
            refused++;
    }
    buf_deinit(&b);
    assert_in_range(accepted, ROUNDS / 10, ROUNDS);
    assert_in_range(refused, ROUNDS / 10, ROUNDS);
}

static void report_batches_read_as_protobuf_c_reads_them(void **state)
{
    (void)state;
    compare_many(put_report_batch, oracle_report_batch);
}

static void stats_updates_read_as_protobuf_c_reads_them(void **state)
{
    (void)state;
    compare_many(put_stats_update, oracle_stats_update);
}

static void acknowledgements_read_as_protobuf_c_reads_them(void **state)
{
    (void)state;
    compare_many(put_ack, oracle_report_ack);
}

static void configuration_requests_read_as_protobuf_c_reads_them(void **state)
{
    (void)state;
    compare_many(put_single, oracle_configuration_request);
}

int main(void)
{
    const char *seed = getenv("HOLDFAST_SEED");

    random_state =
        seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
    printf("seed %llu\n", (unsigned long long)random_state);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_batches_read_as_protobuf_c_reads_them),
        cmocka_unit_test(stats_updates_read_as_protobuf_c_reads_them),
        cmocka_unit_test(acknowledgements_read_as_protobuf_c_reads_them),
        cmocka_unit_test(configuration_requests_read_as_protobuf_c_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
