/* Packing, the size of the log, and addresses: the pure parts around submit. */
#include "raft/bootstrap.h"
#include "raft/logsize.h"
#include "raft/submit.h"
#include "raft/transport.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t zeros[RECORD_SIZE_MAX];

static struct submission of_size(size_t size)
{
    return (struct submission){.record = {zeros, size}};
}

static void a_queue_gives_back_in_order_and_counts_bytes(void **state)
{
    (void)state;
    struct submission a = of_size(1), b = of_size(2), c = of_size(4);
    struct queue q = {0};
    queue_push(&q, &b);
    queue_push(&q, &c);
    queue_push_front(&q, &a);
    assert_int_equal(q.count, 3);
    assert_int_equal(q.bytes, 7);
    assert_ptr_equal(queue_pop(&q), &a);
    assert_ptr_equal(queue_pop(&q), &b);
    assert_ptr_equal(queue_pop(&q), &c);
    assert_null(queue_pop(&q));
    assert_int_equal(q.bytes, 0);
    queue_push_front(&q, &a);
    queue_push(&q, &b);
    assert_ptr_equal(queue_pop(&q), &a);
    assert_ptr_equal(queue_pop(&q), &b);
}

static void packing_stops_at_the_goal_and_splits_nothing(void **state)
{
    (void)state;
    enum { COUNT = 10, SIZE = ENTRY_SIZE_GOAL / 4 };
    struct submission s[COUNT];
    struct queue local = {0}, orders = {0}, taken = {0};
    for (size_t i = 0; i < COUNT; i++) {
        s[i] = of_size(SIZE);
        queue_push(i < 5 ? &local : &orders, &s[i]);
    }
    struct buf entry = {0};
    struct entry_header header = {.number = 1};
    entry_begin(&entry, &header);
    submit_pack(&local, &orders, &entry, &taken);
    /* The header leaves room for three quarters; both queues got a turn. */
    assert_int_equal(taken.count, 3);
    assert_int_equal(entry.size, ENTRY_HEADER_SIZE + 3 * SIZE);
    assert_ptr_equal(queue_pop(&taken), &s[0]);
    assert_ptr_equal(queue_pop(&taken), &s[5]);
    assert_ptr_equal(queue_pop(&taken), &s[1]);
    buf_deinit(&entry);
}

static void a_record_beyond_the_goal_travels_alone(void **state)
{
    (void)state;
    struct submission large = of_size(RECORD_SIZE_MAX), small = of_size(10);
    struct queue local = {0}, orders = {0}, taken = {0};
    queue_push(&local, &large);
    queue_push(&local, &small);
    struct buf entry = {0};
    struct entry_header header = {.number = 1};
    entry_begin(&entry, &header);
    submit_pack(&local, &orders, &entry, &taken);
    assert_int_equal(taken.count, 1);
    assert_int_equal(local.count, 1);
    entry_finish(&entry);
    assert_false(buf_failed(&entry));
    assert_int_equal(entry.size % ENTRY_ALIGNMENT, 0);
    buf_deinit(&entry);
}

static void entries_of_every_length_are_padded(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 16; size++) {
        struct submission s = of_size(size);
        struct queue local = {0}, orders = {0}, taken = {0};
        queue_push(&local, &s);
        struct buf entry = {0};
        struct entry_header header = {.number = 1};
        entry_begin(&entry, &header);
        submit_pack(&local, &orders, &entry, &taken);
        entry_finish(&entry);
        assert_int_equal(entry.size % ENTRY_ALIGNMENT, 0);
        buf_deinit(&entry);
    }
}

/* --- log size ------------------------------------------------------------- */

static void the_log_is_measured_in_bytes(void **state)
{
    (void)state;
    static struct logsize l;
    memset(&l, 0, sizeof l);
    for (uint64_t i = 1; i <= 10000; i++)
        logsize_append(&l, i, 100);
    uint64_t after = logsize_bytes_after(&l, 5000);
    assert_in_range(after, 500000, 500000 + 100 * LOGSIZE_MARK_ENTRIES);
    uint64_t entries = logsize_entries_in(&l, 100000, 1000000);
    assert_in_range(entries, 1000, 1000 + LOGSIZE_MARK_ENTRIES);
    assert_int_equal(logsize_entries_in(&l, 100000000, 777), 777);
}

static void a_truncated_log_is_measured_again(void **state)
{
    (void)state;
    static struct logsize l;
    memset(&l, 0, sizeof l);
    for (uint64_t i = 1; i <= 1000; i++)
        logsize_append(&l, i, LOGSIZE_MARK_BYTES);
    for (uint64_t i = 501; i <= 600; i++)
        logsize_append(&l, i, LOGSIZE_MARK_BYTES);
    assert_int_equal(l.last_index, 600);
    assert_int_equal(logsize_bytes_after(&l, 590),
                     (uint64_t)10 * LOGSIZE_MARK_BYTES);
}

static void old_marks_make_room(void **state)
{
    (void)state;
    static struct logsize l;
    memset(&l, 0, sizeof l);
    for (uint64_t i = 1; i <= 3 * LOGSIZE_MARKS; i++)
        logsize_append(&l, i, LOGSIZE_MARK_BYTES);
    assert_int_equal(l.count, LOGSIZE_MARKS);
    assert_int_equal(logsize_entries_in(&l, 9 * LOGSIZE_MARK_BYTES, 1 << 30),
                     10);
}

/* --- the rest ------------------------------------------------------------- */

static void
a_cluster_id_depends_on_the_founders_not_on_their_order(void **state)
{
    (void)state;
    struct founder ab[] = {{"a", "a:1", 1}, {"b", "b:1", 2}};
    struct founder ba[] = {{"b", "b:1", 2}, {"a", "a:1", 1}};
    struct founder other[] = {{"a", "a:1", 1}, {"b", "b:1", 3}};
    uint8_t x[CLUSTER_ID_SIZE], y[CLUSTER_ID_SIZE], z[CLUSTER_ID_SIZE];
    bootstrap_cluster_id(ab, 2, x);
    bootstrap_cluster_id(ba, 2, y);
    bootstrap_cluster_id(other, 2, z);
    assert_memory_equal(x, y, sizeof x);
    assert_memory_not_equal(x, z, sizeof x);
}

static void addresses_are_taken_apart(void **state)
{
    (void)state;
    struct lookup l = {0};
    assert_int_equal(lookup_parse("127.0.0.1:7600", &l), 0);
    assert_int_equal(l.count, 1);
    assert_int_equal(lookup_parse("[::1]:7600", &l), 0);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.host, "::1");
    assert_int_equal(lookup_parse("core-0.holdfast:7600", &l), 0);
    assert_int_equal(l.count, 0);
    assert_string_equal(l.host, "core-0.holdfast");
    assert_string_equal(l.port, "7600");
    static const char *const bad[] = {
        "", "x", ":1", "x:", "x:y", "x:65536", "[]:1", "x:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(lookup_parse(bad[i], &l), ERR_INVALID);
}

static void a_peer_that_is_away_is_asked_more_rarely_up_to_a_bound(void **state)
{
    (void)state;
    assert_int_equal(backoff_ms(0), 0);
    for (unsigned failures = 1; failures < 100; failures++)
        assert_in_range(backoff_ms(failures), 50, TRANSPORT_BACKOFF_MS_MAX);
    assert_in_range(backoff_ms(1), 50, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_gives_back_in_order_and_counts_bytes),
        cmocka_unit_test(packing_stops_at_the_goal_and_splits_nothing),
        cmocka_unit_test(a_record_beyond_the_goal_travels_alone),
        cmocka_unit_test(entries_of_every_length_are_padded),
        cmocka_unit_test(the_log_is_measured_in_bytes),
        cmocka_unit_test(a_truncated_log_is_measured_again),
        cmocka_unit_test(old_marks_make_room),
        cmocka_unit_test(
            a_cluster_id_depends_on_the_founders_not_on_their_order),
        cmocka_unit_test(addresses_are_taken_apart),
        cmocka_unit_test(
            a_peer_that_is_away_is_asked_more_rarely_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
