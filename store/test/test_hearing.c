/* Gaps in which nobody heard a gateway, and shares that come out even and
 * exact. What apply does with them is in test_store and test_model. */
#include "store/hearing.h"

#include <string.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct hearing heard_at(const uint32_t *minutes, size_t count)
{
    struct hearing h = {0};
    for (size_t i = 0; i < count; i++)
        h = hearing_at(h, minutes[i]);
    return h;
}

#define HEARD(...)                                                             \
    heard_at((const uint32_t[]){__VA_ARGS__},                                  \
             sizeof(uint32_t[]){__VA_ARGS__} / sizeof(uint32_t))

static uint64_t ms_of(uint32_t minute)
{
    return (uint64_t)minute * MINUTE_MS;
}

static void a_gap_is_what_lies_between_two_minutes_that_were_heard(void **state)
{
    (void)state;
    struct hearing h = HEARD(100);
    assert_int_equal(h.gap_first, h.gap_end); /* before the first is no gap */
    h = HEARD(100, 101, 101);
    assert_int_equal(h.gap_first, h.gap_end);
    h = HEARD(100, 105, 106);
    assert_int_equal(h.minute, 106);
    assert_int_equal(h.gap_first, 101);
    assert_int_equal(h.gap_end, 105);
    h = HEARD(100, 105, 106, 110);
    assert_int_equal(h.gap_first, 107);
    assert_int_equal(h.gap_end, 110);
}

static void
only_the_first_samples_after_a_gap_are_spread_and_only_soon(void **state)
{
    (void)state;
    struct hearing h = HEARD(100, 105);
    struct spread s = spread_of(&h, ms_of(100), 0);
    assert_int_equal(s.first, 101);
    assert_int_equal(s.count, 4);
    assert_int_equal(spread_of(&h, ms_of(105), 0).count, 0); /* the second */
    h = hearing_at(h, 106);
    assert_int_equal(spread_of(&h, ms_of(100), 0).count, 4);
    h = hearing_at(h, 107);
    assert_int_equal(spread_of(&h, ms_of(100), 0).count, 0);
    struct hearing steady = HEARD(100, 101);
    assert_int_equal(spread_of(&steady, ms_of(90), 0).count, 0);
}

static void a_gap_is_cut_at_a_day_and_at_the_horizon(void **state)
{
    (void)state;
    struct hearing h = HEARD(100, 9000);
    struct spread s = spread_of(&h, ms_of(100), 0);
    assert_int_equal(s.count, SPREAD_MINUTES_MAX);
    assert_int_equal(s.first, 9000 - SPREAD_MINUTES_MAX);
    s = spread_of(&h, ms_of(100), 8990);
    assert_int_equal(s.first, 8990);
    assert_int_equal(s.count, 10);
    assert_int_equal(spread_of(&h, ms_of(100), 9000).count, 0);
}

static void shares_are_even_in_rising_minutes_and_exact_in_sum(void **state)
{
    (void)state;
    const struct growth whole = {.upload = 1000003, .download = 7};
    for (uint32_t count = 1; count <= SPREAD_MINUTES_MAX; count++) {
        struct spread s = {.first = 500, .count = count};
        for (uint32_t device = 1; device < 4000; device += 997) {
            struct growth sum = {0, 0};
            uint32_t next = s.first;
            for (uint32_t i = 0; i < spread_shares(s); i++) {
                uint32_t minute;
                struct growth share =
                    spread_share(s, whole, device, i, &minute);
                assert_true(minute >= next && minute < s.first + count);
                next = minute + 1;
                uint64_t part = whole.upload / spread_shares(s);
                assert_true(share.upload == part || share.upload == part + 1);
                assert_true(share.download <= 7);
                sum.upload += share.upload;
                sum.download += share.download;
            }
            assert_int_equal(sum.upload, whole.upload);
            assert_int_equal(sum.download, whole.download);
        }
    }
}

/* A day in 60 shares a device: 1,440 devices fill every minute alike. */
static void many_devices_together_are_even_over_a_day(void **state)
{
    (void)state;
    struct spread s = {.first = 0, .count = SPREAD_MINUTES_MAX};
    uint32_t filled[SPREAD_MINUTES_MAX] = {0};
    for (uint32_t device = 1; device <= SPREAD_MINUTES_MAX; device++)
        for (uint32_t i = 0; i < spread_shares(s); i++) {
            uint32_t minute;
            (void)spread_share(s, (struct growth){60, 60}, device, i, &minute);
            filled[minute]++;
        }
    for (size_t i = 0; i < SPREAD_MINUTES_MAX; i++)
        assert_int_equal(filled[i], SPREAD_SHARES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_gap_is_what_lies_between_two_minutes_that_were_heard),
        cmocka_unit_test(
            only_the_first_samples_after_a_gap_are_spread_and_only_soon),
        cmocka_unit_test(a_gap_is_cut_at_a_day_and_at_the_horizon),
        cmocka_unit_test(shares_are_even_in_rising_minutes_and_exact_in_sum),
        cmocka_unit_test(many_devices_together_are_even_over_a_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
