/* Readers beside the applier: what a query sums up is, to the byte, what had
 * been counted at the index it says, in the middle of flushes too; and it never
 * goes back. Run it under TSan. */
#include "store/test/replica.h"

#include <pthread.h>
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

static void apply(struct shared *s, uint64_t index,
                  const struct model_step *step)
{
    struct buf entry = {0};
    step_encode(step, &entry);
    replica_apply(&s->replica, index, buf_bytes(&entry));
    buf_deinit(&entry);
    if (s->replica.result.flush_due || index % 7 == 0)
        replica_flush(&s->replica);
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
    atomic_store(&s->done, true);
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
        if (readers[i].wrong != NULL)
            fail_msg("by %zu: %s", i, readers[i].wrong);
        assert_true(atomic_load(&readers[i].queries) > 0);
    }
    replica_deinit(&s->replica);
    free(s);
}

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
