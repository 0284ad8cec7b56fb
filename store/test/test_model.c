/* The store against the model: random command streams, a crash and a replay at
 * every step, replicas that flush at other moments, one of them beside apply.
 * HOLDFAST_SEED and HOLDFAST_STEPS choose another stream than the fixed ones.
 */
#include "store/test/replica.h"
#include "store/test/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    LOG_MAX = 20000,
    WINDOW_MINUTES = 400,
    WINDOW_HOURS = 100,
    WINDOW_DAYS = 60,
};

struct logged {
    uint64_t index;
    struct buf entry; /* owned */
};

struct fixture {
    struct model *model;
    struct scenario scenario;
    struct replica crashing, calm;
    struct logged *log; /* owned */
    size_t log_count;
    uint64_t seed, next_index;
    size_t step;
};

/* --- comparing --------------------------------------------------------------
 */

static void compare_series(const struct fixture *f, const struct query *q,
                           const struct series *got, const struct series *want,
                           size_t buckets)
{
    for (size_t b = 0; b < buckets; b++) {
        const struct point *g = &got->points[b], *w = &want->points[b];
        if (g->upload != w->upload || g->download != w->download ||
            g->observed != w->observed)
            fail_msg("seed %" PRIu64 " step %zu: location %u by %d series %u "
                     "bucket %" PRIu64 ": %" PRIu64 "/%" PRIu64
                     "%s, the model says %" PRIu64 "/%" PRIu64 "%s",
                     f->seed, f->step, q->location, (int)q->by, got->id,
                     q->from_s / q->resolution + b, g->upload, g->download,
                     g->observed ? "" : " (null)", w->upload, w->download,
                     w->observed ? "" : " (null)");
    }
}

static uint32_t itself(void *arg, uint32_t device)
{
    (void)arg;
    return device;
}

/* Without points, and devices as groups of one. */
static void compare_sums(const struct replica *r, struct query q,
                         const struct answer *want)
{
    struct answer got;
    struct errmsg e;
    q.sums_only = true;
    if (q.by == BY_DEVICE) {
        q.by = BY_GROUP;
        q.group = itself;
    }
    assert_int_equal(query_run(r->store, &q, &got, &e), 0);
    assert_int_equal(got.series_count, want->series_count);
    assert_int_equal(got.bucket_count, 0);
    for (size_t i = 0; i < got.series_count; i++) {
        assert_int_equal(got.series[i].id, want->series[i].id);
        assert_int_equal(got.series[i].upload, want->series[i].upload);
        assert_int_equal(got.series[i].download, want->series[i].download);
        assert_null(got.series[i].points);
    }
    answer_deinit(&got);
}

static void compare_query(const struct fixture *f, const struct replica *r,
                          const struct query *q)
{
    struct answer got, want;
    struct errmsg e;
    if (query_run(r->store, q, &got, &e) != 0)
        fail_msg("%s", e.text);
    model_query(f->model, q, &want);
    assert_int_equal(got.log_time_ms, model_log_time_ms(f->model));
    assert_int_equal(got.series_total, want.series_total);
    assert_int_equal(got.series_count, want.series_count);
    assert_int_equal(got.bucket_count, want.bucket_count);
    for (size_t i = 0; i < got.series_count; i++) {
        assert_int_equal(got.series[i].id, want.series[i].id);
        assert_int_equal(got.series[i].upload, want.series[i].upload);
        assert_int_equal(got.series[i].download, want.series[i].download);
        compare_series(f, q, &got.series[i], &want.series[i], got.bucket_count);
    }
    compare_sums(r, *q, &want);
    answer_deinit(&got);
    answer_deinit(&want);
}

struct presence_check {
    const struct fixture *fixture;
    uint32_t location; /* 0 = all */
    uint64_t since_s;  /* of a recent handshake */
    size_t count, recent;
};

static void compare_presence(void *arg, const struct presence *got)
{
    struct presence_check *check = arg;
    struct presence want;
    check->count++;
    check->recent += got->handshake_s >= check->since_s;
    assert_true(model_slot(check->fixture->model, got->location, got->device,
                           got->gateway, &want));
    assert_int_equal(got->upload, want.upload);
    assert_int_equal(got->download, want.download);
    assert_int_equal(got->handshake_s, want.handshake_s);
    assert_int_equal(got->connected_s, want.connected_s);
    assert_int_equal(got->sampled_ms, want.sampled_ms);
    assert_string_equal(got->endpoint, want.endpoint);
}

/* Those with a recent handshake are among all, and no other is. */
static void compare_active(const struct replica *r,
                           const struct presence_check *check)
{
    struct active_peer *peers;
    struct presence one;
    size_t count;
    assert_int_equal(
        query_active(r->store, check->location, check->since_s, &peers, &count),
        0);
    assert_int_equal(count, check->recent);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(query_peer(r->store, &peers[i], &one), 0);
        assert_int_equal(one.handshake_s, peers[i].handshake_s);
        assert_int_equal(one.connected_s, peers[i].connected_s);
        assert_true(one.handshake_s >= check->since_s);
        assert_true(check->location == 0 || one.location == check->location);
    }
    free(peers);
}

static void compare_peers(const struct fixture *f, const struct replica *r)
{
    uint64_t now_s = model_log_time_ms(f->model) / 1000;
    for (uint32_t location = 0; location <= 3; location++) {
        struct presence_check check = {
            .fixture = f, .location = location, .since_s = now_s - 300};
        assert_int_equal(
            query_presence(r->store, location, compare_presence, &check), 0);
        if (location == 0)
            assert_int_equal(check.count, model_slot_count(f->model));
        compare_active(r, &check);
    }
}

/* Only some devices, or one gateway. */
static void compare_filtered(const struct fixture *f, const struct replica *r,
                             struct query q)
{
    static const uint32_t devices[] = {1, 2, 3, 5, 7, 11};
    q.gateway = f->step % 3 == 0 ? (uint32_t)(f->step % 12) + 1 : 0;
    q.devices = devices + f->step % 5;
    q.device_count = f->step % 2 == 0 || q.gateway == 0 ? 2 : 0;
    compare_query(f, r, &q);
}

static void compare_tier(const struct fixture *f, const struct replica *r,
                         enum query_resolution resolution, uint64_t buckets)
{
    uint64_t now = model_log_time_ms(f->model) / 1000 / resolution;
    struct query q = {.from_s = (now - buckets) * resolution,
                      .to_s = (now + 2) * resolution,
                      .resolution = resolution};
    for (q.location = 0; q.location <= 3; q.location++)
        for (q.by = BY_NONE; q.by <= BY_DEVICE; q.by++) {
            compare_query(f, r, &q);
            if (q.location == f->step % 4)
                compare_filtered(f, r, q);
        }
}

static void compare_all(const struct fixture *f, const struct replica *r)
{
    compare_tier(f, r, BY_MINUTE, WINDOW_MINUTES);
    compare_tier(f, r, BY_HOUR, WINDOW_HOURS);
    compare_tier(f, r, BY_DAY, WINDOW_DAYS);
    compare_peers(f, r);
}

/* --- steps ------------------------------------------------------------------
 */

static void check_outcomes(const struct fixture *f, const struct replica *r,
                           const struct model_step *step,
                           const struct outcome *want)
{
    assert_false(r->result.skipped);
    assert_int_equal(r->result.count, step->count);
    for (size_t i = 0; i < step->count; i++) {
        const struct outcome *got = &r->result.outcomes[i];
        enum model_kind kind = step->commands[i].kind;
        bool made =
            kind == MODEL_LOCATION_CREATE || kind == MODEL_DEVICE_CREATE;
        bool batch = kind == MODEL_NATIVE || kind == MODEL_LEGACY;
        if (got->code != want[i].code ||
            ((made || batch) && got->value != want[i].value))
            fail_msg("seed %" PRIu64 " step %zu record %zu (kind %d): outcome "
                     "%d %" PRIu64 ", the model says %d %" PRIu64,
                     f->seed, f->step, i, (int)step->commands[i].kind,
                     (int)got->code, got->value, (int)want[i].code,
                     want[i].value);
    }
}

static void compare_digests(const struct fixture *f, uint64_t index)
{
    uint64_t a, b;
    if (store_digest_at(f->calm.store, index, &a) != 0)
        return;
    assert_int_equal(store_digest_at(f->crashing.store, index, &b), 0);
    if (a != b)
        fail_msg("seed %" PRIu64 " step %zu: digests differ", f->seed, f->step);
}

/* Everything that was in memory is gone; the log brings it back. */
static void crash_and_replay(struct fixture *f)
{
    struct replica *r = &f->crashing;
    struct store_status status;
    replica_crash(r);
    replica_open(r);
    store_status(r->store, &status);
    assert_int_equal(status.applied_index, status.flushed_index);
    size_t flushed = 0;
    while (flushed < f->log_count &&
           f->log[flushed].index <= status.flushed_index)
        flushed++;
    size_t first = flushed - scenario_random(&f->scenario,
                                             (flushed < 5 ? flushed : 5) + 1);
    for (size_t i = first; i < f->log_count; i++) {
        replica_apply(r, f->log[i].index, buf_bytes(&f->log[i].entry));
        assert_int_equal(r->result.skipped, i < flushed);
    }
}

/* A stream that never meets a rule does not test it. */
static void check_that_all_was_met(const struct replica *r)
{
    struct store_status status;
    store_status(r->store, &status);
    const struct store_counters *c = &status.counters;
    assert_true(c->batches > 100 && c->reports > 300);
    assert_true(c->duplicates > 0 && c->stale > 0 && c->gaps > 0);
    assert_true(c->superseded > 0 && c->unknown_keys > 0 && c->resets > 0);
    assert_true(c->late > 0 && c->flushes > 0);
    assert_true(c->spread > 0 && c->presences > 0);
}

static void one_step(struct fixture *f)
{
    struct model_step step;
    struct outcome want[MODEL_COMMANDS_MAX];
    scenario_next(&f->scenario, &step);
    model_apply(f->model, &step, want);
    scenario_told(&f->scenario, &step, want);
    struct logged *logged = &f->log[f->log_count++];
    logged->index = f->next_index;
    f->next_index += 1 + scenario_random(&f->scenario, 2);
    step_encode(&step, &logged->entry);

    replica_apply(&f->calm, logged->index, buf_bytes(&logged->entry));
    check_outcomes(f, &f->calm, &step, want);
    if (f->calm.result.flush_due)
        replica_begin_flush(&f->calm);
    else if (scenario_random(&f->scenario, 4) == 0)
        replica_end_flush(&f->calm);
    else
        replica_walk(&f->calm, scenario_random(&f->scenario, 4));

    if (scenario_random(&f->scenario, 4) == 0)
        replica_begin_flush(&f->crashing);
    replica_walk(&f->crashing, scenario_random(&f->scenario, 8));
    replica_apply(&f->crashing, logged->index, buf_bytes(&logged->entry));
    check_outcomes(f, &f->crashing, &step, want);
    compare_digests(f, logged->index);
    unsigned percent = f->crashing.result.flush_due ? 60 : 8;
    if (f->crashing.flushing && scenario_random(&f->scenario, 4) > 0)
        replica_end_flush(&f->crashing); /* of the state before this step */
    else if (scenario_random(&f->scenario, 100) < percent)
        replica_flush(&f->crashing);
    else if (scenario_random(&f->scenario, 8) == 0)
        replica_begin_flush(&f->crashing); /* it ends with the crash */
    replica_walk(&f->crashing, scenario_random(&f->scenario, 8));
    crash_and_replay(f);
}

static void begin(struct fixture *f, uint64_t seed, size_t steps)
{
    *f = (struct fixture){.seed = seed, .next_index = 1};
    print_message("seed %" PRIu64 ", %zu steps\n", seed, steps);
    f->model = model_create();
    f->log = calloc(steps + 1, sizeof *f->log);
    assert_non_null(f->model);
    assert_non_null(f->log);
    scenario_init(&f->scenario, seed, f->model);
    replica_init(&f->crashing);
    replica_init(&f->calm);
}

static void end(struct fixture *f)
{
    for (size_t i = 0; i < f->log_count; i++)
        buf_deinit(&f->log[i].entry);
    free(f->log);
    model_destroy(f->model);
    replica_deinit(&f->crashing);
    replica_deinit(&f->calm);
}

static void run_stream(uint64_t seed, size_t steps)
{
    struct fixture f;
    begin(&f, seed, steps);
    for (f.step = 0; f.step < steps; f.step++) {
        one_step(&f);
        compare_all(&f, &f.crashing);
        if (f.step % 8 == 0 || (f.calm.flushing && f.step % 4 == 1))
            compare_all(&f, &f.calm);
    }
    struct model_step last = {.log_time_ms = model_log_time_ms(f.model),
                              .count = 1,
                              .commands[0].kind = MODEL_DIGEST};
    struct buf entry = {0};
    step_encode(&last, &entry);
    replica_apply(&f.calm, f.next_index, buf_bytes(&entry));
    replica_apply(&f.crashing, f.next_index, buf_bytes(&entry));
    compare_digests(&f, f.next_index);
    compare_all(&f, &f.calm);
    if (steps >= 200)
        check_that_all_was_met(&f.calm);
    buf_deinit(&entry);
    end(&f);
}

/* --- conservation -----------------------------------------------------------
 */

static void check_sum(const struct fixture *f, const struct query *q,
                      const struct series *got)
{
    uint64_t up, down;
    model_moved(f->model, q->location, q->by == BY_DEVICE ? got->id : 0,
                q->by == BY_GATEWAY ? got->id : 0, &up, &down);
    if (got->upload != up || got->download != down)
        fail_msg("seed %" PRIu64 " step %zu: %d s, location %u by %d series "
                 "%u: %" PRIu64 "/%" PRIu64 ", moved were %" PRIu64 "/%" PRIu64,
                 f->seed, f->step, (int)q->resolution, q->location, (int)q->by,
                 got->id, got->upload, got->download, up, down);
}

/* Bytes into the gateways = bytes in the buckets. */
static void check_books(const struct fixture *f, const struct replica *r,
                        enum query_resolution resolution)
{
    uint64_t end_s = model_log_time_ms(f->model) / 1000 / resolution + 1;
    struct query q = {.to_s = end_s * resolution,
                      .resolution = resolution,
                      .sums_only = true};
    for (q.location = 0; q.location <= 3; q.location++)
        for (q.by = BY_NONE; q.by <= BY_DEVICE; q.by++) {
            struct answer a;
            struct errmsg e;
            uint64_t sum = 0, up, down;
            if (query_run(r->store, &q, &a, &e) != 0)
                fail_msg("%s", e.text);
            for (size_t i = 0; i < a.series_count; i++) {
                check_sum(f, &q, &a.series[i]);
                sum += a.series[i].upload + a.series[i].download;
            }
            model_moved(f->model, q.location, 0, 0, &up, &down);
            assert_int_equal(sum, up + down);
            answer_deinit(&a);
        }
}

static void keep_books(uint64_t seed, size_t steps)
{
    struct fixture f;
    begin(&f, seed, steps);
    f.scenario.keeps_all = true;
    for (f.step = 0; f.step < steps; f.step++) {
        one_step(&f);
        const struct replica *r = f.step % 2 == 0 ? &f.crashing : &f.calm;
        check_books(&f, r, BY_MINUTE);
        check_books(&f, r, BY_HOUR);
        check_books(&f, r, BY_DAY);
    }
    end(&f);
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value == NULL ? otherwise : strtoull(value, NULL, 0);
}

static void a_crash_at_every_step_changes_no_answer(void **state)
{
    (void)state;
    size_t steps = number_from_environment("HOLDFAST_STEPS", 400);
    uint64_t seed = number_from_environment("HOLDFAST_SEED", 0);
    if (seed != 0) {
        run_stream(seed, steps);
        return;
    }
    for (seed = 1; seed <= 5; seed++)
        run_stream(seed, steps);
}

static void every_tier_has_every_byte_whatever_happens(void **state)
{
    (void)state;
    size_t steps = number_from_environment("HOLDFAST_STEPS", 300);
    uint64_t seed = number_from_environment("HOLDFAST_SEED", 0);
    keep_books(seed != 0 ? seed : 21, steps);
    if (seed == 0)
        keep_books(22, steps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_every_step_changes_no_answer),
        cmocka_unit_test(every_tier_has_every_byte_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
