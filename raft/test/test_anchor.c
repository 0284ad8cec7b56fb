#include "raft/anchor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A node that was seeded at 100, and one that keeps 30 entries before it. */
static const struct raft_trail seeded = {.offset = 100, .snapshot = {100, 7}};
static const struct raft_trail with_tail = {.offset = 70, .snapshot = {100, 7}};

static void entries_from_before_the_log_begin_behind_the_snapshot(void **state)
{
    (void)state;
    struct raft_append_entries m = {
        .prev_log_index = 90, .prev_log_term = 5, .n_entries = 15};
    assert_int_equal(anchor_entries(&seeded, &m), 10);
    assert_int_equal(m.prev_log_index, 100);
    assert_int_equal(m.prev_log_term, 7);
}

static void
a_heartbeat_from_before_the_log_matches_at_the_snapshot(void **state)
{
    (void)state;
    struct raft_append_entries m = {.prev_log_index = 90, .prev_log_term = 5};
    assert_int_equal(anchor_entries(&seeded, &m), 0);
    assert_int_equal(m.prev_log_index, 100);
    m = (struct raft_append_entries){.prev_log_index = 60, .n_entries = 40};
    assert_int_equal(anchor_entries(&with_tail, &m), 40); /* all are known */
    assert_int_equal(m.prev_log_index, 100);
}

static void what_the_log_can_be_compared_with_stays(void **state)
{
    (void)state;
    struct raft_append_entries m = {
        .prev_log_index = 100, .prev_log_term = 6, .n_entries = 3};
    assert_int_equal(anchor_entries(&seeded, &m), 0);
    assert_int_equal(m.prev_log_index, 100);
    assert_int_equal(m.prev_log_term, 6);
    m.prev_log_index = 70;
    assert_int_equal(anchor_entries(&with_tail, &m), 0);
    assert_int_equal(m.prev_log_index, 70);
    struct raft_trail fresh = {0};
    m.prev_log_index = 0;
    assert_int_equal(anchor_entries(&fresh, &m), 0);
    assert_int_equal(m.prev_log_index, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_from_before_the_log_begin_behind_the_snapshot),
        cmocka_unit_test(
            a_heartbeat_from_before_the_log_matches_at_the_snapshot),
        cmocka_unit_test(what_the_log_can_be_compared_with_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
