#include "raft/logtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { NOW = 1000000 };

static void alone_it_is_the_wall_clock(void **state)
{
    (void)state;
    assert_int_equal(logtime_stamp(NOW, NULL, 0, 0), NOW);
}

static void it_never_goes_back_below_the_log(void **state)
{
    (void)state;
    assert_int_equal(logtime_stamp(NOW, NULL, 0, NOW + 5), NOW + 5);
    int64_t behind[] = {-9000, -9000};
    assert_int_equal(logtime_stamp(NOW, behind, 2, NOW - 3), NOW - 3);
}

static void small_differences_are_left_alone(void **state)
{
    (void)state;
    int64_t offsets[] = {900, 1000};
    assert_int_equal(logtime_stamp(NOW, offsets, 2, 0), NOW);
}

static void a_leader_whose_clock_strays_follows_the_median(void **state)
{
    (void)state;
    int64_t ahead[] = {60000, 61000};
    assert_int_equal(logtime_stamp(NOW, ahead, 2, 0), NOW + 60000);
    int64_t behind[] = {-60000, -61000};
    assert_int_equal(logtime_stamp(NOW, behind, 2, 0), NOW - 60000);
}

static void one_wrong_clock_of_three_moves_nothing(void **state)
{
    (void)state;
    int64_t wild[] = {INT64_MAX / 8, 3};
    assert_int_equal(logtime_stamp(NOW, wild, 2, 0), NOW);
    wild[0] = INT64_MIN / 8;
    assert_int_equal(logtime_stamp(NOW, wild, 2, 0), NOW);
}

static void of_two_that_disagree_the_earlier_is_taken(void **state)
{
    (void)state;
    /* With a third node down, one that is years ahead must not take log time
     * with it: it never goes back. Whichever of the two leads, it is the same.
     */
    int64_t offset[] = {INT64_MAX / 4};
    assert_int_equal(logtime_stamp(NOW, offset, 1, 0), NOW);
    offset[0] = 10000;
    assert_int_equal(logtime_stamp(NOW, offset, 1, 0), NOW);
    offset[0] = -10000;
    assert_int_equal(logtime_stamp(NOW + 10000, offset, 1, 0), NOW);
}

static void a_clock_before_1970_does_not_wrap(void **state)
{
    (void)state;
    int64_t offsets[] = {-2 * NOW, -2 * NOW};
    assert_int_equal(logtime_stamp(NOW, offsets, 2, 0), 0);
}

static void when_our_own_clock_jumps_the_offset_shows_it_at_once(void **state)
{
    (void)state;
    enum { HOUR = 3600 * 1000, MONO = 77 };
    struct peer_clock c = {0};
    assert_false(peer_clock_is_fresh(&c, MONO));
    assert_int_equal(peer_clock_offset(&c, NOW, MONO), 0);
    peer_clock_measure(&c, NOW - 5, 10 * 1000000, MONO);
    assert_int_equal(peer_clock_offset(&c, NOW, MONO), 0);
    assert_int_equal(peer_clock_offset(&c, NOW + 300, MONO + 300), 0);
    int64_t offsets[2];
    offsets[0] = offsets[1] = peer_clock_offset(&c, NOW + HOUR, MONO + 100);
    assert_int_equal(offsets[0], 100 - HOUR);
    assert_int_equal(logtime_stamp(NOW + HOUR, offsets, 2, NOW), NOW + 100);
    assert_true(peer_clock_is_fresh(&c, MONO + PEER_CLOCK_AGE_MS_MAX));
    assert_false(peer_clock_is_fresh(&c, MONO + PEER_CLOCK_AGE_MS_MAX + 1));
}

static void a_clock_out_of_any_calendar_is_only_very_wrong(void **state)
{
    (void)state;
    struct peer_clock c = {0};
    peer_clock_measure(&c, UINT64_MAX, 0, 5);
    assert_true(peer_clock_offset(&c, NOW, 5) > INT64_MAX / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_is_the_wall_clock),
        cmocka_unit_test(it_never_goes_back_below_the_log),
        cmocka_unit_test(small_differences_are_left_alone),
        cmocka_unit_test(a_leader_whose_clock_strays_follows_the_median),
        cmocka_unit_test(one_wrong_clock_of_three_moves_nothing),
        cmocka_unit_test(of_two_that_disagree_the_earlier_is_taken),
        cmocka_unit_test(a_clock_before_1970_does_not_wrap),
        cmocka_unit_test(when_our_own_clock_jumps_the_offset_shows_it_at_once),
        cmocka_unit_test(a_clock_out_of_any_calendar_is_only_very_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
