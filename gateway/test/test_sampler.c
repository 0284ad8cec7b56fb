#include "gateway/sampler.h"
#include "gateway/test/interface.h"

#include <stdio.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct sampler sampler;
static char transcript[512];

static int fresh(void **state)
{
    (void)state;
    sampler_deinit(&sampler);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    sampler_deinit(&sampler);
    return 0;
}

/* A look, written as "a 1/2 b! 3/4": the exclamation mark is from_zero. */
static const char *look(bool all, uint64_t sequence, unsigned life,
                        const struct made_peer *peers)
{
    struct wg_interface i = make_interface(life, peers);
    struct stat_report *reports;
    size_t count, n = 0;
    assert_int_equal(
        sampler_take(&sampler, &i, all, sequence, &reports, &count), 0);
    wg_interface_deinit(&i); /* nothing borrows from it */
    transcript[0] = '\0';
    for (size_t k = 0; k < count; k++)
        n += (size_t)snprintf(
            transcript + n, sizeof transcript - n, "%s%c%s %u/%u",
            k > 0 ? " " : "", reports[k].public_key[0],
            reports[k].from_zero ? "!" : "", (unsigned)reports[k].upload,
            (unsigned)reports[k].download);
    return transcript;
}

static void the_first_look_yields_every_peer_as_a_baseline(void **state)
{
    (void)state;
    assert_string_equal(look(true, 1, 1, PEERS({'b', 5, 6}, {'a', 0, 0})),
                        "a 0/0 b 5/6");
}

static void only_what_changed_is_yielded_afterwards(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}, {'b', 1, 1}, {'c', 1, 1}));
    assert_string_equal(
        look(false, 2, 1, PEERS({'c', 1, 2}, {'a', 1, 1}, {'b', 2, 1})),
        "b 2/1 c 1/2");
    assert_string_equal(
        look(false, 3, 1, PEERS({'a', 1, 1}, {'b', 2, 1}, {'c', 1, 2})), "");
}

static void any_changed_field_counts_as_a_change(void **state)
{
    (void)state;
    for (int field = 0; field < 5; field++) {
        struct wg_interface i = make_interface(1, PEERS({'a', 1, 1}));
        struct stat_report *reports;
        size_t count;
        assert_int_equal(sampler_take(&sampler, &i, true, 1, &reports, &count),
                         0);
        i.peers[0].handshake_s += field == 0;
        i.peers[0].handshake_ns += field == 1;
        i.peers[0].keepalive_interval_s += field == 2;
        if (field == 3)
            strcpy(i.peers[0].endpoint, "10.0.0.1:1");
        if (field == 4)
            strcpy(i.peers[0].allowed_ips, "10.0.0.1/32");
        assert_int_equal(sampler_take(&sampler, &i, false, 2, &reports, &count),
                         0);
        assert_int_equal(count, 1);
        assert_int_equal(sampler_take(&sampler, &i, false, 3, &reports, &count),
                         0);
        assert_int_equal(count, 0);
        wg_interface_deinit(&i);
    }
}

static void all_peers_are_yielded_when_asked_idle_ones_too(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}));
    assert_string_equal(look(true, 1, 1, PEERS({'a', 1, 1})), "a 1/1");
}

static void a_peer_that_was_added_counts_from_zero_once(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}));
    assert_string_equal(look(false, 2, 1, PEERS({'a', 1, 1}, {'b', 3, 3})),
                        "b! 3/3");
    assert_string_equal(look(false, 3, 1, PEERS({'a', 1, 1}, {'b', 4, 3})),
                        "b 4/3");
}

static void a_peer_that_was_removed_and_added_counts_from_zero(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}, {'b', 1, 1}));
    look(false, 2, 1, PEERS({'b', 1, 1}));
    assert_string_equal(look(false, 3, 1, PEERS({'a', 9, 9}, {'b', 1, 1})),
                        "a! 9/9");
}

static void a_fall_of_either_counter_counts_from_zero(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 5, 5}, {'b', 5, 5}));
    assert_string_equal(look(false, 2, 1, PEERS({'a', 4, 9}, {'b', 9, 4})),
                        "a! 4/9 b! 9/4");
    assert_string_equal(look(false, 3, 1, PEERS({'a', 5, 9}, {'b', 9, 5})),
                        "a 5/9 b 9/5");
}

static void
an_interface_made_anew_counts_from_zero_even_if_it_passed(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 5, 5}, {'b', 0, 0}));
    assert_string_equal(look(false, 2, 2, PEERS({'a', 6, 6}, {'b', 0, 0})),
                        "a! 6/6 b! 0/0");
}

static void an_interface_that_appears_later_counts_from_zero(void **state)
{
    (void)state;
    sampler_absent(&sampler);
    assert_string_equal(look(false, 2, 1, PEERS({'a', 7, 7})), "a! 7/7");
    assert_string_equal(look(false, 3, 1, PEERS({'a', 7, 7})), "");
}

static void a_peer_named_twice_is_no_new_peer(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 5, 5}));
    assert_string_equal(look(true, 2, 1, PEERS({'a', 5, 5}, {'a', 5, 5})),
                        "a 5/5");
}

static void an_unsent_from_zero_is_said_again_in_the_next_session(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}));
    look(false, 2, 1, PEERS({'a', 1, 1}, {'b', 3, 3}));
    sampler_give_up_session(&sampler, 1); /* batch 2 was never sent */
    assert_string_equal(look(true, 1, 1, PEERS({'a', 1, 1}, {'b', 4, 4})),
                        "a 1/1 b! 4/4");
    assert_string_equal(look(true, 2, 1, PEERS({'a', 1, 1}, {'b', 4, 4})),
                        "a 1/1 b 4/4");
}

static void a_sent_from_zero_is_never_said_again(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}));
    look(false, 2, 1, PEERS({'a', 1, 1}, {'b', 3, 3}));
    sampler_give_up_session(&sampler, 2);
    assert_string_equal(look(true, 1, 1, PEERS({'a', 1, 1}, {'b', 4, 4})),
                        "a 1/1 b 4/4");
}

static void the_second_of_two_beginnings_decides(void **state)
{
    (void)state;
    look(true, 1, 1, PEERS({'a', 1, 1}));
    look(false, 2, 1, PEERS({'a', 0, 1})); /* fell; sent */
    look(false, 3, 1, PEERS({'a', 0, 0})); /* fell again; not sent */
    sampler_give_up_session(&sampler, 2);
    assert_string_equal(look(true, 1, 1, PEERS({'a', 8, 8})), "a! 8/8");
}

static void many_peers_are_numbered_by_the_batch_they_travel_in(void **state)
{
    (void)state;
    enum { COUNT = REPORT_PEERS_MAX + 1 };
    struct wg_interface i = {.identity = {.inode = 1}};
    struct stat_report *reports;
    size_t count;
    i.peers = calloc(COUNT, sizeof *i.peers);
    assert_non_null(i.peers);
    sampler_absent(&sampler);
    i.peer_count = COUNT;
    for (uint32_t k = 0; k < COUNT; k++)
        be32_put(i.peers[k].public_key, k);
    assert_int_equal(sampler_take(&sampler, &i, false, 7, &reports, &count), 0);
    assert_int_equal(count, COUNT);
    sampler_give_up_session(&sampler, 7); /* all but the last were sent */
    assert_int_equal(sampler_take(&sampler, &i, true, 1, &reports, &count), 0);
    assert_int_equal(count, COUNT);
    for (size_t k = 0; k < COUNT; k++)
        assert_int_equal(reports[k].from_zero, k == COUNT - 1);
    wg_interface_deinit(&i);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, clean)
    const struct CMUnitTest tests[] = {
        CASE(the_first_look_yields_every_peer_as_a_baseline),
        CASE(only_what_changed_is_yielded_afterwards),
        CASE(any_changed_field_counts_as_a_change),
        CASE(all_peers_are_yielded_when_asked_idle_ones_too),
        CASE(a_peer_that_was_added_counts_from_zero_once),
        CASE(a_peer_that_was_removed_and_added_counts_from_zero),
        CASE(a_fall_of_either_counter_counts_from_zero),
        CASE(an_interface_made_anew_counts_from_zero_even_if_it_passed),
        CASE(an_interface_that_appears_later_counts_from_zero),
        CASE(a_peer_named_twice_is_no_new_peer),
        CASE(an_unsent_from_zero_is_said_again_in_the_next_session),
        CASE(a_sent_from_zero_is_never_said_again),
        CASE(the_second_of_two_beginnings_decides),
        CASE(many_peers_are_numbered_by_the_batch_they_travel_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
