/* The counting rules one by one, then every row of the table "removed ->
 * shortest trace" of the model checker, as a test that fails if the rule that
 * it names is taken away. */
#include "store/counting.h"

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* --- a small world: one gateway, one peer, its stored state and the sum -----
 */

struct world {
    struct place place;
    struct sample stored;
    bool has;
    uint64_t upload, download;
    uint64_t value; /* of the last outcome */
};

static void settle(struct world *w, enum verdict verdict,
                   const struct sample *sample, struct growth growth)
{
    if (verdict == COUNT_STALE || verdict == COUNT_DUPLICATE)
        return;
    w->stored = *sample;
    w->has = true;
    w->upload += growth.upload;
    w->download += growth.download;
}

static enum outcome_code native(struct world *w, uint64_t session,
                                uint64_t sequence, struct sample sample)
{
    struct place place = {session, sequence};
    enum outcome_code code = count_batch(w->place, place, &w->value);
    if (code != OUTCOME_TAKEN)
        return code;
    w->place = place;
    struct growth growth;
    enum verdict verdict =
        count_native(w->has ? &w->stored : NULL, &sample, &growth);
    settle(w, verdict, &sample, growth);
    return code;
}

static enum verdict legacy(struct world *w, uint64_t rec, uint64_t origin,
                           uint64_t handshake, uint64_t upload,
                           uint64_t download)
{
    struct sample sample = {.upload = upload,
                            .download = download,
                            .handshake_s = handshake,
                            .time_ms = rec,
                            .origin = origin};
    struct growth growth;
    enum verdict verdict =
        count_legacy(w->has ? &w->stored : NULL, &sample, &growth);
    settle(w, verdict, &sample, growth);
    return verdict;
}

static struct sample counters(uint64_t upload, uint64_t download)
{
    return (struct sample){.upload = upload, .download = download};
}

static struct sample began(uint64_t upload, uint64_t download)
{
    return (struct sample){
        .upload = upload, .download = download, .from_zero = true};
}

static void assert_sum(const struct world *w, uint64_t upload,
                       uint64_t download)
{
    assert_int_equal(w->upload, upload);
    assert_int_equal(w->download, download);
}

/* --- rule 1 -----------------------------------------------------------------
 */

static void only_the_next_batch_of_a_session_is_taken(void **state)
{
    (void)state;
    struct world w = {.place = {5, 7}};
    assert_int_equal(native(&w, 5, 7, counters(0, 0)), OUTCOME_DUPLICATE);
    assert_int_equal(native(&w, 5, 1, counters(0, 0)), OUTCOME_DUPLICATE);
    assert_int_equal(native(&w, 5, 0, counters(0, 0)), OUTCOME_DUPLICATE);
    assert_int_equal(native(&w, 5, 9, counters(0, 0)), OUTCOME_GAP);
    assert_int_equal(w.value, 8);
    assert_int_equal(native(&w, 5, 8, counters(0, 0)), OUTCOME_TAKEN);
    assert_int_equal(native(&w, 5, 9, counters(0, 0)), OUTCOME_TAKEN);
}

static void a_larger_session_begins_with_its_first_batch(void **state)
{
    (void)state;
    struct world w = {.place = {5, 7}};
    assert_int_equal(native(&w, 6, 2, counters(0, 0)), OUTCOME_GAP);
    assert_int_equal(w.value, 1);
    assert_int_equal(native(&w, 6, 0, counters(0, 0)), OUTCOME_GAP);
    assert_int_equal(native(&w, 6, 1, counters(0, 0)), OUTCOME_TAKEN);
}

static void a_smaller_session_learns_the_stored_one(void **state)
{
    (void)state;
    struct world w = {.place = {5, 7}};
    assert_int_equal(native(&w, 4, 8, counters(0, 0)), OUTCOME_SUPERSEDED);
    assert_int_equal(w.value, 5);
    assert_int_equal(native(&w, 4, 1, counters(0, 0)), OUTCOME_SUPERSEDED);
}

static void counters_of_another_machine_are_a_baseline(void **state)
{
    (void)state;
    struct sample stored = {.upload = 100, .download = 100, .origin = 1};
    struct sample other = {.upload = 500, .download = 700, .origin = 2};
    struct growth growth;
    assert_int_equal(count_native(&stored, &other, &growth), COUNT_BASELINE);
    assert_int_equal(growth.upload + growth.download, 0);
    /* The next one is of the same machine again. */
    struct sample next = {.upload = 510, .download = 700, .origin = 2};
    assert_int_equal(count_native(&other, &next, &growth), COUNT_DIFFERENCE);
    assert_int_equal(growth.upload, 10);
    /* What began at zero began at zero, wherever it runs. */
    other.from_zero = true;
    assert_int_equal(count_native(&stored, &other, &growth), COUNT_RESET);
    assert_int_equal(growth.upload, 500);
}

static void a_machine_that_was_not_told_before_is_no_other(void **state)
{
    (void)state;
    struct sample stored = {.upload = 100, .download = 100, .origin = 0};
    struct sample told = {.upload = 150, .download = 100, .origin = 9};
    struct growth growth;
    assert_int_equal(count_native(&stored, &told, &growth), COUNT_DIFFERENCE);
    assert_int_equal(growth.upload, 50);
}

/* --- rule 2 -----------------------------------------------------------------
 */

static void within_one_handshake_counters_only_grow(void **state)
{
    (void)state;
    struct world w = {0};
    assert_int_equal(legacy(&w, 10, 1, 100, 50, 50), COUNT_BASELINE);
    assert_int_equal(legacy(&w, 11, 1, 100, 60, 70), COUNT_DIFFERENCE);
    assert_int_equal(legacy(&w, 12, 1, 100, 59, 80), COUNT_STALE);
    assert_int_equal(legacy(&w, 12, 1, 100, 61, 69), COUNT_STALE);
    assert_int_equal(legacy(&w, 11, 1, 100, 60, 70), COUNT_DUPLICATE);
    assert_sum(&w, 10, 20);
}

static void
an_older_handshake_is_dropped_even_with_larger_counters(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 200, 5, 5);
    assert_int_equal(legacy(&w, 11, 1, 100, 900, 900), COUNT_STALE);
    assert_sum(&w, 0, 0);
}

static void a_newer_handshake_with_a_fall_is_a_reset(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 100, 50, 50);
    assert_int_equal(legacy(&w, 11, 1, 200, 7, 90), COUNT_RESET);
    assert_sum(&w, 7, 90); /* both in full */
    assert_int_equal(legacy(&w, 12, 1, 300, 8, 90), COUNT_DIFFERENCE);
    assert_sum(&w, 8, 90);
}

static void another_address_is_a_baseline_only_when_strictly_newer(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 100, 50, 50);
    assert_int_equal(legacy(&w, 10, 2, 300, 900, 900), COUNT_STALE);
    assert_int_equal(legacy(&w, 9, 2, 300, 900, 900), COUNT_STALE);
    assert_int_equal(legacy(&w, 11, 2, 50, 900, 900), COUNT_BASELINE);
    assert_sum(&w, 0, 0);
}

static void a_handshake_from_the_future_is_clamped(void **state)
{
    (void)state;
    assert_int_equal(count_handshake(1000, 1000000), 1000);
    assert_int_equal(count_handshake(1300, 1000000), 1300);
    assert_int_equal(count_handshake(1301, 1000000), 1300);
    assert_int_equal(count_handshake(UINT64_MAX, 1000000), 1300);
}

/* --- rule 3 -----------------------------------------------------------------
 */

static void the_first_sample_counts_nothing(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1, 1, counters(1000, 1000));
    assert_sum(&w, 0, 0);
    (void)native(&w, 1, 2, counters(1001, 1000));
    assert_sum(&w, 1, 0);
}

static void a_fall_of_either_counter_counts_both_in_full(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1, 1, counters(100, 100));
    (void)native(&w, 1, 2, counters(99, 150));
    assert_sum(&w, 99, 150);
    (void)native(&w, 1, 3, counters(120, 10));
    assert_sum(&w, 99 + 120, 150 + 10);
}

static void from_zero_counts_in_full_even_if_the_counters_grew(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1, 1, counters(10, 10));
    (void)native(&w, 1, 2, began(500, 500)); /* a hidden reset */
    assert_sum(&w, 500, 500);
    struct world fresh = {0};
    (void)native(&fresh, 1, 1, began(30, 40)); /* with nothing stored too */
    assert_sum(&fresh, 30, 40);
}

/* --- restarts, clocks, connections ------------------------------------------
 */

static void an_agent_without_its_spool_goes_on_from_what_is_stored(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1000, 1, counters(100, 0));
    (void)native(&w, 1000, 2, counters(130, 0));
    /* Sampled as number 3 and lost with the spool: 150. */
    assert_int_equal(native(&w, 2000, 1, counters(170, 0)), OUTCOME_TAKEN);
    assert_sum(&w, 70, 0);
}

/* With its spool it sends again what it does not know the fate of. */
static void an_agent_with_its_spool_goes_on_in_its_session(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1000, 1, counters(100, 0));
    (void)native(&w, 1000, 2, counters(130, 0));
    assert_int_equal(native(&w, 1000, 2, counters(130, 0)), OUTCOME_DUPLICATE);
    assert_int_equal(native(&w, 1000, 3, counters(150, 0)), OUTCOME_TAKEN);
    assert_int_equal(native(&w, 1000, 4, counters(170, 0)), OUTCOME_TAKEN);
    assert_sum(&w, 70, 0);
}

static void
a_gateway_clock_that_steps_back_delays_and_loses_nothing(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 500, 100, 0);
    (void)legacy(&w, 11, 1, 500, 110, 0);
    /* Its clock went back: new handshakes look old until they have passed. */
    assert_int_equal(legacy(&w, 12, 1, 450, 120, 0), COUNT_STALE);
    assert_int_equal(legacy(&w, 13, 1, 480, 130, 0), COUNT_STALE);
    assert_sum(&w, 10, 0);
    assert_int_equal(legacy(&w, 14, 1, 510, 140, 0), COUNT_DIFFERENCE);
    assert_sum(&w, 40, 0);
}

/* A reset that no sample shows, because the counter had passed its old value:
 * lost by nature, and never more than what was moved. */
static void a_hidden_reset_of_defguards_counts_too_little(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 100, 50, 0);
    (void)legacy(&w, 20, 1, 200, 80, 0); /* began anew, moved 80 */
    assert_sum(&w, 30, 0);
}

static void connected_since_the_handshake_after_the_last_break(void **state)
{
    (void)state;
    enum { THRESHOLD = 300 };
    assert_int_equal(count_connected(0, 0, 0, THRESHOLD), 0); /* never */
    assert_int_equal(count_connected(0, 0, 1000, THRESHOLD), 1000);
    assert_int_equal(count_connected(1000, 1000, 1000, THRESHOLD), 1000);
    assert_int_equal(count_connected(1000, 1000, 1300, THRESHOLD), 1000);
    assert_int_equal(count_connected(1000, 1300, 1600, THRESHOLD), 1000);
    assert_int_equal(count_connected(1000, 1600, 1901, THRESHOLD), 1901);
    /* A clock that went back; the interface was made anew. */
    assert_int_equal(count_connected(1000, 1600, 1500, THRESHOLD), 1000);
    assert_int_equal(count_connected(1000, 1600, 900, THRESHOLD), 900);
    assert_int_equal(count_connected(1000, 1600, 0, THRESHOLD), 0);
    /* Of a threshold beyond all times the first one begins it all the same. */
    assert_int_equal(count_connected(0, 0, 1000, UINT32_MAX), 1000);
}

/* --- removed -> shortest trace ----------------------------------------------
 */

static void
without_n_equal_1_batch_2_taken_first_would_swallow_batch_1(void **state)
{
    (void)state;
    struct world w = {0};
    assert_int_equal(native(&w, 1, 2, counters(30, 0)), OUTCOME_GAP);
    assert_int_equal(native(&w, 1, 1, began(10, 0)), OUTCOME_TAKEN);
    assert_int_equal(native(&w, 1, 2, counters(30, 0)), OUTCOME_TAKEN);
    assert_sum(&w, 30, 0);
}

static void
without_session_order_a_late_batch_would_turn_the_slot_back(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1, 1, counters(10, 0));
    (void)native(&w, 2, 1, counters(50, 0));
    assert_int_equal(native(&w, 1, 2, counters(20, 0)), OUTCOME_SUPERSEDED);
    (void)native(&w, 2, 2, counters(60, 0));
    assert_sum(&w, 50, 0);
}

/* The agent's side of it is the spool's test; here: a number is taken once, so
 * other contents under it are a duplicate, never counted. */
static void a_number_used_again_for_other_contents_counts_nothing(void **state)
{
    (void)state;
    struct world w = {0};
    (void)native(&w, 1, 1, counters(10, 0));
    (void)native(&w, 1, 2, counters(20, 0));
    assert_int_equal(native(&w, 1, 2, counters(25, 0)), OUTCOME_DUPLICATE);
    assert_sum(&w, 10, 0);
}

static void from_zero_in_a_batch_that_is_sent_twice_counts_once(void **state)
{
    (void)state;
    struct world w = {0};
    assert_int_equal(native(&w, 1, 1, began(40, 0)), OUTCOME_TAKEN);
    assert_int_equal(native(&w, 1, 1, began(40, 0)), OUTCOME_DUPLICATE);
    /* The acknowledgement was lost, the agent restarts: without the mark. */
    assert_int_equal(native(&w, 2, 1, counters(45, 0)), OUTCOME_TAKEN);
    assert_sum(&w, 45, 0);
}

static void
without_rec_a_stale_retry_of_another_host_would_alternate(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 100, 10, 0); /* host 1 */
    (void)legacy(&w, 12, 2, 100, 50, 0); /* host 2, same name */
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(legacy(&w, 10, 1, 100, 10, 0), COUNT_STALE);
        (void)legacy(&w, 12, 2, 100, 50, 0);
    }
    assert_sum(&w, 0, 0);
}

static void without_rec_a_late_sample_would_count_in_full(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 200, 100, 0);
    (void)legacy(&w, 12, 1, 300, 5, 0); /* made new */
    assert_sum(&w, 5, 0);
    /* Before the clock stepped back: the latest handshake of all. */
    assert_int_equal(legacy(&w, 11, 1, 400, 120, 0), COUNT_STALE);
    assert_sum(&w, 5, 0);
}

static void without_both_grow_a_reset_within_one_second_would_mix(void **state)
{
    (void)state;
    struct world w = {0};
    (void)legacy(&w, 10, 1, 100, 10, 0);
    /* A reset in the same second: one counter passed, one did not. */
    assert_int_equal(legacy(&w, 11, 1, 100, 4, 20), COUNT_STALE);
    (void)legacy(&w, 12, 1, 101, 5, 21);
    assert_sum(&w, 5, 21); /* and not 20 twice */
}

static void with_a_clamp_alone_every_retry_would_look_newer(void **state)
{
    (void)state;
    struct world w = {0};
    uint64_t far = UINT64_MAX;
    (void)legacy(&w, 1000000, 1, count_handshake(far, 1000000), 50, 0);
    (void)legacy(&w, 1010000, 1, count_handshake(far, 1010000), 3, 0);
    assert_sum(&w, 3, 0);
    /* The old sample again, later: its clamped handshake is the latest. */
    assert_int_equal(
        legacy(&w, 1000000, 1, count_handshake(far, 1020000), 50, 0),
        COUNT_STALE);
    assert_sum(&w, 3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_next_batch_of_a_session_is_taken),
        cmocka_unit_test(a_larger_session_begins_with_its_first_batch),
        cmocka_unit_test(a_smaller_session_learns_the_stored_one),
        cmocka_unit_test(counters_of_another_machine_are_a_baseline),
        cmocka_unit_test(a_machine_that_was_not_told_before_is_no_other),
        cmocka_unit_test(within_one_handshake_counters_only_grow),
        cmocka_unit_test(
            an_older_handshake_is_dropped_even_with_larger_counters),
        cmocka_unit_test(a_newer_handshake_with_a_fall_is_a_reset),
        cmocka_unit_test(
            another_address_is_a_baseline_only_when_strictly_newer),
        cmocka_unit_test(a_handshake_from_the_future_is_clamped),
        cmocka_unit_test(the_first_sample_counts_nothing),
        cmocka_unit_test(a_fall_of_either_counter_counts_both_in_full),
        cmocka_unit_test(from_zero_counts_in_full_even_if_the_counters_grew),
        cmocka_unit_test(
            an_agent_without_its_spool_goes_on_from_what_is_stored),
        cmocka_unit_test(an_agent_with_its_spool_goes_on_in_its_session),
        cmocka_unit_test(
            a_gateway_clock_that_steps_back_delays_and_loses_nothing),
        cmocka_unit_test(a_hidden_reset_of_defguards_counts_too_little),
        cmocka_unit_test(connected_since_the_handshake_after_the_last_break),
        cmocka_unit_test(
            without_n_equal_1_batch_2_taken_first_would_swallow_batch_1),
        cmocka_unit_test(
            without_session_order_a_late_batch_would_turn_the_slot_back),
        cmocka_unit_test(a_number_used_again_for_other_contents_counts_nothing),
        cmocka_unit_test(from_zero_in_a_batch_that_is_sent_twice_counts_once),
        cmocka_unit_test(
            without_rec_a_stale_retry_of_another_host_would_alternate),
        cmocka_unit_test(without_rec_a_late_sample_would_count_in_full),
        cmocka_unit_test(without_both_grow_a_reset_within_one_second_would_mix),
        cmocka_unit_test(with_a_clamp_alone_every_retry_would_look_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
