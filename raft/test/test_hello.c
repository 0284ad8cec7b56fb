#include "raft/frame.h"
#include "raft/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
                          .address = "node-a.example:7600",
                          .level = 3,
                          .configuration_index = 1ull << 40};
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
                              .leads = true,
                              .level = 7,
                              .name = "node-b",
                              .leader = "node-c=node-c.example:7600",
                              .text = "no"},
                        out;
    uint8_t data[HELLO_ANSWER_SIZE];
    hello_answer_encode(&in, data);
    assert_int_equal(
        hello_answer_decode((struct bytes){data, sizeof data}, &out, &e), 1);
    assert_memory_equal(&in, &out, sizeof in);
    in.empty = in.leads = false;
    in.member = true;
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

static void a_name_that_would_not_be_one_is_refused(void **state)
{
    (void)state;
    /* Each would be read as something else by whoever copies it. */
    static const char *const bad[] = {"a=b",       "a,b",      "a b",
                                      "$(reboot)", "a\x1b[2J", "\xc3\xa4"};
    uint8_t data[HELLO_SIZE];
    struct hello out;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hello in = a_hello();
        snprintf(in.name, sizeof in.name, "%s", bad[i]);
        hello_encode(&in, data);
        assert_int_equal(
            hello_decode((struct bytes){data, sizeof data}, &out, &e),
            ERR_CORRUPT);
        in = a_hello();
        snprintf(in.address, sizeof in.address, "%s:7600", bad[i]);
        hello_encode(&in, data);
        assert_int_equal(
            hello_decode((struct bytes){data, sizeof data}, &out, &e),
            ERR_CORRUPT);
    }
}

static void only_a_probe_may_have_no_address(void **state)
{
    (void)state;
    struct hello in = a_hello(), out;
    uint8_t data[HELLO_SIZE];
    in.address[0] = '\0';
    for (in.channel = HELLO_RAFT; in.channel <= HELLO_JOIN; in.channel++) {
        hello_encode(&in, data);
        assert_int_equal(
            hello_decode((struct bytes){data, sizeof data}, &out, &e),
            in.channel == HELLO_PROBE ? 1 : ERR_CORRUPT);
    }
}

static void impossible_fields_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } cases[] = {
        {12, 0},                    /* channel */
        {12, 6},                    /* channel */
        {15, 1},                    /* channel */
        {48, 0xff},                 /* name is no text */
        {111, 'x'},                 /* name: bytes after its end */
        {112 + 261, 'x'}, {384, 0}, /* level */
        {388, 1},                   /* zero */
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
a_frame_that_is_too_long_or_of_no_type_is_refused_by_its_header(void **state)
{
    (void)state;
    uint8_t data[8] = {0};
    struct frame out;
    le32_put(data, FRAME_PAYLOAD_MAX + 1);
    le32_put(data + 4, FRAME_SUBMIT);
    assert_int_equal(frame_get((struct bytes){data, 8}, &out), ERR_CORRUPT);
    le32_put(data, 16);
    le32_put(data + 4, 0);
    assert_int_equal(frame_get((struct bytes){data, 8}, &out), ERR_CORRUPT);
}

static void facts_survive_their_encoding_and_may_grow(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct frame in = {.type = FRAME_FACTS,
                       .facts = {.level = 2,
                                 .release = "1.2.3",
                                 .zone = "north",
                                 .term = 1,
                                 .last_index = 2,
                                 .commit_index = 3,
                                 .applied_index = 4,
                                 .flushed_index = 5,
                                 .heard_ms_ago = UINT64_MAX,
                                 .store_bytes = 7,
                                 .disk_free_bytes = 8,
                                 .draining = true}},
                 out;
    frame_put(&buf, &in);
    assert_int_equal(frame_get(buf_bytes(&buf), &out), (int)buf.size);
    assert_memory_equal(&in.facts, &out.facts, sizeof in.facts);
    buf_put(&buf, "later", 5);
    le32_put(buf.data, (uint32_t)(buf.size - FRAME_HEADER_SIZE));
    assert_int_equal(frame_get(buf_bytes(&buf), &out), (int)buf.size);
    assert_memory_equal(&in.facts, &out.facts, sizeof in.facts);
    /* A text that reaches beyond the payload. */
    le32_put(buf.data, (uint32_t)(buf.size - 6 - FRAME_HEADER_SIZE));
    assert_int_equal(frame_get(buf_bytes(&buf), &out), ERR_CORRUPT);
    buf_deinit(&buf);
}

static void a_change_and_its_answer_survive_their_encoding(void **state)
{
    (void)state;
    struct buf buf = {0};
    struct frame change = {.type = FRAME_CHANGE,
                           .id = 9,
                           .change = REPL_TRANSFER,
                           .text = bytes_of_string("node-b")};
    struct frame changed = {.type = FRAME_CHANGED,
                            .id = 10,
                            .status = ERR_DENIED,
                            .text = bytes_of_string("no quorum")},
                 out;
    frame_put(&buf, &change);
    assert_int_equal(frame_get(buf_bytes(&buf), &out), (int)buf.size);
    assert_int_equal(out.change, REPL_TRANSFER);
    assert_int_equal(out.id, 9);
    assert_true(bytes_equal(out.text, change.text));
    buf_clear(&buf);
    frame_put(&buf, &changed);
    assert_int_equal(frame_get(buf_bytes(&buf), &out), (int)buf.size);
    assert_int_equal(out.status, ERR_DENIED);
    assert_true(bytes_equal(out.text, changed.text));
    le32_put(buf.data + FRAME_HEADER_SIZE + 8, 99); /* no such code */
    assert_int_equal(frame_get(buf_bytes(&buf), &out), ERR_CORRUPT);
    buf_deinit(&buf);
}

static void frames_of_a_newer_version_can_be_stepped_over(void **state)
{
    (void)state;
    struct buf buf = {0};
    buf_put_u32(&buf, 3);
    buf_put_u32(&buf, 77);
    buf_put(&buf, "???", 3);
    struct frame ping = {.type = FRAME_PING, .mono_ns = 5}, out;
    frame_put(&buf, &ping);
    int n = frame_get(buf_bytes(&buf), &out);
    assert_int_equal(n, FRAME_HEADER_SIZE + 3);
    assert_false(frame_is_known(&out));
    assert_true(frame_get((struct bytes){buf.data + n, buf.size - (size_t)n},
                          &out) > 0);
    assert_true(frame_is_known(&out));
    assert_int_equal(out.mono_ns, 5);
    buf_deinit(&buf);
}

/* --- addresses ------------------------------------------------------------ */

static void a_member_address_has_a_name_and_what_to_dial(void **state)
{
    (void)state;
    char text[MEMBER_ADDRESS_LENGTH_MAX + 1];
    struct repl_peer peer;
    member_address_join("node-a", "node-a.example:7600", text);
    assert_string_equal(text, "node-a=node-a.example:7600");
    assert_string_equal(member_address_dial(text), "node-a.example:7600");
    assert_int_equal(member_address_split(text, &peer), 0);
    assert_string_equal(peer.name, "node-a");
    assert_string_equal(peer.address, "node-a.example:7600");
    /* As configurations of before have it. */
    assert_int_equal(member_address_split("node-a:7600", &peer), 0);
    assert_string_equal(peer.name, "");
    assert_string_equal(peer.address, "node-a:7600");
    char name[NODE_NAME_LENGTH_MAX + 1], address[PEER_ADDRESS_LENGTH_MAX + 1];
    memset(name, 'n', sizeof name - 1);
    memset(address, 'a', sizeof address - 1);
    name[sizeof name - 1] = address[sizeof address - 1] = '\0';
    member_address_join(name, address, text);
    assert_int_equal(member_address_split(text, &peer), 0);
    assert_string_equal(peer.name, name);
    assert_string_equal(peer.address, address);
    char longer[PEER_ADDRESS_LENGTH_MAX + 2];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(member_address_split(longer, &peer), ERR_INVALID);
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
        cmocka_unit_test(a_name_that_would_not_be_one_is_refused),
        cmocka_unit_test(only_a_probe_may_have_no_address),
        cmocka_unit_test(impossible_fields_are_refused),
        cmocka_unit_test(frames_survive_their_encoding_one_after_the_other),
        cmocka_unit_test(
            a_frame_that_is_too_long_or_of_no_type_is_refused_by_its_header),
        cmocka_unit_test(facts_survive_their_encoding_and_may_grow),
        cmocka_unit_test(a_change_and_its_answer_survive_their_encoding),
        cmocka_unit_test(frames_of_a_newer_version_can_be_stepped_over),
        cmocka_unit_test(a_member_address_has_a_name_and_what_to_dial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
