#include "gateway/spool.h"

#include <stdio.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct spool spool;

static int fresh(void **state)
{
    (void)state;
    spool_init(&spool, 100, 10);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    spool_deinit(&spool);
    return 0;
}

static int push(const char *text)
{
    return spool_push(&spool, bytes_of_string(text));
}

static void assert_holds(uint64_t sequence, const char *text)
{
    struct bytes b;
    assert_true(spool_get(&spool, sequence, &b));
    assert_true(bytes_equal(b, bytes_of_string(text)));
}

static void batches_are_numbered_from_one(void **state)
{
    struct bytes b;
    (void)state;
    assert_true(spool_next_sequence(&spool) == 1);
    assert_int_equal(push("one"), 0);
    assert_int_equal(push(""), 0);
    assert_holds(1, "one");
    assert_holds(2, "");
    assert_false(spool_get(&spool, 0, &b));
    assert_false(spool_get(&spool, 3, &b));
    assert_true(spool_next_sequence(&spool) == 3);
}

static void what_is_acknowledged_is_gone_and_the_rest_stays(void **state)
{
    struct bytes b;
    (void)state;
    assert_int_equal(push("one"), 0);
    assert_int_equal(push("two"), 0);
    assert_int_equal(push("three"), 0);
    spool_acknowledge(&spool, 2);
    assert_false(spool_get(&spool, 2, &b));
    assert_holds(3, "three");
    assert_int_equal(spool.size, 5);
    spool_acknowledge(&spool, 1); /* late, no effect */
    spool_acknowledge(&spool, 3);
    assert_int_equal(spool.count, 0);
    assert_true(spool_next_sequence(&spool) == 4);
}

static void a_full_spool_refuses_by_bytes(void **state)
{
    char sixty[61];
    (void)state;
    memset(sixty, 'x', 60);
    sixty[60] = '\0';
    assert_int_equal(push(sixty), 0);
    assert_int_equal(push(sixty), ERR_LIMIT);
    sixty[40] = '\0';
    assert_int_equal(push(sixty), 0); /* exactly full */
    assert_int_equal(push("x"), ERR_LIMIT);
    spool_acknowledge(&spool, 1);
    assert_int_equal(push(sixty), 0);
}

static void a_full_spool_refuses_by_count(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(push("x"), 0);
    assert_int_equal(push("x"), ERR_LIMIT);
}

static void a_cleared_spool_begins_at_one_again(void **state)
{
    (void)state;
    assert_int_equal(push("one"), 0);
    spool_acknowledge(&spool, 1);
    assert_int_equal(push("two"), 0);
    spool_clear(&spool, 1);
    assert_int_equal(spool.size, 0);
    assert_true(spool_next_sequence(&spool) == 1);
    assert_int_equal(push("anew"), 0);
    assert_holds(1, "anew");
}

static void a_spool_goes_on_at_any_number(void **state)
{
    (void)state;
    spool_clear(&spool, 41);
    assert_int_equal(push("one"), 0);
    assert_holds(41, "one");
    assert_true(spool_next_sequence(&spool) == 42);
}

static void the_ring_grows_while_its_front_moves(void **state)
{
    (void)state;
    spool_deinit(&spool);
    spool_init(&spool, 1 << 20, 1 << 20);
    uint64_t acknowledged = 0, pushed = 0;
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < 3; i++) {
            char text[24];
            snprintf(text, sizeof text, "%llu", (unsigned long long)++pushed);
            assert_int_equal(push(text), 0);
        }
        spool_acknowledge(&spool, ++acknowledged);
        for (uint64_t n = acknowledged + 1; n <= pushed; n += 97) {
            char text[24];
            snprintf(text, sizeof text, "%llu", (unsigned long long)n);
            assert_holds(n, text);
        }
    }
    assert_int_equal(spool.count, 1000);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, clean)
    const struct CMUnitTest tests[] = {
        CASE(batches_are_numbered_from_one),
        CASE(what_is_acknowledged_is_gone_and_the_rest_stays),
        CASE(a_full_spool_refuses_by_bytes),
        CASE(a_full_spool_refuses_by_count),
        CASE(a_cleared_spool_begins_at_one_again),
        CASE(a_spool_goes_on_at_any_number),
        CASE(the_ring_grows_while_its_front_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
