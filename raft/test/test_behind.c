/* A node whose log was compacted away under it fetches a copy of the store. On
 * its own, because libraft 0.22 leaks the messages of snapshots that are sent
 * twice, and leaks of ours must still be seen in the other tests of
 * replication. */
#include "base/clock.h"
#include "base/durable.h"
#include "raft/fetch_note.h"
#include "raft/peer_io.h"
#include "raft/repl.h"
#include "raft/test/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60 * 1000 };

static struct cluster c;

static void submit_many(size_t node, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(cluster_submit_soon(&c, node, n, 100, NULL), 0);
}

static void start_three(void)
{
    cluster_init(&c, 3);
    c.log_entries_max = 40;
    c.tail_entries = 30;
    c.election_timeout_ms = 2000; /* one that stands still must not be missed */
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
}

static void converge(uint64_t records)
{
    WAIT_FOR(cluster_agrees(&c, records), PATIENCE_MS);
}

/* As the daemon does: the process is replaced. */
static void restart_when_wanted(size_t i)
{
    WAIT_FOR(atomic_load(&c.nodes[i].restart_wanted), PATIENCE_MS);
    assert_int_equal(atomic_load(&c.nodes[i].fatal_code), 0);
    cluster_stop(&c, i);
}

static bool is_there(size_t i, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", c.nodes[i].dir, name);
    return durable_exists(path);
}

static struct repl_status status_of(size_t i)
{
    struct repl_status status;
    repl_status(c.nodes[i].repl, &status);
    return status;
}

/* A node that was stopped and has 190 entries more to catch up with than the
 * others keep. */
static size_t stop_and_leave_behind(size_t leader)
{
    size_t away = (leader + 1) % 3;
    submit_many(leader, 1, 10);
    converge(10);
    cluster_stop(&c, away);
    /* A snapshot waits for a flush that it asked for, and is thought of again
     * only when something is applied. */
    for (uint64_t n = 11; n <= 200; n += 10) {
        submit_many(leader, n, n + 9);
        sleep_ms(50);
    }
    return away;
}

/* @away was started by cluster_try_start and stopped by its own wish, or wishes
 * so while it runs. */
static void bring_back(size_t away)
{
    struct errmsg e;
    int rv = cluster_try_start(&c, away, &e);
    if (rv == 0 && !is_there(away, "fetch"))
        restart_when_wanted(away);
    else if (rv == 0)
        return;
    else
        assert_int_equal(rv, ERR_BEHIND);
    assert_true(is_there(away, "fetch"));
    cluster_start(&c, away);
}

static void
a_node_that_was_away_too_long_fetches_a_copy_and_is_back(void **state)
{
    (void)state;
    start_three();
    size_t leader = cluster_leader(&c);
    size_t away = stop_and_leave_behind(leader);
    uint64_t id = 0;
    cluster_start(&c, away);
    id = status_of(away).raft_id;
    restart_when_wanted(away);
    assert_true(is_there(away, "fetch"));
    /* While it fetches it is no voter, but knows its cluster. */
    cluster_start(&c, away);
    struct repl_status status = status_of(away);
    assert_string_equal(status.state, "fetching");
    assert_true(status.bootstrapped);
    restart_when_wanted(away);
    submit_many(leader, 201, 210);
    cluster_start(&c, away);
    assert_false(is_there(away, "fetch"));
    assert_false(is_there(away, "next"));
    converge(210);
    assert_int_equal(status_of(away).raft_id, id);
    /* It counts again: with one of the others gone it makes the majority. */
    size_t third = 3 - leader - away;
    cluster_stop(&c, third);
    submit_many(leader, 211, 220);
    converge(220);
    cluster_stop(&c, away);
    cluster_start(&c, away);
    submit_many(leader, 221, 230);
    converge(230);
    cluster_deinit(&c);
}

static void a_node_that_fetched_can_lead(void **state)
{
    (void)state;
    start_three();
    size_t leader = cluster_leader(&c);
    size_t away = stop_and_leave_behind(leader);
    bring_back(away);
    restart_when_wanted(away);
    cluster_start(&c, away);
    converge(200);
    size_t third = 3 - leader - away;
    /* Only the two that are left can elect; whoever it is, nothing is lost. */
    cluster_stop(&c, leader);
    submit_many(cluster_leader(&c), 201, 210);
    cluster_stop(&c, third);
    cluster_start(&c, leader);
    submit_many(cluster_leader(&c), 211, 220);
    cluster_start(&c, third);
    converge(220);
    cluster_deinit(&c);
}

static atomic_bool kept;

/* Its last user went after the turn had read the time. */
static void expire_a_copy_that_was_used_just_now(struct repl *r)
{
    struct copies *copies = &r->copies;
    uint64_t turn_ms = clock_mono_ms();
    pthread_mutex_lock(&copies->lock);
    copies->used_ms = turn_ms + 1;
    bool there = copies->state == COPY_READY;
    pthread_mutex_unlock(&copies->lock);
    copies->looked_ms = 0;
    copies_beat(r, turn_ms);
    atomic_store(&kept, there && !copies->removing);
}

static void the_leader_gives_a_copy_when_nobody_else_is_there(void **state)
{
    (void)state;
    start_three();
    size_t leader = cluster_leader(&c);
    size_t away = stop_and_leave_behind(leader);
    size_t third = 3 - leader - away;
    cluster_start(&c, away);
    restart_when_wanted(away);
    cluster_stop(&c, third); /* no quorum: copies are given all the same */
    cluster_start(&c, away);
    restart_when_wanted(away);
    cluster_on_loop(&c, leader, expire_a_copy_that_was_used_just_now);
    assert_true(atomic_load(&kept));
    cluster_start(&c, away);
    cluster_start(&c, third);
    submit_many(cluster_leader(&c), 201, 205);
    converge(205);
    cluster_deinit(&c);
}

static uint64_t size_of(size_t i, const char *name)
{
    char path[128];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", c.nodes[i].dir, name);
    return stat(path, &s) == 0 ? (uint64_t)s.st_size : 0;
}

static void a_fetch_that_was_cut_goes_on_where_it_was(void **state)
{
    (void)state;
    enum { LARGE = 192 * 1024 * 1024 }; /* two seconds at the rate */
    start_three();
    size_t leader = cluster_leader(&c);
    for (size_t i = 0; i < 3; i++)
        fake_store_pad(c.nodes[i].store, LARGE);
    size_t away = stop_and_leave_behind(leader);
    size_t third = 3 - leader - away;
    cluster_start(&c, away);
    restart_when_wanted(away);
    cluster_start(&c, away);
    WAIT_FOR(status_of(away).fetch_bytes > LARGE / 4, PATIENCE_MS);
    /* A disk that stands still does not cut it: both ends are patient. */
    assert_int_equal(sockets_bearing(PEER_IO_SILENCE_S_MAX * 1000), 2);
    cluster_stop(&c, away); /* the fetcher goes */
    uint64_t had = size_of(away, "next/store/data.mdb");
    assert_true(had > 0 && had < LARGE);
    cluster_start(&c, away);
    WAIT_FOR(status_of(away).fetch_total > 0, PATIENCE_MS);
    assert_true(status_of(away).fetch_bytes >= had);
    /* The source goes: another one gives a copy of its own. */
    cluster_stop(&c, third);
    cluster_start(&c, third);
    restart_when_wanted(away);
    cluster_start(&c, away);
    submit_many(cluster_leader(&c), 201, 205);
    converge(205);
    cluster_deinit(&c);
}

static void damage(size_t i, const char *name, long at)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", c.nodes[i].dir, name);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_int_equal(fputc('?', f), '?');
    fclose(f);
}

static void a_copy_that_was_spoilt_on_the_disk_is_fetched_again(void **state)
{
    (void)state;
    enum { LARGE = 96 * 1024 * 1024 };
    start_three();
    size_t leader = cluster_leader(&c);
    for (size_t i = 0; i < 3; i++)
        fake_store_pad(c.nodes[i].store, LARGE);
    size_t away = stop_and_leave_behind(leader);
    cluster_start(&c, away);
    restart_when_wanted(away);
    cluster_start(&c, away);
    WAIT_FOR(status_of(away).fetch_bytes > LARGE / 4, PATIENCE_MS);
    cluster_stop(&c, away);
    damage(away, "next/store/data.mdb", 10 * 1024 * 1024);
    cluster_start(&c, away);
    restart_when_wanted(away);
    cluster_start(&c, away);
    converge(200);
    cluster_deinit(&c);
}

static void a_note_of_another_cluster_is_refused(void **state)
{
    (void)state;
    start_three();
    cluster_leader(&c);
    cluster_stop(&c, 0);
    struct fetch_note note = {
        .cluster_id = {1}, .member_count = 1, .members = {"x=localhost:1"}};
    struct errmsg e;
    assert_int_equal(fetch_note_write(c.nodes[0].dir, &note, &e), 0);
    assert_int_equal(cluster_try_start(&c, 0, &e), ERR_FOREIGN);
    assert_null(c.nodes[0].repl);
    cluster_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_node_that_was_away_too_long_fetches_a_copy_and_is_back),
        cmocka_unit_test(a_node_that_fetched_can_lead),
        cmocka_unit_test(the_leader_gives_a_copy_when_nobody_else_is_there),
        cmocka_unit_test(a_fetch_that_was_cut_goes_on_where_it_was),
        cmocka_unit_test(a_copy_that_was_spoilt_on_the_disk_is_fetched_again),
        cmocka_unit_test(a_note_of_another_cluster_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
