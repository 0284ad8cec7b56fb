/* What travels on the bulk channel. */
#include "raft/bulk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include <cmocka.h>

static struct bulk_answer example(void)
{
    struct bulk_answer a = {
        .kind = BULK_COPY,
        .copy_id = 77,
        .bytes = 4096,
        .offset = 512,
        .hash = "the hash of it",
        .seed = {.cluster_id = "the cluster",
                 .index = 1000,
                 .term = 8,
                 .current_term = 9,
                 .configuration_index = 900,
                 .member_count = 2,
                 .members = {{1, "a=host:1", 1}, {2, "b=host:2", 2}}},
    };
    return a;
}

static int decode_again(const struct bulk_answer *a, struct bulk_answer *out)
{
    struct buf frame = {0};
    bulk_answer_encode(a, &frame);
    assert_false(buf_failed(&frame));
    assert_int_equal(le32_get(frame.data), frame.size - 4);
    int rv =
        bulk_answer_decode((struct bytes){frame.data + 4, frame.size - 4}, out);
    buf_deinit(&frame);
    return rv;
}

static void an_answer_arrives_as_it_was_sent(void **state)
{
    (void)state;
    struct bulk_answer a = example(), b;
    assert_int_equal(decode_again(&a, &b), 0);
    assert_memory_equal(&a, &b, sizeof a);
    a = (struct bulk_answer){.kind = BULK_REFUSED, .text = "not now"};
    assert_int_equal(decode_again(&a, &b), 0);
    assert_memory_equal(&a, &b, sizeof a);
    a = (struct bulk_answer){.kind = BULK_WAIT};
    assert_int_equal(decode_again(&a, &b), 0);
    assert_memory_equal(&a, &b, sizeof a);
}

static void the_largest_answer_fits(void **state)
{
    (void)state;
    struct bulk_answer a = example(), b;
    memset(a.text, 'x', sizeof a.text - 1);
    a.seed.member_count = PEERS_MAX;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        a.seed.members[i] = (struct seed_member){.id = i + 1, .role = 1};
        memset(a.seed.members[i].address, 'a' + (int)i,
               sizeof a.seed.members[i].address - 1);
    }
    assert_int_equal(decode_again(&a, &b), 0);
    assert_memory_equal(&a, &b, sizeof a);
}

static void answers_that_make_no_log_are_refused(void **state)
{
    (void)state;
    struct bulk_answer b;
#define REFUSED(change)                                                        \
    do {                                                                       \
        struct bulk_answer a = example();                                      \
        change;                                                                \
        assert_int_equal(decode_again(&a, &b), ERR_CORRUPT);                   \
    } while (0)
    REFUSED(a.kind = (enum bulk_answer_kind)4);
    REFUSED(a.copy_id = 0);
    REFUSED(a.offset = a.bytes + 1);
    REFUSED(a.bytes = UINT64_MAX);
    REFUSED(a.seed.index = 0);
    REFUSED(a.seed.term = 0);
    REFUSED(a.seed.term = a.seed.current_term + 1);
    REFUSED(a.seed.configuration_index = 0);
    REFUSED(a.seed.configuration_index = a.seed.index + 1);
    REFUSED(a.seed.member_count = 0);
    REFUSED(a.seed.members[0].id = 0);
    REFUSED(a.seed.members[1].role = 3);
    REFUSED(a.seed.members[1].address[0] = '\0');
}

static void a_byte_that_changed_on_the_way_is_noticed(void **state)
{
    (void)state;
    struct bulk_answer a = example(), b;
    struct buf frame = {0};
    bulk_answer_encode(&a, &frame);
    struct bytes in = {frame.data + 4, frame.size - 4};
    for (size_t i = 4; i < frame.size; i++) {
        frame.data[i] ^= 0x10;
        assert_true(bulk_answer_decode(in, &b) < 0);
        frame.data[i] ^= 0x10;
    }
    for (size_t size = 0; size < in.size; size++)
        assert_int_equal(bulk_answer_decode((struct bytes){in.data, size}, &b),
                         ERR_CORRUPT);
    assert_int_equal(bulk_answer_decode(in, &b), 0);
    buf_deinit(&frame);
}

static void a_newer_peer_is_told_apart_from_damage(void **state)
{
    (void)state;
    struct bulk_request request = {.copy_id = 1, .offset = 2, .index = 3};
    uint8_t raw[BULK_REQUEST_SIZE];
    bulk_request_encode(&request, raw);
    struct bulk_request again;
    assert_int_equal(bulk_request_decode(raw, &again), 0);
    assert_memory_equal(&again, &request, sizeof request);
    raw[0] = 2;
    assert_int_equal(bulk_request_decode(raw, &again), ERR_NEWER);
    raw[0] = 0;
    assert_int_equal(bulk_request_decode(raw, &again), ERR_CORRUPT);
    struct bulk_answer a = example(), b;
    struct buf frame = {0};
    bulk_answer_encode(&a, &frame);
    le32_put(frame.data + 4, 2);
    le64_put(frame.data + frame.size - 8,
             XXH3_64bits(frame.data + 4, frame.size - 12));
    assert_int_equal(
        bulk_answer_decode((struct bytes){frame.data + 4, frame.size - 4}, &b),
        ERR_NEWER);
    buf_deinit(&frame);
}

static void chunks_are_bounded_and_checked(void **state)
{
    (void)state;
    uint8_t header[BULK_CHUNK_HEADER_SIZE];
    struct bytes data = bytes_of_string("some of the store");
    bulk_chunk_encode(data, header);
    assert_int_equal(bulk_chunk_size(header), data.size);
    assert_true(bulk_chunk_is_good(header, data));
    assert_false(
        bulk_chunk_is_good(header, bytes_of_string("some of the stare")));
    assert_false(bulk_chunk_is_good(header, bytes_of_string("some")));
    le32_put(header, 0);
    assert_int_equal(bulk_chunk_size(header), ERR_CORRUPT);
    le32_put(header, BULK_CHUNK_SIZE_MAX + 1);
    assert_int_equal(bulk_chunk_size(header), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_arrives_as_it_was_sent),
        cmocka_unit_test(the_largest_answer_fits),
        cmocka_unit_test(answers_that_make_no_log_are_refused),
        cmocka_unit_test(a_byte_that_changed_on_the_way_is_noticed),
        cmocka_unit_test(a_newer_peer_is_told_apart_from_damage),
        cmocka_unit_test(chunks_are_bounded_and_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
