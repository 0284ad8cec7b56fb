#include "gateway/pace.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void agents_spread_over_the_nodes(void **state)
{
    unsigned count[3] = {0};
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        struct pace p;
        pace_init(&p, 3, "gateway/wg0", seed);
        assert_true(p.node < 3);
        count[p.node]++;
    }
    for (int i = 0; i < 3; i++)
        assert_true(count[i] > 50);
}

static void every_node_is_tried_in_turn(void **state)
{
    struct pace p;
    (void)state;
    pace_init(&p, 3, "g", 1);
    size_t first = p.node;
    for (size_t i = 1; i <= 6; i++) {
        pace_move_on(&p, 0, 0);
        assert_int_equal(p.node, (first + i) % 3);
    }
}

static void the_backoff_grows_to_its_limit_and_jitters_below_it(void **state)
{
    struct pace p;
    uint64_t now_ms = 1000000, limit_ms = PACE_BACKOFF_MS;
    (void)state;
    pace_init(&p, 2, "g", 1);
    for (int i = 0; i < 10; i++) {
        pace_move_on(&p, now_ms, 0);
        assert_true(p.next_open_ms >= now_ms + limit_ms / 2);
        assert_true(p.next_open_ms <= now_ms + limit_ms);
        limit_ms *= 2;
        if (limit_ms > PACE_BACKOFF_MAX_MS)
            limit_ms = PACE_BACKOFF_MAX_MS;
        now_ms = p.next_open_ms;
    }
    pace_progress(&p);
    pace_move_on(&p, now_ms, 0);
    assert_true(p.next_open_ms <= now_ms + PACE_BACKOFF_MS);
}

static void a_refusal_may_ask_for_a_longer_wait(void **state)
{
    struct pace p;
    (void)state;
    pace_init(&p, 2, "g", 1);
    pace_move_on(&p, 500, 2000);
    assert_true(p.next_open_ms == 2500);
}

static void
the_other_nodes_are_asked_before_an_overload_is_waited_out(void **state)
{
    struct pace p;
    uint64_t now_ms = 1000000, limit_ms = PACE_OVERLOAD_MS;
    (void)state;
    pace_init(&p, 3, "g", 1);
    size_t first = p.node;
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 2; i++) {
            pace_overloaded(&p, now_ms);
            assert_in_range(p.next_open_ms - now_ms, PACE_BACKOFF_MS / 2,
                            PACE_BACKOFF_MS);
            now_ms = p.next_open_ms;
        }
        pace_overloaded(&p, now_ms);
        assert_in_range(p.next_open_ms - now_ms, limit_ms / 2, limit_ms);
        assert_int_equal(p.node, first);
        now_ms = p.next_open_ms;
        limit_ms *= 2;
        if (limit_ms > PACE_OVERLOAD_MAX_MS)
            limit_ms = PACE_OVERLOAD_MAX_MS;
    }
    pace_overloaded(&p, now_ms);
    pace_progress(&p);
    /* That one had taken something: all three are asked again. */
    for (int i = 0; i < 2; i++) {
        pace_overloaded(&p, now_ms);
        assert_in_range(p.next_open_ms - now_ms, 0, PACE_BACKOFF_MS);
    }
    pace_overloaded(&p, now_ms);
    assert_in_range(p.next_open_ms - now_ms, PACE_OVERLOAD_MS / 2,
                    PACE_OVERLOAD_MS);
}

static void
agents_that_were_refused_together_do_not_come_back_together(void **state)
{
    uint64_t earliest_ms = UINT64_MAX, latest_ms = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct pace p;
        pace_init(&p, 1, "g", seed);
        pace_overloaded(&p, 0);
        if (p.next_open_ms < earliest_ms)
            earliest_ms = p.next_open_ms;
        if (p.next_open_ms > latest_ms)
            latest_ms = p.next_open_ms;
    }
    assert_true(latest_ms - earliest_ms > PACE_OVERLOAD_MS / 3);
}

static void patience_doubles_until_a_node_acknowledges(void **state)
{
    struct pace p;
    (void)state;
    pace_init(&p, 2, "g", 1);
    size_t first = p.node;
    pace_lose_patience(&p, 0);
    assert_int_equal(p.patience_ms, 2 * PACE_PATIENCE_MS);
    assert_int_equal(p.node, 1 - first);
    for (int i = 0; i < 10; i++)
        pace_lose_patience(&p, 0);
    assert_int_equal(p.patience_ms, PACE_PATIENCE_MAX_MS);
    pace_progress(&p);
    assert_int_equal(p.patience_ms, PACE_PATIENCE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agents_spread_over_the_nodes),
        cmocka_unit_test(every_node_is_tried_in_turn),
        cmocka_unit_test(the_backoff_grows_to_its_limit_and_jitters_below_it),
        cmocka_unit_test(a_refusal_may_ask_for_a_longer_wait),
        cmocka_unit_test(
            the_other_nodes_are_asked_before_an_overload_is_waited_out),
        cmocka_unit_test(
            agents_that_were_refused_together_do_not_come_back_together),
        cmocka_unit_test(patience_doubles_until_a_node_acknowledges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
