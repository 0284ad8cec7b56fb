/* A flush that is gathered in slices while apply goes on: the file becomes the
 * state at the index where it began, to the byte, wherever between two slices a
 * slot changes; and who reads meanwhile sees every byte once. One replica
 * flushes so, its twin at once and before anything changed; digests say whether
 * they are the same. */
#include "store/test/replica.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { GATEWAYS = 4, DEVICES = 4, SLOTS = GATEWAYS * (DEVICES + 1) };

#define SECOND ((uint64_t)1000)
#define MINUTE (60 * SECOND)
#define DAY (24 * 60 * MINUTE)
#define D0 ((uint64_t)1700006400000) /* the beginning of a day */

struct twins {
    struct replica sliced, calm;
    uint64_t index;
    uint64_t sequence[GATEWAYS + 1]; /* the last of a gateway */
};

static void apply_to(struct replica *r, uint64_t index,
                     const struct model_step *step)
{
    struct buf entry = {0};
    step_encode(step, &entry);
    replica_apply(r, index, buf_bytes(&entry));
    buf_deinit(&entry);
}

static void apply(struct twins *t, const struct model_step *step)
{
    t->index++;
    apply_to(&t->sliced, t->index, step);
    apply_to(&t->calm, t->index, step);
}

/* The next batch of a gateway. Counters and endpoints move with each. The last
 * gateway's are half an hour old: its cells come late. */
static struct model_command batch_of(struct twins *t, uint64_t log_time_ms,
                                     unsigned gateway, uint32_t devices)
{
    uint64_t sequence = ++t->sequence[gateway];
    struct model_command c = {
        .kind = MODEL_NATIVE,
        .location = 1,
        .identity = gateway,
        .session = 1,
        .sequence = sequence,
        .sampled_ms = log_time_ms - (gateway == GATEWAYS ? 30 * MINUTE : 0),
        .peer_count = devices};
    for (uint32_t d = 0; d < devices; d++) {
        struct model_peer *p = &c.peers[d];
        *p = (struct model_peer){.device = d + 1,
                                 .upload = sequence * (1000 + 10 * gateway + d),
                                 .download = sequence * 7,
                                 .handshake = log_time_ms / SECOND,
                                 .has_endpoint = true};
        snprintf(p->endpoint, sizeof p->endpoint, "192.0.2.1:%u",
                 (unsigned)sequence);
    }
    return c;
}

/* A batch of each gateway up to @gateways. */
static struct model_step round_of(struct twins *t, uint64_t log_time_ms,
                                  unsigned gateways, uint32_t devices)
{
    struct model_step step = {.log_time_ms = log_time_ms, .count = gateways};
    for (unsigned g = 1; g <= gateways; g++)
        step.commands[g - 1] = batch_of(t, log_time_ms, g, devices);
    return step;
}

static void report(struct twins *t, uint64_t log_time_ms)
{
    struct model_step step = round_of(t, log_time_ms, GATEWAYS, DEVICES);
    apply(t, &step);
}

static void set_up(struct twins *t)
{
    *t = (struct twins){0};
    replica_init(&t->sliced);
    replica_init(&t->calm);
    struct model_step step = {.log_time_ms = D0 - 10 * MINUTE, .count = 1};
    step.commands[0] = (struct model_command){.kind = MODEL_LOCATION_CREATE};
    apply(t, &step);
    for (unsigned d = 1; d <= DEVICES + 1; d++) {
        step.commands[0] =
            (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = d};
        apply(t, &step);
    }
}

static void tear_down(struct twins *t)
{
    replica_deinit(&t->sliced);
    replica_deinit(&t->calm);
}

static uint64_t digest_of(struct replica *r, uint64_t index,
                          uint64_t log_time_ms)
{
    uint64_t digest = 0;
    struct model_step step = {.log_time_ms = log_time_ms, .count = 1};
    step.commands[0] = (struct model_command){.kind = MODEL_DIGEST};
    apply_to(r, index, &step);
    assert_int_equal(store_digest_at(r->store, index, &digest), 0);
    return digest;
}

static void expect_same_answer(const struct twins *t, const struct query *q)
{
    struct answer got, want;
    struct errmsg e;
    assert_int_equal(query_run(t->sliced.store, q, &got, &e), 0);
    assert_int_equal(query_run(t->calm.store, q, &want, &e), 0);
    assert_int_equal(got.applied_index, t->index);
    assert_int_equal(got.series_count, want.series_count);
    for (size_t i = 0; i < got.series_count; i++) {
        assert_int_equal(got.series[i].id, want.series[i].id);
        assert_memory_equal(got.series[i].points, want.series[i].points,
                            got.bucket_count * sizeof *got.series[i].points);
    }
    answer_deinit(&got);
    answer_deinit(&want);
}

static void expect_same_answers(const struct twins *t)
{
    static const enum query_resolution tiers[] = {BY_MINUTE, BY_HOUR, BY_DAY};
    for (size_t i = 0; i < 3; i++)
        for (enum query_by by = BY_GATEWAY; by <= BY_DEVICE; by++) {
            struct query q = {.from_s = (D0 - DAY) / SECOND,
                              .to_s = (D0 + DAY) / SECOND,
                              .resolution = tiers[i],
                              .by = by};
            expect_same_answer(t, &q);
        }
}

/* Everything that a slot can have when a flush begins: partials of an hour and
 * a day that end with it, two open minutes, late cells. */
static uint64_t fill(struct twins *t)
{
    report(t, D0 - 5 * MINUTE);
    report(t, D0 - 4 * MINUTE);
    report(t, D0 - 3 * MINUTE);
    replica_flush(&t->sliced);
    replica_flush(&t->calm);
    report(t, D0 - 50 * SECOND);
    report(t, D0 + 5 * SECOND);
    report(t, D0 + 11 * SECOND);
    return D0 + 11 * SECOND;
}

/* Between any two slices the slots of a gateway change, minutes pass and slots
 * are added. With @crash the file is looked at, without the memory. */
static void flush_in_slices(size_t slots, bool crash)
{
    enum { CHANGES = SLOTS + 2 };
    struct model_step changes[CHANGES];
    struct twins t;
    set_up(&t);
    uint64_t now = fill(&t), begun = now;
    uint64_t index = t.index++;
    uint64_t want = digest_of(&t.calm, t.index, begun);
    replica_begin_flush(&t.sliced);
    for (size_t i = 0; i < CHANGES; i++) {
        now += i == 0 ? 2 * MINUTE : 25 * SECOND;
        changes[i] = (struct model_step){.log_time_ms = now, .count = 1};
        changes[i].commands[0] =
            batch_of(&t, now, i % GATEWAYS + 1, DEVICES + i / GATEWAYS % 2);
        apply(&t, &changes[i]);
        expect_same_answers(&t);
        replica_walk(&t.sliced, slots);
        expect_same_answers(&t);
    }
    replica_end_flush(&t.sliced);
    expect_same_answers(&t);
    assert_int_equal(store_flushed_index(t.sliced.store), index);
    if (crash) {
        replica_crash(&t.sliced);
        replica_open(&t.sliced);
        assert_int_equal(digest_of(&t.sliced, index + 1, begun), want);
        for (size_t i = 0; i < CHANGES; i++)
            apply_to(&t.sliced, index + 2 + i, &changes[i]);
    }
    t.index++;
    want = digest_of(&t.calm, t.index, now);
    assert_int_equal(digest_of(&t.sliced, t.index, now), want);
    tear_down(&t);
}

static void the_file_has_nothing_that_came_after_the_flush_began(void **state)
{
    (void)state;
    for (size_t slots = 1; slots <= SLOTS; slots += 2)
        flush_in_slices(slots, true);
}

static void memory_goes_on_as_if_the_flush_had_been_at_once(void **state)
{
    (void)state;
    for (size_t slots = 1; slots <= SLOTS; slots += 2)
        flush_in_slices(slots, false);
}

/* The walk meets the first half of the slots before they come back, the others
 * after: they expired before the flush began, so the file has none of them. */
static void a_slot_may_come_back_while_it_is_removed(void **state)
{
    (void)state;
    struct twins t;
    struct store_status status;
    set_up(&t);
    uint64_t now = fill(&t) + 31 * DAY;
    struct model_step one = round_of(&t, now, 1, 1);
    apply(&t, &one);
    uint64_t index = t.index++;
    uint64_t want = digest_of(&t.calm, t.index, now);
    replica_begin_flush(&t.sliced);
    replica_walk(&t.sliced, SLOTS / 2);
    struct model_step back = round_of(&t, now + MINUTE, GATEWAYS, DEVICES);
    back.commands[0].peers[1].has_endpoint = false;
    back.commands[GATEWAYS - 1].peers[1].has_endpoint = false;
    apply(&t, &back);
    replica_end_flush(&t.sliced);
    store_status(t.sliced.store, &status);
    assert_int_equal(status.slots, SLOTS);
    replica_crash(&t.sliced);
    replica_open(&t.sliced);
    store_status(t.sliced.store, &status);
    assert_int_equal(status.slots, 2); /* a peer and its gateway */
    assert_int_equal(digest_of(&t.sliced, index + 1, now), want);
    tear_down(&t);
}

static void what_came_back_is_in_the_next_flush(void **state)
{
    (void)state;
    struct twins t;
    set_up(&t);
    uint64_t now = fill(&t) + 31 * DAY;
    struct model_step one = round_of(&t, now, 1, 1);
    apply(&t, &one);
    replica_begin_flush(&t.sliced);
    replica_walk(&t.sliced, SLOTS / 2);
    struct model_step back = round_of(&t, now + MINUTE, 2, DEVICES);
    back.commands[0].peers[1].has_endpoint = false;
    apply(&t, &back);
    replica_end_flush(&t.sliced);
    uint64_t want = digest_of(&t.calm, ++t.index, now + MINUTE);
    assert_int_equal(digest_of(&t.sliced, t.index, now + MINUTE), want);
    replica_crash(&t.sliced);
    replica_open(&t.sliced);
    assert_int_equal(digest_of(&t.sliced, t.index + 1, now + MINUTE), want);
    tear_down(&t);
}

/* Otherwise nobody would ask for the next flush before the next report. */
static void
a_minute_that_falls_due_before_the_walk_comes_to_it_is_told(void **s)
{
    (void)s;
    struct twins t;
    set_up(&t);
    report(&t, D0 + 30 * SECOND);
    replica_begin_flush(&t.sliced);
    struct model_step tick = {.log_time_ms = D0 + 69 * SECOND, .count = 1};
    tick.commands[0] = (struct model_command){.kind = MODEL_TICK};
    apply(&t, &tick);
    assert_false(t.sliced.result.flush_due);
    tick.log_time_ms += SECOND;
    apply(&t, &tick);
    assert_true(t.sliced.result.flush_due);
    replica_end_flush(&t.sliced);
    tear_down(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_has_nothing_that_came_after_the_flush_began),
        cmocka_unit_test(memory_goes_on_as_if_the_flush_had_been_at_once),
        cmocka_unit_test(a_slot_may_come_back_while_it_is_removed),
        cmocka_unit_test(what_came_back_is_in_the_next_flush),
        cmocka_unit_test(
            a_minute_that_falls_due_before_the_walk_comes_to_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
