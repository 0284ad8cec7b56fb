/* Readers beside the applier and the flusher: what a query sums up is, to the
 * byte, what had been counted at the index it says, in the middle of flushes
 * too; and it never goes back. A flush that takes its time stalls neither. Run
 * it under TSan. */
#include "store/flush_job.h"
#include "store/test/replica.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STEPS = 1500, READERS = 4, GATEWAYS = 4 };

#define T0 ((uint64_t)1700000040000)
#define D0 (T0 / 86400000 * 86400000)

struct shared {
    struct replica replica;
    sem_t begun; /* flushes, for the flusher; the last mail is none */
    atomic_uint_fast64_t expected[STEPS + 2]; /* bytes counted at an index */
    atomic_bool done;
};

struct reader_thread {
    struct shared *shared; /* borrowed: outlives the thread */
    enum query_by by;
    atomic_uint_fast64_t queries;
    const char *wrong; /* what was seen, NULL = nothing */
    pthread_t thread;
};

static void *read_on(void *arg)
{
    struct reader_thread *r = arg;
    static const enum query_resolution tiers[] = {BY_MINUTE, BY_HOUR, BY_DAY};
    uint64_t last_index = 0;
    size_t turn = 0;
    do {
        struct query q = {.from_s = D0 / 1000 - 86400,
                          .to_s = D0 / 1000 + 2 * 86400,
                          .resolution = tiers[turn++ % 3],
                          .by = r->by};
        struct answer a;
        struct errmsg e;
        if (query_run(r->shared->replica.store, &q, &a, &e) != 0) {
            r->wrong = "a query failed";
            break;
        }
        uint64_t sum = 0, points = 0;
        for (size_t i = 0; i < a.series_count; i++) {
            sum += a.series[i].upload;
            for (size_t b = 0; b < a.bucket_count; b++)
                points += a.series[i].points[b].upload;
        }
        if (a.applied_index < last_index)
            r->wrong = "the applied index went back";
        if (sum != points)
            r->wrong = "points and sum differ";
        if (sum != atomic_load(&r->shared->expected[a.applied_index]))
            r->wrong = "the sum is not that of the applied index";
        last_index = a.applied_index;
        answer_deinit(&a);
        atomic_fetch_add(&r->queries, 1);
    } while (r->wrong == NULL && !atomic_load(&r->shared->done));
    return NULL;
}

static void count_presence(void *arg, const struct presence *p)
{
    size_t *count = arg;
    *count += p->device != 0;
}

/* What the pages of the API ask besides. */
static void *look_around(void *arg)
{
    struct reader_thread *r = arg;
    struct store *s = r->shared->replica.store;
    uint64_t last_index = 0;
    do {
        struct store_status status;
        size_t count = 0;
        store_status(s, &status);
        if (query_presence(s, 0, count_presence, &count) != 0)
            r->wrong = "presence failed";
        if (count > 2 * GATEWAYS)
            r->wrong = "a slot was seen twice";
        if (status.applied_index < last_index ||
            status.flushed_index > store_applied_index(s))
            r->wrong = "the applied index went back";
        last_index = status.applied_index;
        atomic_fetch_add(&r->queries, 1);
    } while (r->wrong == NULL && !atomic_load(&r->shared->done));
    return NULL;
}

/* Waits for the flusher if that is not done with the one before. */
static void begin_flush(struct shared *s)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    int rc = store_flush_begin(s->replica.store, &e);
    if (rc < 0)
        fail_msg("%s", e.text);
    if (rc == 1)
        sem_post(&s->begun);
}

static void *flush_on(void *arg)
{
    struct shared *s = arg;
    struct errmsg e;
    thread_role_take(&flusher_thread);
    do {
        while (sem_wait(&s->begun) != 0)
            continue;
        /* So few slots would be one slice. */
        while (!atomic_load(&s->done) &&
               flush_job_walk(s->replica.store, 3) > 0)
            sched_yield();
        if (!atomic_load(&s->done) &&
            store_flush_end(s->replica.store, &e) != 0)
            abort();
    } while (!atomic_load(&s->done));
    return NULL;
}

static void apply(struct shared *s, uint64_t index,
                  const struct model_step *step)
{
    struct buf entry = {0};
    step_encode(step, &entry);
    replica_apply(&s->replica, index, buf_bytes(&entry));
    buf_deinit(&entry);
    if (s->replica.result.flush_due || index % 7 == 0)
        begin_flush(s);
}

static void set_scene(struct shared *s)
{
    struct model_step step = {.log_time_ms = T0, .count = 3};
    step.commands[0] = (struct model_command){.kind = MODEL_LOCATION_CREATE};
    step.commands[1] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 1};
    step.commands[2] =
        (struct model_command){.kind = MODEL_DEVICE_CREATE, .key = 2};
    atomic_store(&s->expected[1], 0);
    apply(s, 1, &step);
}

/* Each gateway's batches in turn; one of them is half an hour behind, so that
 * its cells are late ones. */
static void report_on(struct shared *s)
{
    uint64_t now = T0, expected = 0;
    for (uint64_t i = 2; i <= STEPS; i++) {
        now += 7000;
        struct model_step step = {.log_time_ms = now, .count = 1};
        struct model_command *c = &step.commands[0];
        unsigned gateway = (unsigned)(i % GATEWAYS) + 1;
        uint64_t sequence = (i - 2) / GATEWAYS + 1;
        *c = (struct model_command){.kind = MODEL_NATIVE,
                                    .location = 1,
                                    .identity = gateway,
                                    .session = 1,
                                    .sequence = sequence,
                                    .sampled_ms =
                                        now - (gateway == 1 ? 1800000 : 0),
                                    .peer_count = 2};
        for (uint32_t d = 0; d < 2; d++)
            c->peers[d] = (struct model_peer){
                .device = d + 1, .upload = 1000 + sequence * (100 + gateway)};
        if (sequence > 1)
            expected += 2 * (100 + gateway);
        atomic_store(&s->expected[i], expected);
        apply(s, i, &step);
    }
}

static void queries_beside_apply_and_flush_see_every_byte_once(void **state)
{
    (void)state;
    struct shared *s = calloc(1, sizeof *s);
    assert_non_null(s);
    replica_init(&s->replica);
    sem_init(&s->begun, 0, 0);
    pthread_t flusher;
    assert_int_equal(pthread_create(&flusher, NULL, flush_on, s), 0);
    set_scene(s);
    struct reader_thread readers[READERS] = {0};
    for (size_t i = 0; i < READERS; i++) {
        readers[i].shared = s;
        readers[i].by = (enum query_by)i;
        bool queries = i <= BY_DEVICE;
        assert_int_equal(pthread_create(&readers[i].thread, NULL,
                                        queries ? read_on : look_around,
                                        &readers[i]),
                         0);
    }
    report_on(s);
    replica_flush(&s->replica); /* after the last that was begun */
    atomic_store(&s->done, true);
    sem_post(&s->begun);
    assert_int_equal(pthread_join(flusher, NULL), 0);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        if (readers[i].wrong != NULL)
            fail_msg("by %zu: %s", i, readers[i].wrong);
        assert_true(atomic_load(&readers[i].queries) > 0);
    }
    sem_destroy(&s->begun);
    replica_deinit(&s->replica);
    free(s);
}

/* --- a flush that takes its time --------------------------------------------
 */

struct next_flush {
    struct store *store; /* borrowed */
    int rc;
    atomic_bool begun;
};

static void *begin_next(void *arg)
{
    struct next_flush *next = arg;
    struct errmsg e;
    thread_role_take(&applier_thread);
    next->rc = store_flush_begin(next->store, &e);
    atomic_store(&next->begun, true);
    return NULL;
}

static void report(struct replica *r, uint64_t index, uint64_t now,
                   uint64_t upload)
{
    struct buf entry = {0};
    struct model_step step = {.log_time_ms = now, .count = 1};
    step.commands[0] = (struct model_command){.kind = MODEL_NATIVE,
                                              .location = 1,
                                              .identity = 1,
                                              .session = 1,
                                              .sequence = index - 1,
                                              .sampled_ms = now,
                                              .peer_count = 1};
    step.commands[0].peers[0] =
        (struct model_peer){.device = 1, .upload = upload};
    step_encode(&step, &entry);
    replica_apply(r, index, buf_bytes(&entry));
    buf_deinit(&entry);
}

static void expect_bytes(struct store *s, uint64_t index, uint64_t bytes)
{
    struct query q = {.from_s = T0 / 1000,
                      .to_s = T0 / 1000 + 3600,
                      .resolution = BY_MINUTE,
                      .by = BY_DEVICE};
    struct answer a;
    struct errmsg e;
    assert_int_equal(query_run(s, &q, &a, &e), 0);
    assert_int_equal(a.applied_index, index);
    assert_int_equal(a.series_count, 1);
    assert_int_equal(a.series[0].upload, bytes);
    answer_deinit(&a);
}

static uint64_t waits_of(struct store *s)
{
    struct store_status status;
    store_status(s, &status);
    return status.counters.flush_waits;
}

static void
apply_and_reads_go_on_during_a_flush_and_the_next_waits(void **state)
{
    (void)state;
    struct shared *s = calloc(1, sizeof *s);
    assert_non_null(s);
    struct replica *r = &s->replica;
    replica_init(r);
    sem_init(&s->begun, 0, 0);
    set_scene(s);
    replica_flush(r);
    report(r, 2, T0, 1000);
    report(r, 3, T0 + 1000, 1500);
    report(r, 4, T0 + 90000, 1700); /* the first minute is due */
    replica_begin_flush(r);
    assert_true(r->flushing);
    report(r, 5, T0 + 91000, 2000);
    report(r, 6, T0 + 180000, 2300); /* and the second */
    assert_true(r->result.flush_due);
    expect_bytes(r->store, 6, 1300);
    assert_int_equal(store_flushed_index(r->store), 1);

    struct next_flush next = {.store = r->store};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, begin_next, &next), 0);
    while (waits_of(r->store) == 0)
        sched_yield();
    expect_bytes(r->store, 6, 1300);
    assert_false(atomic_load(&next.begun));
    replica_end_flush(r);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(next.rc, 1);
    /* The file is the state at the index where the flush began. */
    assert_int_equal(store_flushed_index(r->store), 4);
    expect_bytes(r->store, 6, 1300);
    replica_crash(r);
    replica_open(r);
    expect_bytes(r->store, 4, 700);
    replica_deinit(r);
    sem_destroy(&s->begun);
    free(s);
}

/* --- digests ----------------------------------------------------------------
 */

enum { DIGESTS = 200 };

struct digest_reader {
    struct store *store;         /* borrowed */
    atomic_uint_fast64_t looked; /* the last index that was looked at */
    const char *wrong;
};

/* Who waits for an index asks for its digest at once (GET /api/v1/digest). */
static void *ask_at_once(void *arg)
{
    struct digest_reader *r = arg;
    for (uint64_t index = 1; index <= DIGESTS; index++) {
        uint64_t digest;
        while (store_applied_index(r->store) < index)
            ;
        if (store_digest_at(r->store, index, &digest) != 0)
            r->wrong = "an index was seen before its digest";
        atomic_store(&r->looked, index);
    }
    return NULL;
}

static void an_index_that_is_seen_has_its_digest(void **state)
{
    struct replica replica;
    pthread_t thread;
    (void)state;
    replica_init(&replica);
    struct digest_reader reader = {.store = replica.store};
    assert_int_equal(pthread_create(&thread, NULL, ask_at_once, &reader), 0);
    for (uint64_t index = 1; index <= DIGESTS; index++) {
        struct buf entry = {0};
        struct model_step step = {.log_time_ms = T0 + index,
                                  .count = 1,
                                  .commands[0].kind = MODEL_DIGEST};
        step_encode(&step, &entry);
        replica_apply(&replica, index, buf_bytes(&entry));
        buf_deinit(&entry);
        /* No digest is pushed out before it was looked at. */
        while (atomic_load(&reader.looked) < index)
            ;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (reader.wrong != NULL)
        fail_msg("%s", reader.wrong);
    replica_deinit(&replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_that_is_seen_has_its_digest),
        cmocka_unit_test(queries_beside_apply_and_flush_see_every_byte_once),
        cmocka_unit_test(
            apply_and_reads_go_on_during_a_flush_and_the_next_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
