#include "raft/frame.h"
#include "raft/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct errmsg e;

static struct hello a_hello(void)
{
    struct hello hello = {.version = HELLO_VERSION,
                          .channel = HELLO_FORWARD,
                          .raft_id = 0x1122334455667788,
                          .target_id = 9,
                          .name = "node-a",
                          .address = "node-a.example:7600"};
    memset(hello.cluster_id, 0xc1, sizeof hello.cluster_id);
    return hello;
}

static void a_hello_survives_its_encoding(void **state)
{
    (void)state;
    struct hello in = a_hello(), out;
    memset(in.name, 'n', sizeof in.name - 1);
    memset(in.address, 'a', sizeof in.address - 1);
    uint8_t data[HELLO_SIZE];
    hello_encode(&in, data);
    assert_int_equal(hello_decode((struct bytes){data, sizeof data}, &out, &e),
                     1);
    assert_memory_equal(&in, &out, sizeof in);
}

static void an_answer_survives_its_encoding(void **state)
{
    (void)state;
    struct hello_answer in = {.version = HELLO_VERSION,
                              .code = HELLO_STRANGER,
                              .raft_id = 5,
                              .empty = true,
                              .name = "node-b",
                              .text = "no"},
                        out;
    uint8_t data[HELLO_ANSWER_SIZE];
    hello_answer_encode(&in, data);
    assert_int_equal(
        hello_answer_decode((struct bytes){data, sizeof data}, &out, &e), 1);
    assert_memory_equal(&in, &out, sizeof in);
}

static void a_hello_that_is_cut_anywhere_asks_for_more(void **state)
{
    (void)state;
    struct hello in = a_hello(), out;
    uint8_t data[HELLO_SIZE];
    hello_encode(&in, data);
    for (size_t size = 0; size < HELLO_SIZE; size++)
        assert_int_equal(hello_decode((struct bytes){data, size}, &out, &e), 0);
}

static void a_wrong_magic_is_seen_at_its_first_byte(void **state)
{
    (void)state;
    struct hello out;
    assert_int_equal(hello_decode(bytes_of_string("GET / HTTP/1.1"), &out, &e),
                     ERR_CORRUPT);
    assert_int_equal(hello_decode(bytes_of_string("G"), &out, &e), ERR_CORRUPT);
}

static void bytes_after_a_hello_are_refused(void **state)
{
    (void)state;
    struct hello in = a_hello(), out;
    uint8_t data[HELLO_SIZE + 1] = {0};
    hello_encode(&in, data);
    assert_int_equal(hello_decode((struct bytes){data, sizeof data}, &out, &e),
                     ERR_CORRUPT);
}

static void another_version_is_reported_and_read_no_further(void **state)
{
    (void)state;
    struct hello in = a_hello(), out;
    uint8_t data[HELLO_SIZE];
    hello_encode(&in, data);
    data[8] = HELLO_VERSION + 1;
    assert_int_equal(hello_decode((struct bytes){data, 12}, &out, &e), 1);
    assert_int_equal(out.version, HELLO_VERSION + 1);
    assert_int_equal(out.raft_id, 0);
}

static void impossible_fields_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {12, 0},    /* channel */
        {12, 5},    /* channel */
        {15, 1},    /* channel */
        {48, 0xff}, /* name is no text */
        {111, 'x'}, /* name: bytes after its end */
        {112 + 261, 'x'},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hello in = a_hello(), out;
        uint8_t data[HELLO_SIZE];
        hello_encode(&in, data);
        data[cases[i].at] = cases[i].value;
        assert_int_equal(
            hello_decode((struct bytes){data, sizeof data}, &out, &e),
            ERR_CORRUPT);
    }
    struct hello nobody = a_hello(), out;
    nobody.raft_id = 0;
    uint8_t data[HELLO_SIZE];
    hello_encode(&nobody, data);
    assert_int_equal(hello_decode((struct bytes){data, sizeof data}, &out, &e),
                     ERR_CORRUPT);
}

/* --- frames --------------------------------------------------------------- */

static void frames_survive_their_encoding_one_after_the_other(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct frame submit = {
        .type = FRAME_SUBMIT, .id = 7, .record = bytes_of_string("a record")};
    struct frame result = {.type = FRAME_RESULT,
                           .id = 8,
                           .status = ERR_UNKNOWN,
                           .outcome = {OUTCOME_GAP, 99, 100}};
    struct frame ping = {.type = FRAME_PING, .mono_ns = 1, .wall_ms = 2};
    frame_put(&buf, &submit);
    frame_put(&buf, &result);
    frame_put(&buf, &ping);
    struct frame out;
    size_t at = 0;
    int n = frame_get((struct bytes){buf.data, buf.size}, &out);
    assert_true(n > 0);
    assert_int_equal(out.id, 7);
    assert_true(bytes_equal(out.record, submit.record));
    at += (size_t)n;
    n = frame_get((struct bytes){buf.data + at, buf.size - at}, &out);
    assert_true(n > 0);
    assert_int_equal(out.status, ERR_UNKNOWN);
    assert_memory_equal(&out.outcome, &result.outcome, sizeof out.outcome);
    at += (size_t)n;
    n = frame_get((struct bytes){buf.data + at, buf.size - at}, &out);
    assert_int_equal(n, (int)(buf.size - at));
    assert_int_equal(out.type, FRAME_PING);
    assert_int_equal(out.wall_ms, 2);
    for (size_t size = at; size < buf.size; size++)
        assert_int_equal(
            frame_get((struct bytes){buf.data + at, size - at}, &out), 0);
    buf_deinit(&buf);
}

static void
a_frame_that_is_too_long_or_unknown_is_refused_by_its_header(void **state)
{
    (void)state;
    uint8_t data[8] = {0};
    struct frame out;
    le32_put(data, FRAME_PAYLOAD_MAX + 1);
    le32_put(data + 4, FRAME_SUBMIT);
    assert_int_equal(frame_get((struct bytes){data, 8}, &out), ERR_CORRUPT);
    le32_put(data, 16);
    le32_put(data + 4, 9);
    assert_int_equal(frame_get((struct bytes){data, 8}, &out), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_survives_its_encoding),
        cmocka_unit_test(an_answer_survives_its_encoding),
        cmocka_unit_test(a_hello_that_is_cut_anywhere_asks_for_more),
        cmocka_unit_test(a_wrong_magic_is_seen_at_its_first_byte),
        cmocka_unit_test(bytes_after_a_hello_are_refused),
        cmocka_unit_test(another_version_is_reported_and_read_no_further),
        cmocka_unit_test(impossible_fields_are_refused),
        cmocka_unit_test(frames_survive_their_encoding_one_after_the_other),
        cmocka_unit_test(
            a_frame_that_is_too_long_or_unknown_is_refused_by_its_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
