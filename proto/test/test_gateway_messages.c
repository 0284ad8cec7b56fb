/* defguard's configuration messages and health: golden bytes written by hand
 * from the protobuf encoding, and what protobuf-c reads back. */
#include "proto/gateway_messages.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway.pb-c.h"

#define RAW(...)                                                               \
    (struct bytes)                                                             \
    {                                                                          \
        (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}) \
    }

#define TEXT(literal)                                                          \
    {                                                                          \
        (const uint8_t *)(literal), sizeof(literal) - 1                        \
    }

static const struct bytes allowed_ips[] = {TEXT("10.6.0.2"), TEXT("fd00::2")};
static const struct bytes addresses[] = {TEXT("10.6.0.1/24")};
static const struct gateway_peer one_peer = {
    .public_key = TEXT("pk"),
    .allowed_ips = allowed_ips,
    .allowed_ip_count = 2,
    .keepalive_interval_s = 25,
};
static const struct gateway_configuration configuration = {
    .name = TEXT("office"),
    .private_key = TEXT("sk"),
    .addresses = addresses,
    .address_count = 1,
    .port = 51820,
    .peers = &one_peer,
    .peer_count = 1,
};

#define PEER_FIELDS                                                            \
    0x0a, 2, 'p', 'k', 0x12, 8, '1', '0', '.', '6', '.', '0', '.', '2', 0x12,  \
        7, 'f', 'd', '0', '0', ':', ':', '2', 0x20, 25
#define CONFIGURATION_FIELDS                                                   \
    0x0a, 6, 'o', 'f', 'f', 'i', 'c', 'e', 0x12, 2, 's', 'k', 0x20, 0xec,      \
        0x94, 0x03, 0x2a, 25, PEER_FIELDS, 0x32, 11, '1', '0', '.', '6', '.',  \
        '0', '.', '1', '/', '2', '4'

static void assert_bytes(const struct buf *b, struct bytes expected)
{
    assert_int_equal(b->size, expected.size);
    if (expected.size > 0)
        assert_memory_equal(b->data, expected.data, expected.size);
}

/* --- requests ------------------------------------------------------------ */

static void a_configuration_request_may_have_a_name(void **state)
{
    (void)state;
    struct buf scratch = {0};
    struct bytes name;

    assert_int_equal(configuration_request_decode(RAW(0x0a, 2, 'g', '1'),
                                                  &scratch, &name, NULL),
                     0);
    assert_true(bytes_equal(name, RAW('g', '1')));
    assert_int_equal(
        configuration_request_decode((struct bytes){0}, &scratch, &name, NULL),
        0);
    assert_int_equal(name.size, 0);
    /* unknown field, then the name twice */
    assert_int_equal(
        configuration_request_decode(RAW(0x10, 1, 0x0a, 1, 0xff, 0x0a, 1, 'b'),
                                     &scratch, &name, NULL),
        0);
    assert_true(bytes_equal(name, RAW('b')));
    buf_deinit(&scratch);
}

static void a_bad_configuration_request_is_refused(void **state)
{
    (void)state;
    struct buf scratch = {0}, message = {0};
    struct bytes name;
    struct errmsg e = {{0}};

    assert_int_equal(configuration_request_decode(RAW(0x0a, 3, 'g', 0, '1'),
                                                  &scratch, &name, &e),
                     ERR_INVALID);
    assert_string_equal(e.text, "name: not UTF-8 text without NUL");
    assert_int_equal(
        configuration_request_decode(RAW(0x0a, 3, 'g'), &scratch, &name, &e),
        ERR_INVALID);
    assert_string_equal(e.text, "name: cut: longer than what holds it");
    assert_int_equal(
        configuration_request_decode(RAW(0x08, 1), &scratch, &name, &e),
        ERR_INVALID);
    assert_string_equal(e.text, "name: wrong wire type");
    assert_int_equal(
        configuration_request_decode(RAW(0x13, 0x14), &scratch, &name, &e),
        ERR_INVALID);
    assert_string_equal(e.text, "field 2: a group, or no wire type at all");

    buf_put(&message, (uint8_t[]){0x0a, 0xfe, 0x01}, 3);
    for (int i = 0; i < GATEWAY_NAME_LENGTH_MAX + 1; i++)
        buf_put_u8(&message, 'n');
    assert_int_equal(
        configuration_request_decode(buf_bytes(&message), &scratch, &name, &e),
        ERR_INVALID);
    assert_string_equal(e.text, "name: 254 bytes, at most 253");
    buf_deinit(&message);
    buf_deinit(&scratch);
}

static void a_health_request_names_a_service(void **state)
{
    (void)state;
    struct buf scratch = {0};
    struct bytes service;
    struct errmsg e = {{0}};

    assert_int_equal(
        health_request_decode(RAW(0x0a, 1, 's'), &scratch, &service, &e), 0);
    assert_true(bytes_equal(service, RAW('s')));
    assert_int_equal(
        health_request_decode(RAW(0x0a, 1, 0), &scratch, &service, &e),
        ERR_INVALID);
    assert_string_equal(e.text, "service: not UTF-8 text without NUL");
    buf_deinit(&scratch);
}

/* --- answers ------------------------------------------------------------- */

static void a_configuration_is_written_behind_what_is_there(void **state)
{
    (void)state;
    struct buf out = {0};

    buf_put_u8(&out, 0xee);
    assert_int_equal(configuration_encode(&out, &configuration), 0);
    assert_bytes(&out, RAW(0xee, CONFIGURATION_FIELDS));
    buf_deinit(&out);
}

static void a_configuration_of_nothing_is_no_bytes(void **state)
{
    (void)state;
    struct buf out = {0};

    assert_int_equal(
        configuration_encode(&out, &(struct gateway_configuration){0}), 0);
    assert_int_equal(out.size, 0);
    buf_deinit(&out);
}

static void an_update_carries_a_peer(void **state)
{
    (void)state;
    struct buf out = {0};

    assert_int_equal(update_encode_peer(&out, UPDATE_CREATE, &one_peer), 0);
    assert_bytes(&out, RAW(0x12, 25, PEER_FIELDS));
    buf_clear(&out);
    assert_int_equal(update_encode_peer(&out, UPDATE_MODIFY, &one_peer), 0);
    assert_bytes(&out, RAW(0x08, 1, 0x12, 25, PEER_FIELDS));
    buf_deinit(&out);
}

static void an_update_carries_a_network(void **state)
{
    (void)state;
    struct buf out = {0};

    assert_int_equal(update_encode_network(&out, UPDATE_MODIFY, &configuration),
                     0);
    assert_bytes(&out, RAW(0x08, 1, 0x1a, 56, CONFIGURATION_FIELDS));
    buf_deinit(&out);
}

static void of_what_is_deleted_only_the_handle_is_sent(void **state)
{
    (void)state;
    struct buf out = {0};

    assert_int_equal(update_encode_peer(&out, UPDATE_DELETE, &one_peer), 0);
    assert_bytes(&out, RAW(0x08, 2, 0x12, 4, 0x0a, 2, 'p', 'k'));
    buf_clear(&out);
    assert_int_equal(update_encode_network(&out, UPDATE_DELETE, &configuration),
                     0);
    assert_bytes(&out,
                 RAW(0x08, 2, 0x1a, 8, 0x0a, 6, 'o', 'f', 'f', 'i', 'c', 'e'));
    buf_deinit(&out);
}

static void a_keepalive_of_zero_is_sent(void **state)
{
    (void)state;
    struct gateway_peer peer = {.public_key = TEXT("pk")};
    struct buf out = {0};

    assert_int_equal(update_encode_peer(&out, UPDATE_MODIFY, &peer), 0);
    assert_bytes(&out, RAW(0x08, 1, 0x12, 6, 0x0a, 2, 'p', 'k', 0x20, 0));
    buf_deinit(&out);
}

static void what_is_no_text_is_not_sent(void **state)
{
    (void)state;
    struct gateway_peer peer = {.public_key = TEXT("p\0k")};
    struct gateway_configuration c = configuration;
    struct buf out = {0};

    buf_put_u8(&out, 0xee);
    assert_int_equal(update_encode_peer(&out, UPDATE_CREATE, &peer),
                     ERR_INVALID);
    assert_int_equal(update_encode_peer(&out, UPDATE_DELETE, &peer),
                     ERR_INVALID);
    c.peers = &peer;
    assert_int_equal(configuration_encode(&out, &c), ERR_INVALID);
    c.name = RAW(0xff);
    assert_int_equal(update_encode_network(&out, UPDATE_DELETE, &c),
                     ERR_INVALID);
    assert_bytes(&out, RAW(0xee));
    buf_deinit(&out);
}

/* More than one chunk of the arena, and pieces larger than a chunk. */
static void a_large_configuration_comes_back_from_protobuf_c(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct gateway_peer many[COUNT];
    struct gateway_configuration c = configuration;
    struct buf out = {0};

    for (size_t i = 0; i < COUNT; i++) {
        many[i] = one_peer;
        many[i].keepalive_interval_s = (uint32_t)i;
    }
    c.peers = many;
    c.peer_count = COUNT;
    assert_int_equal(configuration_encode(&out, &c), 0);
    Gateway__Configuration *m =
        gateway__configuration__unpack(NULL, out.size, out.data);
    assert_non_null(m);
    assert_string_equal(m->name, "office");
    assert_int_equal(m->n_peers, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_string_equal(m->peers[i]->pubkey, "pk");
        assert_string_equal(m->peers[i]->allowed_ips[1], "fd00::2");
        assert_int_equal(m->peers[i]->keepalive_interval, i);
        assert_int_equal(m->peers[i]->_preshared_key_case,
                         GATEWAY__PEER___PRESHARED_KEY__NOT_SET);
    }
    gateway__configuration__free_unpacked(m, NULL);
    buf_deinit(&out);
}

static void health_is_one_or_two(void **state)
{
    (void)state;
    struct buf out = {0};

    health_response_encode(&out, true);
    assert_bytes(&out, RAW(0x08, 1));
    health_response_encode(&out, false);
    assert_bytes(&out, RAW(0x08, 1, 0x08, 2));
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_request_may_have_a_name),
        cmocka_unit_test(a_bad_configuration_request_is_refused),
        cmocka_unit_test(a_health_request_names_a_service),
        cmocka_unit_test(a_configuration_is_written_behind_what_is_there),
        cmocka_unit_test(a_configuration_of_nothing_is_no_bytes),
        cmocka_unit_test(an_update_carries_a_peer),
        cmocka_unit_test(an_update_carries_a_network),
        cmocka_unit_test(of_what_is_deleted_only_the_handle_is_sent),
        cmocka_unit_test(a_keepalive_of_zero_is_sent),
        cmocka_unit_test(what_is_no_text_is_not_sent),
        cmocka_unit_test(a_large_configuration_comes_back_from_protobuf_c),
        cmocka_unit_test(health_is_one_or_two),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
