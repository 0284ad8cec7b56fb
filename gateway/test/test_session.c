#include "gateway/session.h"
#include "gateway/test/cluster_model.h"
#include "gateway/test/interface.h"

#include <stdio.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { WINDOW = 4, START_MS = 1000000 };

static const uint8_t machine[16] = "machine";
static struct session session;
static struct cluster_model cluster;
static uint64_t now_ms;

static int fresh(void **state)
{
    (void)state;
    now_ms = START_MS;
    cluster = (struct cluster_model){0};
    session_init(&session, machine, now_ms, 1 << 20, 1000);
    return 0;
}

static int clean(void **state)
{
    (void)state;
    session_deinit(&session);
    return 0;
}

static bool tick(unsigned life, const struct made_peer *peers)
{
    int renewed;
    struct wg_interface i = make_interface(life, peers);
    now_ms += 1000;
    assert_int_equal(session_tick(&session, &i, now_ms, &renewed, NULL, NULL),
                     0);
    wg_interface_deinit(&i);
    return renewed != 0;
}

/* Sends one batch and applies it, without telling the agent. */
static bool send_one(enum model_answer *answer, uint64_t *sequence,
                     uint64_t *number)
{
    struct bytes batch;
    if (!session_next(&session, WINDOW, &batch))
        return false;
    *answer = cluster_model_apply(&cluster, batch, sequence, number);
    return true;
}

/* Sends all that is due and acknowledges it. */
static void drain(void)
{
    enum model_answer answer;
    uint64_t sequence, number;
    session_stream_opened(&session);
    while (send_one(&answer, &sequence, &number)) {
        assert_true(answer == MODEL_TAKEN || answer == MODEL_DUPLICATE);
        assert_int_equal(session_acknowledged(&session, sequence), 0);
    }
    assert_true(session_is_drained(&session));
}

/* --- sending -------------------------------------------------------------- */

static void nothing_is_sent_before_the_first_look_and_a_stream(void **state)
{
    struct bytes batch;
    (void)state;
    session_stream_opened(&session);
    assert_false(session_next(&session, WINDOW, &batch));
    tick(1, PEERS({'a', 1, 1}));
    assert_true(session_next(&session, WINDOW, &batch));
    assert_false(session_next(&session, WINDOW, &batch));
}

static void idle_ticks_are_batches_too(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        tick(1, PEERS({'a', 1, 1}));
    drain();
    assert_true(cluster.session == START_MS && cluster.sequence == 3);
}

static void a_new_stream_sends_all_that_is_unacknowledged_again(void **state)
{
    enum model_answer answer;
    uint64_t sequence, number;
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        tick(1, PEERS({'a', i, i}));
    session_stream_opened(&session);
    for (int i = 0; i < 3; i++)
        assert_true(send_one(&answer, &sequence, &number));
    assert_int_equal(session_acknowledged(&session, 1), 0);
    session_stream_opened(&session);
    assert_true(send_one(&answer, &sequence, &number));
    assert_true(sequence == 2);
    assert_int_equal(answer, MODEL_DUPLICATE);
}

static void no_more_than_the_window_is_underway(void **state)
{
    struct bytes batch;
    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        tick(1, PEERS({'a', i, i}));
    session_stream_opened(&session);
    for (int i = 0; i < WINDOW; i++)
        assert_true(session_next(&session, WINDOW, &batch));
    assert_false(session_next(&session, WINDOW, &batch));
    assert_int_equal(session_acknowledged(&session, 1), 0);
    assert_true(session_next(&session, WINDOW, &batch));
    assert_false(session_next(&session, WINDOW, &batch));
}

static void an_acknowledgement_of_what_was_not_sent_is_refused(void **state)
{
    struct bytes batch;
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    tick(1, PEERS({'a', 2, 1}));
    session_stream_opened(&session);
    assert_true(session_next(&session, 1, &batch));
    assert_int_equal(session_acknowledged(&session, 2), ERR_INVALID);
    assert_int_equal(session_acknowledged(&session, 1), 0);
    assert_int_equal(session_acknowledged(&session, 1),
                     0); /* again: harmless */
}

static void an_interface_that_is_away_is_an_idle_batch(void **state)
{
    int renewed;
    (void)state;
    assert_int_equal(session_tick(&session, NULL, now_ms, &renewed, NULL, NULL),
                     0);
    tick(1, PEERS({'a', 7, 7})); /* made while we watched */
    drain();
    assert_true(cluster.sequence == 2);
    assert_true(cluster.peers['a'].counted_upload == 7);
}

static void more_peers_than_a_batch_holds_become_several(void **state)
{
    int renewed;
    struct wg_interface i = {.peer_count = REPORT_PEERS_MAX + 1};
    (void)state;
    i.peers = calloc(i.peer_count, sizeof *i.peers);
    assert_non_null(i.peers);
    for (uint32_t k = 0; k < i.peer_count; k++)
        be32_put(i.peers[k].public_key + 1, k);
    assert_int_equal(session_tick(&session, &i, now_ms, &renewed, NULL, NULL),
                     0);
    assert_false(renewed);
    wg_interface_deinit(&i);
    drain();
    assert_true(cluster.sequence == 2);
}

/* --- refusals ------------------------------------------------------------- */

static void a_gap_below_the_streams_first_begins_a_new_session(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    drain();
    tick(1, PEERS({'a', 2, 2}));
    session_stream_opened(&session); /* from 2; a restored cluster wants 1 */
    assert_int_equal(session_refused(&session, REFUSAL_GAP, 1, now_ms),
                     SESSION_RENEWED);
    assert_true(session.id == now_ms);
    assert_true(session_is_drained(&session));
    tick(1, PEERS({'a', 2, 2}));
    assert_int_equal(session.state, SESSION_LIVE);
    drain();
    assert_true(cluster.peers['a'].counted_upload == 1);
}

static void a_gap_made_on_the_way_is_filled_by_sending_again(void **state)
{
    struct bytes batch;
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    tick(1, PEERS({'a', 2, 2}));
    session_stream_opened(&session);
    assert_true(session_next(&session, WINDOW, &batch)); /* 1 is lost */
    assert_int_equal(session_refused(&session, REFUSAL_GAP, 1, now_ms),
                     SESSION_LIVE);
    assert_true(session.id == START_MS);
    drain();
    assert_true(cluster.peers['a'].counted_upload == 1);
}

static void
a_gap_without_a_number_counts_where_nothing_was_acknowledged(void **state)
{
    struct bytes batch;
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    tick(1, PEERS({'a', 2, 2}));
    session_stream_opened(&session);
    assert_true(session_next(&session, WINDOW, &batch));
    assert_int_equal(session_acknowledged(&session, 1), 0);
    assert_int_equal(session_refused(&session, REFUSAL_GAP, 0, now_ms),
                     SESSION_LIVE);
    session_stream_opened(&session);
    assert_int_equal(session_refused(&session, REFUSAL_GAP, 0, now_ms),
                     SESSION_RENEWED);
}

static void a_new_session_is_larger_even_if_the_clock_went_back(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    session_stream_opened(&session);
    assert_int_equal(session_refused(&session, REFUSAL_MALFORMED, 0, 5),
                     SESSION_RENEWED);
    assert_true(session.id == START_MS + 1);
}

static void a_fresh_agent_gives_way_to_a_larger_session_once(void **state)
{
    (void)state;
    uint64_t stored = START_MS * 2;
    tick(1, PEERS({'a', 1, 1}));
    session_stream_opened(&session);
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, stored, now_ms),
        SESSION_RENEWED);
    assert_true(session.id == stored + 1);
    tick(1, PEERS({'a', 1, 1}));
    session_stream_opened(&session);
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, stored + 2, now_ms),
        SESSION_OVER);
}

static void an_agent_that_was_acknowledged_does_not_fight(void **state)
{
    struct bytes batch;
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    drain();
    tick(1, PEERS({'a', 2, 2}));
    session_stream_opened(&session);
    assert_true(session_next(&session, WINDOW, &batch));
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, START_MS * 2, now_ms),
        SESSION_OVER);
    int renewed;
    assert_int_equal(session_tick(&session, NULL, now_ms, &renewed, NULL, NULL),
                     0);
    assert_int_equal(session.state, SESSION_OVER);
}

static void a_session_that_cannot_be_passed_ends_the_agent(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    session_stream_opened(&session);
    assert_int_equal(
        session_refused(&session, REFUSAL_SUPERSEDED, UINT64_MAX, now_ms),
        SESSION_OVER);
}

/* --- a full spool --------------------------------------------------------- */

static void a_full_spool_begins_a_new_session_and_loses_no_byte(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    drain();
    session.spool.batches_max = 5;
    for (uint64_t i = 0; i < 5; i++)
        assert_false(tick(1, PEERS({'a', 2 + i, 1})));
    assert_true(tick(1, PEERS({'a', 100, 1}, {'b', 8, 8})));
    assert_int_equal(session.spool.count, 1);
    assert_true(session.id > START_MS);
    drain();
    assert_true(cluster.peers['a'].counted_upload == 99);
    assert_true(cluster.peers['b'].counted_upload == 8); /* from_zero */
}

static void an_unsent_beginning_survives_a_full_spool(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 1, 1}));
    drain();
    session.spool.batches_max = 2;
    tick(1, PEERS({'a', 1, 1}, {'b', 5, 0}));
    tick(1, PEERS({'a', 1, 1}, {'b', 6, 0}));
    assert_true(tick(1, PEERS({'a', 1, 1}, {'b', 7, 0})));
    drain();
    assert_true(cluster.peers['b'].counted_upload == 7);
}

/* --- a restored cluster --------------------------------------------------- */

/* It forgot what was counted after the backup, and counts that again: the sum
 * of its own history stays what was moved. */
static void a_restored_cluster_counts_what_it_forgot_once(void **state)
{
    (void)state;
    tick(1, PEERS({'a', 10, 10}));
    tick(1, PEERS({'a', 15, 10}));
    drain();
    struct cluster_model backup = cluster;
    tick(1, PEERS({'a', 25, 11}, {'b', 4, 0}));
    tick(1, PEERS({'a', 30, 12}, {'b', 6, 0}));
    drain();
    cluster = backup;
    tick(1, PEERS({'a', 42, 13}, {'b', 9, 0}));
    enum model_answer answer;
    uint64_t sequence, number;
    session_stream_opened(&session);
    assert_true(send_one(&answer, &sequence, &number));
    assert_int_equal(answer, MODEL_GAP);
    assert_int_equal(session_refused(&session, REFUSAL_GAP, number, now_ms),
                     SESSION_RENEWED);
    tick(1, PEERS({'a', 50, 14}, {'b', 11, 0}));
    drain();
    assert_true(cluster.peers['a'].counted_upload == 40);
    assert_true(cluster.peers['a'].counted_download == 4);
    /* Its beginning was counted, and is forgotten: a baseline, as any first. */
    assert_true(cluster.peers['b'].counted_upload == 0);
}

/* --- everything at once --------------------------------------------------- */

struct world {
    unsigned seed, life;
    uint64_t upload[4], download[4];     /* the interface's counters */
    uint64_t moved_up[4], moved_down[4]; /* since the agent's first look */
    bool there[4];
};

static unsigned draw(struct world *w, unsigned below)
{
    w->seed = w->seed * 1664525u + 1013904223u;
    return (w->seed >> 16) % below;
}

/* Traffic, and now and then a reset. Each is seen by the look that follows, so
 * that no byte is lost by nature. */
static void happen(struct world *w, bool started)
{
    for (int p = 0; p < 4; p++) {
        uint64_t up = draw(w, 3), down = draw(w, 2);
        if (!w->there[p])
            continue;
        w->upload[p] += up;
        w->download[p] += down;
        if (started) {
            w->moved_up[p] += up;
            w->moved_down[p] += down;
        }
    }
}

static void reset_something(struct world *w)
{
    int p = (int)draw(w, 4);
    if (draw(w, 8) == 0) {
        w->life++;
        memset(w->upload, 0, sizeof w->upload);
        memset(w->download, 0, sizeof w->download);
    } else {
        w->there[p] = !w->there[p];
        w->upload[p] = w->download[p] = 0;
    }
}

static void look(struct world *w)
{
    struct made_peer peers[5];
    int n = 0;
    for (int p = 0; p < 4; p++)
        if (w->there[p])
            peers[n++] = (struct made_peer){(char)('a' + p), w->upload[p],
                                            w->download[p]};
    peers[n].name = 0;
    tick(w->life, peers);
}

/* Some batches of the stream arrive, some of those are acknowledged; then the
 * stream breaks, or not. Lost streams may leave batches that arrive later: the
 * cluster takes them for duplicates. */
static void network(struct world *w)
{
    enum model_answer answer;
    uint64_t sequence, number;
    if (draw(w, 3) == 0 || session.stream_first == 0)
        session_stream_opened(&session);
    for (unsigned n = draw(w, 5); n > 0; n--) {
        if (!send_one(&answer, &sequence, &number))
            return;
        assert_true(answer == MODEL_TAKEN || answer == MODEL_DUPLICATE);
        if (draw(w, 2) == 0)
            assert_int_equal(session_acknowledged(&session, sequence), 0);
    }
}

static void whatever_the_network_does_each_byte_counts_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 300; seed++) {
        struct world w = {.seed = seed, .life = 1, .there = {true, true}};
        clean(NULL);
        fresh(NULL);
        happen(&w, false); /* an unknown past */
        look(&w);
        for (int step = 0; step < 200; step++) {
            happen(&w, true);
            look(&w);
            if (draw(&w, 6) == 0) {
                reset_something(&w);
                look(&w);
            }
            network(&w);
        }
        drain();
        for (int p = 0; p < 4; p++) {
            uint64_t up = cluster.peers['a' + p].counted_upload;
            uint64_t down = cluster.peers['a' + p].counted_download;
            if (up != w.moved_up[p] || down != w.moved_down[p])
                fail_msg("seed %u peer %d: counted %llu/%llu, moved %llu/%llu",
                         seed, p, (unsigned long long)up,
                         (unsigned long long)down,
                         (unsigned long long)w.moved_up[p],
                         (unsigned long long)w.moved_down[p]);
        }
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, clean)
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_sent_before_the_first_look_and_a_stream),
        CASE(idle_ticks_are_batches_too),
        CASE(a_new_stream_sends_all_that_is_unacknowledged_again),
        CASE(no_more_than_the_window_is_underway),
        CASE(an_acknowledgement_of_what_was_not_sent_is_refused),
        CASE(an_interface_that_is_away_is_an_idle_batch),
        CASE(more_peers_than_a_batch_holds_become_several),
        CASE(a_gap_below_the_streams_first_begins_a_new_session),
        CASE(a_gap_made_on_the_way_is_filled_by_sending_again),
        CASE(a_gap_without_a_number_counts_where_nothing_was_acknowledged),
        CASE(a_new_session_is_larger_even_if_the_clock_went_back),
        CASE(a_fresh_agent_gives_way_to_a_larger_session_once),
        CASE(an_agent_that_was_acknowledged_does_not_fight),
        CASE(a_session_that_cannot_be_passed_ends_the_agent),
        CASE(a_full_spool_begins_a_new_session_and_loses_no_byte),
        CASE(an_unsent_beginning_survives_a_full_spool),
        CASE(a_restored_cluster_counts_what_it_forgot_once),
        CASE(whatever_the_network_does_each_byte_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
