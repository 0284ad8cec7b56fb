/* The table of slots against a flat list of keys: random additions and
 * removals, with and without putting the order right between them. */
#include "store/table.h"

#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { LOCATIONS = 3, DEVICES = 40, GATEWAYS = 5, ROUNDS = 400 };
enum { KEYS = LOCATIONS * DEVICES * GATEWAYS };

struct world {
    struct table table;
    uint32_t there[KEYS]; /* what was written into the slot; 0: no slot */
    uint32_t written;
    uint64_t random;
};

/* In the order of the numbers. */
static struct slot_key key_of(size_t number)
{
    return (struct slot_key){.location =
                                 (uint32_t)(number / (DEVICES * GATEWAYS)) + 1,
                             .device = (uint32_t)(number / GATEWAYS % DEVICES),
                             .gateway = (uint32_t)(number % GATEWAYS) + 1};
}

static size_t draw(struct world *w, size_t limit)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(w->random >> 33) % limit;
}

static void add_some(struct world *w)
{
    for (size_t i = draw(w, 30); i > 0; i--) {
        size_t number = draw(w, KEYS);
        if (w->there[number] != 0)
            continue;
        struct slot *slot = table_add(&w->table, key_of(number));
        assert_non_null(slot);
        assert_int_equal(slot->seen_ms, 0);
        assert_null(slot->address);
        slot->seen_ms = w->there[number] = ++w->written;
        assert_int_equal(slot_set_address(slot, bytes_of_string("192.0.2.1:1"),
                                          bytes_of_string("10.0.0.1")),
                         0);
    }
}

static void remove_some(struct world *w)
{
    struct slot_key keys[KEYS];
    size_t count = 0, one_in = 1 + draw(w, 60);
    for (size_t number = 0; number < KEYS; number++) {
        if (w->there[number] == 0 || draw(w, one_in) != 0)
            continue;
        keys[count++] = key_of(number);
        w->there[number] = 0;
    }
    table_remove(&w->table, keys, count);
}

static void expect_all_found(const struct world *w)
{
    size_t count = 0;
    for (size_t number = 0; number < KEYS; number++) {
        const struct slot *slot = table_find(&w->table, key_of(number));
        assert_int_equal(slot == NULL ? 0 : slot->seen_ms, w->there[number]);
        count += slot != NULL;
    }
    assert_int_equal(w->table.count, count);
}

static void expect_order(const struct world *w)
{
    size_t i = 0;
    assert_int_equal(w->table.sorted, w->table.count);
    for (size_t number = 0; number < KEYS; number++) {
        assert_int_equal(table_lower_bound(&w->table, key_of(number)), i);
        if (w->there[number] != 0)
            assert_int_equal(table_at(&w->table, i++)->seen_ms,
                             w->there[number]);
    }
    assert_int_equal(w->table.count, i);
}

static void slots_are_found_and_in_order_whatever_comes_and_goes(void **state)
{
    (void)state;
    struct world w = {.random = 1};
    assert_int_equal(table_sort(&w.table), 0);
    remove_some(&w);
    expect_order(&w);
    for (size_t round = 0; round < ROUNDS; round++) {
        add_some(&w);
        expect_all_found(&w);
        if (draw(&w, 3) == 0)
            continue;
        assert_int_equal(table_sort(&w.table), 0);
        expect_order(&w);
        remove_some(&w);
        expect_order(&w);
        expect_all_found(&w);
    }
    /* Places of removed slots are taken again. */
    assert_true(w.written > 2 * KEYS);
    assert_true(w.table.used <= KEYS);
    table_deinit(&w.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_are_found_and_in_order_whatever_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
