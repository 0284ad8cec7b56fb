#define _GNU_SOURCE /* environ */
/* How leadership changes hands: raft/leader_gone.h and raft/succession.h. The
 * leader that dies is a process of its own: this program, started again with
 * the word "node". */
#include "raft/test/cluster.h"

#include "base/clock.h"
#include "raft/repl.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    SOON_MS = 30 * 1000,
    SLOW_ELECTION_MS = 6000, /* timers wait for once to twice as long */
};

static struct cluster c;

static void start_all(void)
{
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
}

static int set_up(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    start_all();
    return 0;
}

/* No election that nobody asked for. */
static int set_up_patient(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.election_timeout_ms = 2000;
    start_all();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool fatal = false;
    for (size_t i = 0; i < c.count; i++)
        fatal = fatal || atomic_load(&c.nodes[i].fatal_code) != 0;
    cluster_deinit(&c);
    return fatal ? -1 : 0;
}

static struct repl_status status_of(size_t i)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    return s;
}

/* Whom node @i takes for the leader; NODES_MAX: nobody. */
static size_t leader_of(size_t i)
{
    struct repl_status s = status_of(i);
    for (size_t n = 0; n < s.node_count; n++)
        for (size_t k = 0; s.nodes[n].leader && k < c.count; k++)
            if (strcmp(s.nodes[n].name, c.nodes[k].name) == 0)
                return k;
    return NODES_MAX;
}

static void submit_ok(size_t node, uint64_t number)
{
    assert_int_equal(cluster_submit_soon(&c, node, number, 100, NULL), 0);
}

static bool make_leader(size_t through, size_t to)
{
    return leader_of(through) == to ||
           (cluster_change(&c, through, REPL_TRANSFER, c.nodes[to].name,
                           NULL) == 0 &&
            leader_of(through) == to);
}

/* --- the leader dies ------------------------------------------------------ */

/* "node", its number, the ports of all, the data directory. */
static int run_node(char **argv)
{
    struct repl_peer peers[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        snprintf(peers[i].name, sizeof peers[i].name, "node-%c",
                 (char)('a' + i));
        snprintf(peers[i].address, sizeof peers[i].address, "127.0.0.1:%s",
                 argv[3 + i]);
    }
    struct repl_peer *self = &peers[atoi(argv[2])];
    struct repl_options options = {.name = self->name,
                                   .data_dir = argv[6],
                                   .peer_address = self->address,
                                   .peer_bind = self->address,
                                   .initial_peers = peers,
                                   .initial_peer_count = 3,
                                   .election_timeout_ms = SLOW_ELECTION_MS,
                                   .heartbeat_ms = 50,
                                   .store = fake_store_create()};
    struct repl *repl;
    struct errmsg e = {""};
    if (repl_start(&options, &repl, &e) != 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    for (;;)
        pause();
}

static pid_t spawn_node(size_t i)
{
    char number[4], ports[3][8];
    char program[] = "test_raft_succession", word[] = "node";
    char *argv[] = {program,  word,     number,         ports[0],
                    ports[1], ports[2], c.nodes[i].dir, NULL};
    snprintf(number, sizeof number, "%zu", i);
    for (size_t k = 0; k < 3; k++)
        snprintf(ports[k], sizeof ports[k], "%u", c.nodes[k].port);
    pid_t pid;
    assert_int_equal(
        posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ), 0);
    return pid;
}

static void a_leader_that_dies_is_replaced_without_the_timer(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.election_timeout_ms = SLOW_ELECTION_MS;
    pid_t pid = spawn_node(2);
    cluster_start(&c, 0);
    cluster_start(&c, 1);
    WAIT_FOR(leader_of(0) != NODES_MAX && leader_of(1) == leader_of(0),
             SOON_MS);
    WAIT_FOR(make_leader(0, 2) && leader_of(1) == 2, SOON_MS);
    submit_ok(0, 1);
    uint64_t killed_ms = clock_mono_ms();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    size_t now = cluster_leader(&c);
    assert_in_range(now, 0, 1);
    assert_true(clock_mono_ms() - killed_ms < SLOW_ELECTION_MS / 2);
    submit_ok(1 - now, 2);
}

/* What a follower does when the leader's port refuses it. */
static void one_voter_that_cannot_reach_the_leader_unseats_nobody(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    size_t one = (leader + 1) % 3, other = (leader + 2) % 3;
    WAIT_FOR(leader_of(one) == leader && leader_of(other) == leader, SOON_MS);
    uint64_t term = status_of(leader).term;
    for (unsigned i = 0; i < 4; i++) {
        cluster_on_loop(&c, one, leader_gone_believe);
        sleep_ms(200);
    }
    submit_ok(one, 1);
    assert_int_equal(status_of(leader).term, term);
    assert_int_equal(leader_of(other), leader);
    /* Two of three are a majority, whatever the leader thinks. */
    cluster_on_loop(&c, one, leader_gone_believe);
    cluster_on_loop(&c, other, leader_gone_believe);
    WAIT_FOR(status_of(one).term > term, SOON_MS);
    submit_ok(leader, 2);
}

static atomic_bool still_probing;

/* forward_beat finds the link silent, leader_gone_beat follows in the same
 * turn. */
static void lose_the_leader_in_a_slow_turn(struct repl *r)
{
    uint64_t turn_ms = clock_mono_ms();
    sleep_ms(2);
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        if (r->forward.outs[i]->peer_id == r->gone.leader)
            link_close(&r->forward.outs[i]->link);
    leader_gone_link_broke(r, r->gone.leader);
    bool probes = r->gone.probes != NULL;
    leader_gone_beat(r, turn_ms);
    atomic_store(&still_probing,
                 probes && r->gone.probes != NULL && r->gone.broken);
}

static void a_slow_turn_does_not_end_the_search_for_the_leader(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), one = (leader + 1) % 3;
    WAIT_FOR(leader_of(one) == leader, SOON_MS);
    submit_ok(one, 1); /* its link to the leader is there */
    cluster_on_loop(&c, one, lose_the_leader_in_a_slow_turn);
    assert_true(atomic_load(&still_probing));
    submit_ok(one, 2);
}

/* --- hand-overs ----------------------------------------------------------- */

static void an_operator_moves_leadership_and_hears_why_not(void **state)
{
    (void)state;
    char message[256], wanted[64];
    size_t leader = cluster_leader(&c), to = (leader + 1) % 3;
    snprintf(wanted, sizeof wanted, "%s leads", c.nodes[to].name);
    WAIT_FOR(leader_of(to) == leader && leader_of(3 - to - leader) == leader,
             SOON_MS);
    submit_ok(to, 1); /* its log is up to date */
    /* The leader may still be dialing it. */
    WAIT_FOR(cluster_change(&c, (leader + 2) % 3, REPL_TRANSFER,
                            c.nodes[to].name, message) == 0,
             SOON_MS);
    assert_string_equal(message, wanted);
    assert_int_equal(cluster_leader(&c), to);
    assert_int_equal(
        cluster_change(&c, leader, REPL_TRANSFER, "nobody", message),
        ERR_NOTFOUND);
    cluster_stop(&c, leader);
    WAIT_FOR(cluster_change(&c, to, REPL_TRANSFER, c.nodes[leader].name,
                            message) == ERR_DENIED &&
                 strstr(message, "cannot be reached") != NULL,
             SOON_MS);
    submit_ok(to, 2);
}

static int (*real_send[3])(struct raft_io *io, struct raft_io_send *req,
                           const struct raft_message *message,
                           raft_io_send_cb cb);

static size_t node_of(const struct raft_io *io)
{
    size_t i = 0;
    while (c.nodes[i].repl == NULL || &c.nodes[i].repl->guard.io != io)
        i++;
    return i;
}

/* From now on libraft's messages of this node go through @send. */
static void send_through(struct repl *r,
                         int (*send)(struct raft_io *io,
                                     struct raft_io_send *req,
                                     const struct raft_message *message,
                                     raft_io_send_cb cb))
{
    real_send[node_of(&r->guard.io)] = r->guard.inner.send;
    r->guard.inner.send = send;
}

/* What a node says whose disk is busy or full: nothing of the log is prepared.
 */
static int send_without_capacity(struct raft_io *io, struct raft_io_send *req,
                                 const struct raft_message *message,
                                 raft_io_send_cb cb)
{
    struct raft_message bare = *message;
    size_t self = node_of(io);
    if (message->type == RAFT_REQUEST_VOTE_RESULT)
        bare.request_vote_result.capacity = 0;
    else if (message->type == RAFT_APPEND_ENTRIES_RESULT)
        bare.append_entries_result.capacity = 0;
    return real_send[self](io, req, &bare, cb);
}

static void hide_capacity(struct repl *r)
{
    send_through(r, send_without_capacity);
}

static void a_leader_begins_though_no_voter_has_prepared_its_log(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    submit_ok(leader, 1);
    for (size_t i = 0; i < c.count; i++)
        cluster_on_loop(&c, i, hide_capacity);
    size_t to = (leader + 1) % 3;
    WAIT_FOR(make_leader(leader, to), SOON_MS);
    submit_ok(leader, 2);
}

/* Whoever is to be told to take over: nobody if 0, else that one. */
static uint64_t told_instead;

static int send_elsewhere(struct raft_io *io, struct raft_io_send *req,
                          const struct raft_message *message,
                          raft_io_send_cb cb)
{
    struct raft_message other = *message;
    size_t self = node_of(io);
    if (message->type == RAFT_TIMEOUT_NOW && told_instead == 0) {
        other.timeout_now.term = 0; /* is of the past for who gets it */
    } else if (message->type == RAFT_TIMEOUT_NOW) {
        const struct raft_configuration *all =
            &c.nodes[self].repl->raft.configuration;
        for (unsigned i = 0; i < all->n; i++)
            if (all->servers[i].id == told_instead) {
                other.server_id = all->servers[i].id;
                other.server_address = all->servers[i].address;
            }
    }
    return real_send[self](io, req, &other, cb);
}

static void divert(struct repl *r)
{
    send_through(r, send_elsewhere);
}

static void a_transfer_that_was_asked_for_and_not_seen_is_unknown(void **state)
{
    (void)state;
    char message[256];
    size_t leader = cluster_leader(&c), to = (leader + 1) % 3;
    WAIT_FOR(leader_of(to) == leader && leader_of(3 - to - leader) == leader,
             SOON_MS);
    submit_ok(to, 1);
    told_instead = 0;
    cluster_on_loop(&c, leader, divert);
    int status = ERR_DENIED; /* its log may not be up to date yet */
    WAIT_FOR((status = cluster_change(&c, leader, REPL_TRANSFER,
                                      c.nodes[to].name, message)) != ERR_DENIED,
             SOON_MS);
    assert_int_equal(status, ERR_UNKNOWN);
    assert_non_null(strstr(message, "did not take over in time"));
}

static void a_transfer_to_one_is_not_done_when_another_leads(void **state)
{
    (void)state;
    char message[256], wanted[64];
    size_t leader = cluster_leader(&c), to = (leader + 1) % 3;
    size_t third = 3 - to - leader;
    WAIT_FOR(leader_of(to) == leader && leader_of(third) == leader, SOON_MS);
    submit_ok(to, 1);
    submit_ok(third, 2);
    cluster_converge(&c, 2); /* or the third could not win */
    snprintf(wanted, sizeof wanted, "%s was elected instead",
             c.nodes[third].name);
    told_instead = status_of(third).raft_id;
    cluster_on_loop(&c, leader, divert);
    int status = ERR_DENIED;
    WAIT_FOR((status = cluster_change(&c, leader, REPL_TRANSFER,
                                      c.nodes[to].name, message)) != ERR_DENIED,
             SOON_MS);
    assert_string_equal(message, wanted);
    assert_int_equal(status, ERR_AGAIN);
}

static void a_draining_node_gives_leadership_away_and_takes_none(void **state)
{
    (void)state;
    char message[256];
    size_t leader = cluster_leader(&c);
    repl_drain(c.nodes[leader].repl, true);
    WAIT_FOR(!atomic_load(&c.nodes[leader].leads) &&
                 cluster_leader(&c) != leader,
             SOON_MS);
    assert_true(status_of(leader).draining);
    submit_ok(leader, 1);
    size_t now = cluster_leader(&c), third = 3 - leader - now;
    WAIT_FOR(cluster_change(&c, third, REPL_TRANSFER, c.nodes[leader].name,
                            message) == ERR_DENIED,
             SOON_MS);
    assert_non_null(strstr(message, "draining"));
    /* Only one is left that may. */
    repl_drain(c.nodes[now].repl, true);
    WAIT_FOR(atomic_load(&c.nodes[third].leads), SOON_MS);
    repl_drain(c.nodes[leader].repl, false);
    WAIT_FOR(make_leader(third, leader), SOON_MS);
}

static void zones_move_soon(struct repl *r)
{
    r->succession.zone_stable_ms = 300;
    r->succession.zone_pause_ms = 60 * 1000;
}

static void leadership_moves_into_its_zone_once_and_not_at_once(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.leader_zones = "zone-9,zone-b";
    c.nodes[1].zone = "zone-b";
    start_all();
    /* By default it takes half a minute: nothing moves. */
    cluster_leader(&c);
    WAIT_FOR(make_leader(0, 0), SOON_MS);
    sleep_ms(700);
    assert_int_equal(cluster_leader(&c), 0);
    cluster_on_loop(&c, 0, zones_move_soon);
    WAIT_FOR(leader_of(0) == 1, SOON_MS);
    submit_ok(0, 1);
    /* Somebody insists: not moved again before the pause is over. */
    WAIT_FOR(make_leader(0, 0), SOON_MS);
    sleep_ms(1500);
    assert_int_equal(cluster_leader(&c), 0);
}

/* --- a disk that stands still --------------------------------------------- */

enum { HELD_MAX = 256 };

static struct {
    struct raft_io_append *req;
    const struct raft_entry *entries;
    unsigned n;
    raft_io_append_cb cb;
} held[HELD_MAX];
static size_t held_count;
static int (*real_append)(struct raft_io *io, struct raft_io_append *req,
                          const struct raft_entry entries[], unsigned n,
                          raft_io_append_cb cb);

static int hold_append(struct raft_io *io, struct raft_io_append *req,
                       const struct raft_entry entries[], unsigned n,
                       raft_io_append_cb cb)
{
    (void)io;
    assert_true(held_count < HELD_MAX);
    held[held_count].req = req;
    held[held_count].entries = entries;
    held[held_count].n = n;
    held[held_count++].cb = cb;
    return 0;
}

static void freeze_disk(struct repl *r)
{
    real_append = r->guard.inner.append;
    r->guard.inner.append = hold_append;
    r->succession.stall_ms = 100;
}

static void thaw_disk(struct repl *r)
{
    r->guard.inner.append = real_append;
    for (size_t i = 0; i < held_count; i++)
        assert_int_equal(real_append(&r->guard.io, held[i].req, held[i].entries,
                                     held[i].n, held[i].cb),
                         0);
    held_count = 0;
}

static void a_leader_whose_disk_stands_still_hands_over(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), other = (leader + 1) % 3;
    submit_ok(other, 1);
    cluster_on_loop(&c, leader, freeze_disk);
    /* Two disks are enough. */
    submit_ok(other, 2);
    WAIT_FOR(leader_of(other) != leader && leader_of(other) != NODES_MAX,
             SOON_MS);
    cluster_on_loop(&c, leader, thaw_disk);
    submit_ok(leader, 3);
    cluster_converge(&c, 3);
}

/* --- what a new leader finds in its log ----------------------------------- */

static bool take_nothing(void *arg, bool commands)
{
    (void)arg;
    (void)commands;
    return false;
}

static void stop_taking(struct repl *r)
{
    r->guard.takes_entries = take_nothing;
}

static void go_on_taking(struct repl *r)
{
    r->guard.takes_entries = space_takes_entries;
}

static int (*send_of_heir)(struct raft_io *io, struct raft_io_send *req,
                           const struct raft_message *message,
                           raft_io_send_cb cb);

static int send_no_results(struct raft_io *io, struct raft_io_send *req,
                           const struct raft_message *message,
                           raft_io_send_cb cb)
{
    if (message->type == RAFT_APPEND_ENTRIES_RESULT)
        return RAFT_NOCONNECTION;
    return send_of_heir(io, req, message, cb);
}

static void hide_results(struct repl *r)
{
    send_of_heir = r->guard.inner.send;
    r->guard.inner.send = send_no_results;
}

static void show_results(struct repl *r)
{
    r->guard.inner.send = send_of_heir;
}

static struct {
    bool leads;
    uint64_t last_index, stored_index;
} seen;

static void look(struct repl *r)
{
    seen.leads = r->leads;
    seen.last_index = raft_last_index(&r->raft);
    seen.stored_index = r->raft.last_stored;
}

static bool leads(size_t i)
{
    cluster_on_loop(&c, i, look);
    return seen.leads;
}

static bool has_stored_more_than(size_t i, uint64_t index)
{
    cluster_on_loop(&c, i, look);
    return seen.stored_index > index;
}

static void *submit_second(void *arg)
{
    static int status;
    status = cluster_submit(&c, *(size_t *)arg, 2, 100, SOON_MS, NULL);
    return &status;
}

/* Record 2 is on the disks of @old and @heir, and only @heir knows of its own:
 * @other takes no entries. Then @old is gone. */
static void leave_an_entry_uncommitted(size_t old, size_t heir, size_t other)
{
    cluster_on_loop(&c, other, stop_taking);
    cluster_on_loop(&c, heir, hide_results);
    cluster_on_loop(&c, old, look);
    uint64_t before = seen.last_index;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, submit_second, &old), 0);
    WAIT_FOR(has_stored_more_than(heir, before), SOON_MS);
    cluster_stop(&c, old);
    void *status;
    pthread_join(thread, &status);
    assert_int_equal(*(int *)status, ERR_UNKNOWN);
}

static void
a_new_leader_serves_nothing_before_what_it_found_is_applied(void **state)
{
    (void)state;
    size_t old = cluster_leader(&c);
    size_t heir = (old + 1) % 3, other = (old + 2) % 3;
    struct store *store = c.nodes[heir].store;
    submit_ok(heir, 1);
    cluster_converge(&c, 1);
    /* From then on no entry comes by itself. */
    WAIT_FOR(store_level(c.nodes[old].store) == LEVEL_NEWEST, SOON_MS);
    leave_an_entry_uncommitted(old, heir, other);
    WAIT_FOR(leads(heir), SOON_MS);
    for (unsigned i = 0; i < 60; i++) {
        assert_false(atomic_load(&c.nodes[heir].leads));
        sleep_ms(5);
    }
    assert_true(leads(heir));
    assert_int_equal(fake_store_records(store), 1);

    cluster_on_loop(&c, heir, show_results);
    cluster_on_loop(&c, other, go_on_taking);
    WAIT_FOR(atomic_load(&c.nodes[heir].leads), SOON_MS);
    assert_int_equal(fake_store_records(store), 2);
    cluster_start(&c, old);
    submit_ok(old, 3);
    cluster_converge(&c, 3);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "node") == 0)
        return run_node(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(
            a_leader_that_dies_is_replaced_without_the_timer, tear_down),
        cmocka_unit_test_setup_teardown(
            one_voter_that_cannot_reach_the_leader_unseats_nobody, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_slow_turn_does_not_end_the_search_for_the_leader, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            an_operator_moves_leadership_and_hears_why_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_leader_begins_though_no_voter_has_prepared_its_log, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_transfer_that_was_asked_for_and_not_seen_is_unknown,
            set_up_patient, tear_down),
        cmocka_unit_test_setup_teardown(
            a_transfer_to_one_is_not_done_when_another_leads, set_up_patient,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_draining_node_gives_leadership_away_and_takes_none, set_up,
            tear_down),
        cmocka_unit_test_teardown(
            leadership_moves_into_its_zone_once_and_not_at_once, tear_down),
        cmocka_unit_test_setup_teardown(
            a_leader_whose_disk_stands_still_hands_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_new_leader_serves_nothing_before_what_it_found_is_applied, set_up,
            tear_down),
    };
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
