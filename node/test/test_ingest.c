/* The streams against a log that the test plays: what is submitted is kept
 * until the test says what became of it. */
#include "node/barrier.h"
#include "node/ingest_legacy.h"
#include "node/ingest_native.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

/* --- fixture ----------------------------------------------------------------
 */

enum { PLAYED_MAX = 64, LOCATION = 3 };

struct play {
    struct ingest ingest;
    struct ingest_counters counters;
    struct proposal *submitted[PLAYED_MAX]; /* all, in order */
    size_t count;
    uint64_t log_time_ms;
    struct native_stream native;
    struct barrier barrier;
    struct legacy_stream legacy;
    unsigned changes;
};

static void keep(struct ingest *ingest, struct proposal *p)
{
    struct play *play = CONTAINER_OF(ingest, struct play, ingest);
    assert_true(play->count < PLAYED_MAX);
    play->submitted[play->count++] = p;
}

static uint64_t played_time(struct ingest *ingest)
{
    return CONTAINER_OF(ingest, struct play, ingest)->log_time_ms;
}

static void native_changed(struct native_stream *s)
{
    ((struct play *)s->arg)->changes++;
}

static void legacy_changed(struct legacy_stream *s)
{
    ((struct play *)s->arg)->changes++;
}

static const struct reporter reporter = {
    .location = LOCATION,
    .identity = {(const uint8_t *)"gw", 2},
    .hostname = {(const uint8_t *)"gw", 2},
    .name = {(const uint8_t *)"main", 4},
    .address = {(const uint8_t *)"192.0.2.1", 9},
};

static int set_up(void **state)
{
    struct play *play = calloc(1, sizeof *play);
    assert_non_null(play);
    play->ingest = (struct ingest){.submit = keep,
                                   .log_time_ms = played_time,
                                   .counters = &play->counters,
                                   .has_leader = true,
                                   .now_ms = 1000};
    assert_int_equal(roster_create(&play->ingest.roster), 0);
    play->log_time_ms = 5000;
    native_stream_init(&play->native, &play->ingest, native_changed, play);
    assert_int_equal(barrier_init(&play->barrier, &play->ingest), 0);
    legacy_stream_init(&play->legacy, &play->ingest, &play->barrier, &reporter);
    play->legacy.changed = legacy_changed;
    play->legacy.arg = play;
    *state = play;
    return 0;
}

/* Whatever is still out comes back as it does at a stop. */
static int tear_down(void **state)
{
    struct play *play = *state;
    play->ingest.has_leader = false;
    native_stream_stop(&play->native);
    for (struct native_batch *b = play->native.first; b != NULL;
         b = play->native.first)
        b->proposal.settled(&b->proposal, ERR_CLOSED);
    if (legacy_stream_is_in_flight(&play->legacy))
        play->legacy.proposal.settled(&play->legacy.proposal, ERR_CLOSED);
    native_stream_deinit(&play->native);
    legacy_stream_deinit(&play->legacy);
    barrier_deinit(&play->barrier);
    /* Every byte that was counted in was counted out. */
    assert_int_equal(play->ingest.bytes_in_flight, 0);
    assert_int_equal(play->ingest.peers_remembered, 0);
    roster_destroy(play->ingest.roster);
    free(play);
    return 0;
}

static void settle(struct play *play, size_t which, int status,
                   enum outcome_code code, uint64_t value)
{
    struct proposal *p = play->submitted[which];
    p->submission.outcome =
        (struct outcome){.code = code, .value = value, .index = 100 + which};
    p->settled(p, status);
}

static void take(struct play *play, size_t which)
{
    settle(play, which, 0, OUTCOME_TAKEN, 0);
}

static void tick(struct play *play)
{
    play->ingest.now_ms += INGEST_RETRY_MS;
    play->ingest.retry_wanted = false;
    native_stream_pump(&play->native);
    legacy_stream_pump(&play->legacy);
}

/* --- native ------------------------------------------------------------------
 */

static int add_batch(struct play *play, uint64_t session, uint64_t sequence)
{
    static const char content[] = "content";
    struct buf record = {0};
    buf_put(&record, content, sizeof content);
    int rv = native_stream_add(&play->native, session, sequence, &record);
    buf_deinit(&record);
    return rv;
}

static void add_batches(struct play *play, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(add_batch(play, 1, n), 0);
}

static uint64_t sequence_of(const struct play *play, size_t which)
{
    return CONTAINER_OF(play->submitted[which], struct native_batch, proposal)
        ->sequence;
}

static void assert_ack(struct play *play, uint64_t expected)
{
    uint64_t sequence = 0, index = 0;
    assert_true(native_stream_ack(&play->native, &sequence, &index));
    assert_int_equal(sequence, expected);
    assert_true(index >= 100);
}

static void assert_no_ack(struct play *play)
{
    uint64_t sequence, index;
    assert_false(native_stream_ack(&play->native, &sequence, &index));
}

static void batches_are_pipelined_and_acknowledged_in_one_go(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 3);
    assert_int_equal(play->count, 3);
    take(play, 1);
    take(play, 2);
    assert_no_ack(play); /* batch 1 is open */
    take(play, 0);
    assert_ack(play, 3);
    assert_no_ack(play);
    assert_int_equal(play->native.count, 0);
}

static void a_duplicate_is_acknowledged(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 1);
    settle(play, 0, 0, OUTCOME_DUPLICATE, 0);
    assert_ack(play, 1);
}

static void the_window_closes_and_opens(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, NATIVE_BATCHES_MAX);
    assert_false(native_stream_has_room(&play->native));
    take(play, 0);
    assert_true(native_stream_has_room(&play->native));
}

static void
after_a_lost_batch_everything_from_it_goes_again_in_order(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 3);
    settle(play, 0, ERR_UNKNOWN, 0, 0);
    /* Not before all that is out has come back, and not at once. */
    assert_int_equal(play->count, 3);
    settle(play, 1, 0, OUTCOME_GAP, 1);
    settle(play, 2, 0, OUTCOME_GAP, 1);
    assert_int_equal(play->count, 3);
    assert_true(play->ingest.retry_wanted);
    tick(play);
    assert_int_equal(play->count, 6);
    assert_int_equal(sequence_of(play, 3), 1);
    assert_int_equal(sequence_of(play, 4), 2);
    assert_int_equal(sequence_of(play, 5), 3);
    assert_int_equal(play->native.end, STREAM_GOES_ON);
    settle(play, 3, 0, OUTCOME_DUPLICATE, 0); /* it had been committed */
    take(play, 4);
    take(play, 5);
    assert_ack(play, 3);
}

static void what_was_taken_behind_a_lost_batch_does_not_go_again(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 2);
    take(play, 1); /* so batch 1 was committed, only its answer was lost */
    settle(play, 0, ERR_UNKNOWN, 0, 0);
    tick(play);
    assert_int_equal(play->count, 3);
    assert_int_equal(sequence_of(play, 2), 1);
    settle(play, 2, 0, OUTCOME_DUPLICATE, 0);
    assert_ack(play, 2);
}

static void batches_that_come_during_a_repetition_wait_for_it(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 1);
    settle(play, 0, ERR_AGAIN, 0, 0);
    add_batches(play, 2, 2);
    assert_int_equal(play->count, 1);
    tick(play);
    assert_int_equal(play->count, 3);
    assert_int_equal(sequence_of(play, 1), 1);
    assert_int_equal(sequence_of(play, 2), 2);
}

static void a_gap_of_the_gateway_ends_the_stream(void **state)
{
    struct play *play = *state;
    assert_int_equal(add_batch(play, 1, 9), 0);
    settle(play, 0, 0, OUTCOME_GAP, 4);
    assert_int_equal(play->native.end, STREAM_GAP);
    assert_int_equal(play->native.end_value, 4);
    assert_false(native_stream_has_room(&play->native));
}

static void a_gap_behind_an_open_batch_is_tried_once_more(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 1);
    assert_int_equal(add_batch(play, 1, 3), 0);
    take(play, 0); /* batch 3 is the first now, but was not when it went */
    settle(play, 1, 0, OUTCOME_GAP, 2);
    assert_int_equal(play->native.end, STREAM_GOES_ON);
    tick(play);
    assert_int_equal(play->count, 3);
    settle(play, 2, 0, OUTCOME_GAP, 2);
    assert_int_equal(play->native.end, STREAM_GAP);
    assert_int_equal(play->native.end_value, 2);
    assert_ack(play, 1);
}

static void a_superseded_session_ends_the_stream(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 2);
    settle(play, 0, 0, OUTCOME_SUPERSEDED, 77);
    settle(play, 1, 0, OUTCOME_SUPERSEDED, 78);
    assert_int_equal(play->native.end, STREAM_SUPERSEDED);
    assert_int_equal(play->native.end_value, 77);
}

static void a_new_session_waits_until_the_old_one_is_through(void **state)
{
    struct play *play = *state;
    add_batches(play, 5, 5);
    assert_int_equal(add_batch(play, 2, 1), 0);
    assert_int_equal(play->count, 1);
    settle(play, 0, ERR_UNKNOWN, 0, 0);
    tick(play);
    assert_int_equal(play->count, 2);
    assert_int_equal(sequence_of(play, 1), 5);
    take(play, 1);
    assert_int_equal(play->count, 3);
    assert_int_equal(sequence_of(play, 2), 1);
    assert_ack(play, 5);
    take(play, 2);
    assert_ack(play, 1);
}

static void
an_equal_sequence_of_the_next_session_is_acknowledged_too(void **state)
{
    struct play *play = *state;
    assert_int_equal(add_batch(play, 1, 1), 0);
    take(play, 0);
    assert_ack(play, 1);
    assert_int_equal(add_batch(play, 2, 1), 0);
    take(play, 1);
    assert_ack(play, 1);
}

static void without_a_leader_nothing_is_submitted(void **state)
{
    struct play *play = *state;
    play->ingest.has_leader = false;
    add_batches(play, 1, 2);
    assert_int_equal(play->count, 0);
    assert_true(play->ingest.retry_wanted);
    play->ingest.has_leader = true;
    tick(play);
    assert_int_equal(play->count, 2);
}

static void
a_stopped_stream_waits_for_what_is_out_and_sends_no_more(void **state)
{
    struct play *play = *state;
    add_batches(play, 1, 2);
    native_stream_stop(&play->native);
    settle(play, 0, ERR_UNKNOWN, 0, 0);
    assert_int_equal(play->native.in_flight, 1);
    take(play, 1);
    assert_int_equal(play->native.in_flight, 0);
    tick(play);
    assert_int_equal(play->count, 2);
    assert_no_ack(play);
}

static void when_memory_is_scarce_a_stream_has_one_batch(void **state)
{
    struct play *play = *state;
    play->ingest.bytes_in_flight += INGEST_BYTES_SCARCE;
    assert_true(native_stream_has_room(&play->native));
    assert_int_equal(add_batch(play, 1, 1), 0);
    assert_false(native_stream_has_room(&play->native));
    play->ingest.bytes_in_flight -= INGEST_BYTES_SCARCE;
    assert_true(native_stream_has_room(&play->native));
}

static void too_much_in_flight_is_refused(void **state)
{
    struct play *play = *state;
    play->ingest.bytes_in_flight += INGEST_BYTES_MAX;
    assert_int_equal(add_batch(play, 1, 1), ERR_LIMIT);
    play->ingest.bytes_in_flight -= INGEST_BYTES_MAX;
    assert_int_equal(play->count, 0);
}

/* --- records
 * ------------------------------------------------------------------ */

struct rows {
    struct batch_head head;
    struct batch_peer peers[16];
    size_t count;
};

static struct rows rows_of(struct bytes framed)
{
    struct rows rows = {0};
    struct reader records = reader_of(framed);
    struct record record;
    struct batch_reader r;
    assert_int_equal(record_next(&records, &record), 1);
    assert_int_equal(batch_open(&r, &record, &rows.head), 0);
    while (batch_next(&r, &rows.peers[rows.count]) == 1)
        assert_true(++rows.count < 16);
    return rows;
}

static void an_endpoint_travels_only_when_it_changed(void **state)
{
    struct play *play = *state;
    struct stat_report reports[2] = {
        {.public_key = {1}, .upload = 1, .endpoint = bytes_of_string("a:1")},
        {.public_key = {2}, .upload = 2, .from_zero = true}};
    struct report_batch batch = {
        .session = 1, .sequence = 1, .peers = reports, .peer_count = 2};
    struct buf record = {0};
    for (int round = 0; round < 3; round++) {
        if (round == 2)
            reports[0].endpoint = bytes_of_string("b:2");
        buf_clear(&record);
        batch.sequence = (uint64_t)round + 1;
        assert_int_equal(
            native_record_encode(&play->native, &reporter, &batch, &record), 0);
        struct rows rows = rows_of(buf_bytes(&record));
        assert_int_equal(rows.count, 2);
        assert_int_equal(rows.head.location, LOCATION);
        assert_int_equal(rows.head.sequence, round + 1);
        assert_int_equal(rows.peers[0].has_endpoint, round != 1);
        assert_int_equal(rows.peers[1].has_endpoint, round == 0);
        assert_true(rows.peers[1].from_zero);
        assert_int_equal(rows.peers[1].key[0], 2); /* unknown: by key */
    }
    buf_deinit(&record);
}

/* --- legacy
 * ------------------------------------------------------------------- */

static void add_sample(struct play *play, uint8_t key, uint64_t upload,
                       uint64_t download, uint64_t handshake)
{
    struct stat_report report = {.public_key = {key},
                                 .upload = upload,
                                 .download = download,
                                 .latest_handshake = handshake};
    assert_int_equal(legacy_stream_add(&play->legacy, &report), 0);
}

/* Submission 0 is the barrier. */
static void pass_barrier(struct play *play)
{
    barrier_pump(&play->barrier, 0);
    assert_int_equal(play->count, 1);
    take(play, 0);
    assert_true(barrier_pump(&play->barrier, 100));
}

static struct rows legacy_rows(struct play *play, size_t which)
{
    return rows_of(play->submitted[which]->submission.record);
}

static void
first_samples_wait_for_the_barrier_and_are_stamped_after_it(void **state)
{
    struct play *play = *state;
    add_sample(play, 1, 10, 10, 50);
    legacy_stream_pump(&play->legacy);
    assert_int_equal(play->count, 0);
    barrier_pump(&play->barrier, 0);
    assert_int_equal(play->count, 1); /* the tick, and nothing else */
    take(play, 0);
    /* Committed is not applied here. */
    assert_false(barrier_pump(&play->barrier, 99));
    legacy_stream_pump(&play->legacy);
    assert_int_equal(play->count, 1);
    play->log_time_ms = 9000;
    assert_true(barrier_pump(&play->barrier, 100));
    legacy_stream_pump(&play->legacy);
    assert_int_equal(play->count, 2);
    struct rows rows = legacy_rows(play, 1);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.peers[0].rec_ms, 9000);
    assert_int_equal(rows.head.name.size, 4);
    assert_int_equal(rows.head.address.size, 9);
}

static void a_barrier_under_way_does_not_serve_who_comes_later(void **state)
{
    struct play *play = *state;
    barrier_pump(&play->barrier, 0);
    uint64_t late = barrier_ticket(&play->barrier);
    take(play, 0);
    assert_true(barrier_pump(&play->barrier, 100));
    assert_true(barrier_has_passed(&play->barrier, play->legacy.ticket));
    assert_false(barrier_has_passed(&play->barrier, late));
    assert_int_equal(play->count, 2); /* the next one is under way */
    take(play, 1);
    assert_true(barrier_pump(&play->barrier, 101));
    assert_true(barrier_has_passed(&play->barrier, late));
    assert_false(barrier_pump(&play->barrier, 102));
    assert_int_equal(play->count, 2); /* nobody waits: no more ticks */
}

static void a_barrier_that_failed_is_repeated(void **state)
{
    struct play *play = *state;
    barrier_pump(&play->barrier, 0);
    settle(play, 0, ERR_UNKNOWN, 0, 0);
    assert_true(play->ingest.retry_wanted);
    barrier_pump(&play->barrier, 100);
    assert_int_equal(play->count, 2);
    take(play, 1);
    assert_true(barrier_pump(&play->barrier, 101));
    assert_true(barrier_has_passed(&play->barrier, play->legacy.ticket));
}

static void
while_one_record_is_out_the_newest_of_each_peer_gathers(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    add_sample(play, 1, 10, 10, 50);
    legacy_stream_pump(&play->legacy);
    add_sample(play, 1, 20, 20, 50);
    add_sample(play, 2, 5, 5, 50);
    play->log_time_ms = 6000;
    add_sample(play, 1, 30, 30, 60);
    legacy_stream_pump(&play->legacy);
    assert_int_equal(play->count, 2);
    take(play, 1);
    assert_int_equal(play->count, 3);
    struct rows rows = legacy_rows(play, 2);
    assert_int_equal(rows.count, 2);
    assert_int_equal(rows.peers[0].key[0], 1);
    assert_int_equal(rows.peers[0].upload, 30);
    assert_int_equal(rows.peers[0].handshake, 60);
    assert_int_equal(rows.peers[0].rec_ms, 6000);
    assert_int_equal(rows.peers[1].upload, 5);
    assert_int_equal(rows.peers[1].rec_ms, 5000);
    assert_false(legacy_stream_is_drained(&play->legacy));
    take(play, 2);
    assert_true(legacy_stream_is_drained(&play->legacy));
}

static void what_is_kept_is_kept_newest_when_there_is_no_room(void **state)
{
    struct play *play = *state;
    struct stat_report other = {.public_key = {2}, .upload = 5};
    add_sample(play, 1, 10, 10, 50);
    play->ingest.bytes_in_flight += INGEST_BYTES_MAX;
    add_sample(play, 1, 30, 30, 60);
    assert_int_equal(legacy_stream_add(&play->legacy, &other), ERR_LIMIT);
    play->ingest.bytes_in_flight -= INGEST_BYTES_MAX;
    pass_barrier(play);
    legacy_stream_pump(&play->legacy);
    struct rows rows = legacy_rows(play, 1);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.peers[0].upload, 30);
}

static void where_a_counter_fell_both_sides_reach_the_log_in_order(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    add_sample(play, 1, 100, 100, 50);
    legacy_stream_pump(&play->legacy);
    add_sample(play, 1, 150, 150, 50); /* before the reset */
    add_sample(play, 1, 7, 9, 60);     /* the fall */
    add_sample(play, 1, 8, 9, 60);     /* must not replace it: */
    add_sample(play, 1, 400, 400, 70); /* it has passed the old values */
    take(play, 1);
    struct rows rows = legacy_rows(play, 2);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.peers[0].upload, 150);
    assert_int_equal(rows.peers[1].upload, 7);
    assert_int_equal(rows.peers[2].upload, 400);
}

static void a_fall_against_what_is_committed_already_is_seen(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    add_sample(play, 1, 100, 100, 50);
    legacy_stream_pump(&play->legacy);
    take(play, 1);
    play->ingest.has_leader = false;
    add_sample(play, 1, 50, 50, 60);
    add_sample(play, 1, 120, 120, 60);
    play->ingest.has_leader = true;
    legacy_stream_pump(&play->legacy);
    struct rows rows = legacy_rows(play, 2);
    assert_int_equal(rows.count, 2);
    assert_int_equal(rows.peers[0].upload, 50);
    assert_int_equal(rows.peers[1].upload, 120);
}

static void a_record_of_unknown_outcome_goes_again_byte_for_byte(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    add_sample(play, 1, 10, 10, 50);
    legacy_stream_pump(&play->legacy);
    struct bytes sent = play->submitted[1]->submission.record;
    uint8_t copy[256];
    assert_true(sent.size <= sizeof copy);
    memcpy(copy, sent.data, sent.size);
    size_t size = sent.size;
    play->log_time_ms = 7000; /* the stamp must not move */
    add_sample(play, 1, 20, 20, 50);
    settle(play, 1, ERR_UNKNOWN, 0, 0);
    assert_int_equal(play->count, 2);
    tick(play);
    assert_int_equal(play->count, 3);
    sent = play->submitted[2]->submission.record;
    assert_int_equal(sent.size, size);
    assert_memory_equal(sent.data, copy, size);
    take(play, 2);
    assert_int_equal(play->count, 4);
    assert_int_equal(legacy_rows(play, 3).peers[0].upload, 20);
}

static void a_deleted_location_ends_the_stream(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    add_sample(play, 1, 10, 10, 50);
    legacy_stream_pump(&play->legacy);
    settle(play, 1, 0, OUTCOME_NOTFOUND, 0);
    assert_int_equal(play->legacy.end, STREAM_NOTFOUND);
    assert_false(legacy_stream_has_room(&play->legacy));
}

static bool identify_not(struct legacy_stream *s)
{
    (void)s;
    return false;
}

static void a_gateway_that_cannot_be_told_apart_is_not_counted(void **state)
{
    struct play *play = *state;
    play->legacy.identify = identify_not;
    pass_barrier(play);
    add_sample(play, 1, 10, 10, 50);
    legacy_stream_pump(&play->legacy);
    assert_int_equal(play->count, 1);
    assert_int_equal(play->legacy.end, STREAM_UNNAMED);
}

static void a_stream_full_of_samples_reads_no_more(void **state)
{
    struct play *play = *state;
    for (size_t i = 0; i < LEGACY_SAMPLES_MAX; i++) {
        assert_true(legacy_stream_has_room(&play->legacy));
        struct stat_report report = {.upload = 1};
        memcpy(report.public_key, &i, sizeof i);
        assert_int_equal(legacy_stream_add(&play->legacy, &report), 0);
    }
    assert_false(legacy_stream_has_room(&play->legacy));
}

/* A gateway that shows a new key with every message, without a pause. */
static void a_stream_that_never_rests_remembers_so_many_peers(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    for (uint32_t i = 1; i <= 2 * LEGACY_PEERS_MAX; i++) {
        struct stat_report report = {.upload = 1};
        memcpy(report.public_key, &i, sizeof i);
        assert_int_equal(legacy_stream_add(&play->legacy, &report), 0);
        if (legacy_stream_has_room(&play->legacy))
            continue;
        play->count = 0;
        if (legacy_stream_is_in_flight(&play->legacy))
            play->legacy.proposal.settled(&play->legacy.proposal, 0);
        else
            legacy_stream_pump(&play->legacy);
        assert_true(play->legacy.pending > 0);
        assert_true(play->legacy.peer_count <= LEGACY_PEERS_MAX);
    }
}

/* Other streams remember so much that this one is to remember little. */
static void a_node_remembers_so_many_peers(void **state)
{
    struct play *play = *state;
    pass_barrier(play);
    play->ingest.peers_remembered = INGEST_PEERS_MAX;
    for (uint32_t i = 1; i <= 4 * LEGACY_PEERS_LEAST; i++) {
        struct stat_report report = {.upload = 1};
        memcpy(report.public_key, &i, sizeof i);
        assert_int_equal(legacy_stream_add(&play->legacy, &report), 0);
        legacy_stream_pump(&play->legacy);
        play->count = 0;
        play->legacy.proposal.settled(&play->legacy.proposal, 0);
        assert_true(play->legacy.peer_count <= LEGACY_PEERS_LEAST);
    }
    play->ingest.peers_remembered -= INGEST_PEERS_MAX;
}

enum { CHOSEN = 512 };

/* Of a table with room for more, not all are at its beginning. */
static void assert_scattered(const struct text_cache *c)
{
    size_t found = 0;
    assert_int_equal(c->count, CHOSEN);
    assert_true(c->capacity > CHOSEN);
    for (size_t i = 0; i < CHOSEN; i++)
        found += c->slots[i].key != 0;
    assert_in_range(found, 1, CHOSEN * 4 / 5);
}

/* As numbers they are multiples of 65,536. */
static void keys_that_are_chosen_to_fall_together_do_not(void **state)
{
    struct play *play = *state;
    static struct stat_report reports[CHOSEN];
    for (size_t i = 0; i < CHOSEN; i++) {
        reports[i].public_key[2] = (uint8_t)i;
        reports[i].public_key[3] = (uint8_t)(i >> 8);
        reports[i].public_key[4] = 1;
    }
    struct report_batch batch = {
        .session = 1, .sequence = 1, .peers = reports, .peer_count = CHOSEN};
    struct buf record = {0};
    assert_int_equal(
        native_record_encode(&play->native, &reporter, &batch, &record), 0);
    buf_deinit(&record);
    assert_scattered(&play->native.texts);

    pass_barrier(play);
    for (size_t i = 0; i < CHOSEN; i++)
        assert_int_equal(legacy_stream_add(&play->legacy, &reports[i]), 0);
    legacy_stream_pump(&play->legacy);
    assert_scattered(&play->legacy.texts);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(batches_are_pipelined_and_acknowledged_in_one_go),
        CASE(a_duplicate_is_acknowledged),
        CASE(the_window_closes_and_opens),
        CASE(after_a_lost_batch_everything_from_it_goes_again_in_order),
        CASE(what_was_taken_behind_a_lost_batch_does_not_go_again),
        CASE(batches_that_come_during_a_repetition_wait_for_it),
        CASE(a_gap_of_the_gateway_ends_the_stream),
        CASE(a_gap_behind_an_open_batch_is_tried_once_more),
        CASE(a_superseded_session_ends_the_stream),
        CASE(a_new_session_waits_until_the_old_one_is_through),
        CASE(an_equal_sequence_of_the_next_session_is_acknowledged_too),
        CASE(without_a_leader_nothing_is_submitted),
        CASE(a_stopped_stream_waits_for_what_is_out_and_sends_no_more),
        CASE(when_memory_is_scarce_a_stream_has_one_batch),
        CASE(too_much_in_flight_is_refused),
        CASE(an_endpoint_travels_only_when_it_changed),
        CASE(first_samples_wait_for_the_barrier_and_are_stamped_after_it),
        CASE(a_barrier_under_way_does_not_serve_who_comes_later),
        CASE(a_barrier_that_failed_is_repeated),
        CASE(while_one_record_is_out_the_newest_of_each_peer_gathers),
        CASE(what_is_kept_is_kept_newest_when_there_is_no_room),
        CASE(where_a_counter_fell_both_sides_reach_the_log_in_order),
        CASE(a_fall_against_what_is_committed_already_is_seen),
        CASE(a_record_of_unknown_outcome_goes_again_byte_for_byte),
        CASE(a_deleted_location_ends_the_stream),
        CASE(a_gateway_that_cannot_be_told_apart_is_not_counted),
        CASE(a_stream_full_of_samples_reads_no_more),
        CASE(a_stream_that_never_rests_remembers_so_many_peers),
        CASE(a_node_remembers_so_many_peers),
        CASE(keys_that_are_chosen_to_fall_together_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
