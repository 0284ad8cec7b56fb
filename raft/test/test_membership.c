#define _GNU_SOURCE /* memmem */
/* Nodes that come, go and lose their directories, and what operators ask for:
 * raft/joining.h, raft/membership.h, raft/change.h. Four nodes and more in one
 * process; those that fetched the store are started anew in between, as the
 * daemon does itself. */
#include "raft/test/cluster.h"

#include "base/clock.h"
#include "raft/frame.h"
#include "raft/hello.h"
#include "raft/repl.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SOON_MS = 30 * 1000 };

static struct cluster c;

static void set_up_with(size_t count, size_t founders)
{
    cluster_init(&c, count);
    c.founders = founders;
    for (size_t i = 0; i < founders; i++)
        cluster_start(&c, i);
    cluster_leader(&c);
}

static int set_up_three(void **state)
{
    (void)state;
    set_up_with(3, 3);
    return 0;
}

static int set_up_five(void **state)
{
    (void)state;
    set_up_with(5, 3);
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

static void submit_ok(size_t node, uint64_t number)
{
    assert_int_equal(cluster_submit_soon(&c, node, number, 100, NULL), 0);
}

static void restart_those_that_wish(void)
{
    for (size_t i = 0; i < c.count; i++)
        if (c.nodes[i].repl != NULL &&
            atomic_load(&c.nodes[i].restart_wanted)) {
            cluster_stop(&c, i);
            cluster_start(&c, i);
        }
}

/* Sees every running node this one as it should? */
static bool role_is(size_t k, const char *role)
{
    restart_those_that_wish();
    for (size_t i = 0; i < c.count; i++)
        if (c.nodes[i].repl != NULL &&
            strcmp(cluster_role(&c, i, k), role) != 0)
            return false;
    return true;
}

static const char *state_of(size_t i)
{
    restart_those_that_wish();
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    return s.state;
}

static size_t member_count(size_t i)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    return s.node_count;
}

/* A leader judges the health of the others by them. */
static bool facts_are_there(size_t i)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    for (size_t n = 0; n < s.node_count; n++)
        if (s.nodes[n].id != s.raft_id &&
            (!s.nodes[n].connected || s.nodes[n].facts_ms == 0))
            return false;
    return s.node_count == c.count;
}

static bool is_connected(size_t i, size_t k)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    for (size_t n = 0; n < s.node_count; n++)
        if (strcmp(s.nodes[n].name, c.nodes[k].name) == 0)
            return s.nodes[n].connected;
    return false;
}

static uint64_t id_of(size_t i)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    return s.raft_id;
}

static bool level_is(unsigned level)
{
    for (size_t i = 0; i < c.count; i++)
        if (c.nodes[i].repl != NULL && store_level(c.nodes[i].store) != level)
            return false;
    return true;
}

/* --- joining -------------------------------------------------------------- */

static void
a_fourth_node_becomes_a_standby_and_a_fifth_makes_five_voters(void **state)
{
    (void)state;
    submit_ok(0, 1);
    cluster_start(&c, 3);
    WAIT_FOR(role_is(3, "standby"), SOON_MS);
    cluster_converge(&c, 1);
    /* An even number of voters would tolerate no more failures. */
    sleep_ms(CAUGHT_UP_MS_MIN + 1500);
    assert_true(role_is(3, "standby"));
    cluster_start(&c, 4);
    WAIT_FOR(role_is(3, "voter") && role_is(4, "voter"), SOON_MS);
    /* Through a new member, and without two of the old ones. */
    submit_ok(4, 2);
    size_t leader = cluster_leader(&c), stopped = 0;
    for (size_t i = 0; i < 3 && stopped < 2; i++)
        if (i != leader) {
            cluster_stop(&c, i);
            stopped++;
        }
    submit_ok(3, 3);
    cluster_converge(&c, 3);
}

static void a_single_node_grows_into_a_cluster(void **state)
{
    (void)state;
    set_up_with(3, 1);
    submit_ok(0, 1);
    for (size_t i = 1; i < 3; i++)
        cluster_start(&c, i);
    WAIT_FOR(role_is(1, "voter") && role_is(2, "voter"), SOON_MS);
    cluster_stop(&c, 0);
    submit_ok(1, 2);
    cluster_converge(&c, 2);
}

static void a_node_that_lost_its_directory_replaces_its_old_self(void **state)
{
    (void)state;
    submit_ok(0, 1);
    cluster_converge(&c, 1);
    /* A follower, then whoever leads. */
    for (uint64_t round = 0; round < 2; round++) {
        size_t leader = cluster_leader(&c);
        size_t lost = round == 0 ? (leader + 1) % 3 : leader;
        uint64_t old_id = id_of(lost);
        cluster_stop(&c, lost);
        submit_ok((lost + 1) % 3, 2 + round);
        cluster_wipe(&c, lost);
        cluster_start(&c, lost);
        assert_int_not_equal(id_of(lost), old_id);
        WAIT_FOR(role_is(lost, "voter"), SOON_MS);
        assert_int_equal(member_count(lost), 3);
        cluster_converge(&c, 2 + round);
    }
}

static void a_living_members_name_is_not_given_to_another(void **state)
{
    (void)state;
    set_up_with(4, 3);
    size_t leader = cluster_leader(&c);
    strcpy(c.nodes[3].name, c.nodes[(leader + 1) % 3].name);
    strcpy(c.peers[3].name, c.nodes[3].name);
    /* It must not take itself for a founder. */
    strcpy(c.peers[(leader + 1) % 3].name, "node-x");
    int warnings = atomic_load(&c.nodes[leader].warnings);
    cluster_start(&c, 3);
    WAIT_FOR(atomic_load(&c.nodes[leader].warnings) > warnings, SOON_MS);
    assert_string_equal(state_of(3), "waiting");
    assert_int_equal(member_count((leader + 1) % 3), 3);
    /* The operator sees it. */
    assert_int_equal(member_count(leader), 4);
}

/* Says to node @i that it is the member @id. The connection, if it is welcome.
 */
static int say_hello(size_t i, enum hello_channel channel, uint64_t id)
{
    struct repl_status status;
    repl_status(c.nodes[i].repl, &status);
    struct hello hello = {
        .channel = channel, .raft_id = id, .level = LEVEL_NEWEST};
    memcpy(hello.cluster_id, status.cluster_id, sizeof hello.cluster_id);
    strcpy(hello.name, "node-x");
    strcpy(hello.address, "127.0.0.1:1");
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(c.nodes[i].port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval timeout = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    uint8_t data[HELLO_SIZE], out[HELLO_ANSWER_SIZE];
    hello_encode(&hello, data);
    assert_int_equal(send(fd, data, sizeof data, MSG_NOSIGNAL), sizeof data);
    assert_int_equal(recv(fd, out, sizeof out, MSG_WAITALL), sizeof out);
    struct hello_answer answer;
    struct errmsg e;
    assert_int_equal(
        hello_answer_decode((struct bytes){out, sizeof out}, &answer, &e), 1);
    assert_int_equal(answer.code, HELLO_OK);
    return fd;
}

static void a_living_members_id_is_not_given_to_another(void **state)
{
    (void)state;
    submit_ok(0, 1);
    size_t leader = cluster_leader(&c), member = (leader + 1) % 3;
    uint64_t id = id_of(member);
    int warnings = atomic_load(&c.nodes[leader].warnings);
    close(say_hello(leader, HELLO_JOIN, id));
    WAIT_FOR(atomic_load(&c.nodes[leader].warnings) > warnings, SOON_MS);
    sleep_ms(1000);
    assert_true(role_is(member, "voter"));
    submit_ok(member, 2);
}

static void
a_founder_that_was_away_comes_in_without_one_that_is_dead(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    /* It can be asked, and so the others found with it; but to it one of them
     * is never there. */
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
    strcpy(address, c.peers[2].address);
    strcpy(c.peers[2].address, "127.0.0.1:1");
    cluster_start(&c, 1);
    strcpy(c.peers[2].address, address);
    cluster_start(&c, 0);
    cluster_start(&c, 2);
    cluster_leader(&c);
    uint64_t id = id_of(1);
    submit_ok(0, 1);
    assert_string_equal(state_of(1), "waiting");
    WAIT_FOR(strcmp(state_of(1), "follower") == 0, SOON_MS);
    assert_int_equal(id_of(1), id);
    cluster_converge(&c, 1);
    cluster_stop(&c, 2);
    submit_ok(1, 2);
}

static void an_empty_node_before_two_clusters_waits_and_warns(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    /* Two that founded themselves alone. */
    c.founders = 1;
    cluster_start(&c, 0);
    submit_ok(0, 1);
    struct repl_peer first = c.peers[0];
    c.peers[0] = c.peers[1];
    cluster_start(&c, 1);
    c.peers[0] = first;
    c.founders = 2;
    cluster_start(&c, 2);
    WAIT_FOR(atomic_load(&c.nodes[2].warnings) > 0, SOON_MS);
    sleep_ms(1000);
    assert_string_equal(state_of(2), "waiting");
    assert_int_equal(member_count(0), 1);
    assert_int_equal(member_count(1), 1);
    /* One of them goes: the other is the one to join. */
    cluster_stop(&c, 1);
    WAIT_FOR(strcmp(state_of(2), "follower") == 0, SOON_MS);
}

static void nodes_come_in_any_order_and_some_names_resolve_never(void **state)
{
    (void)state;
    cluster_init(&c, 5);
    c.founders = 3;
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
    strcpy(address, c.peers[2].address);
    cluster_start(&c, 4); /* first those that can only join */
    /* To the last of them one founder has no address in the DNS. */
    strcpy(c.peers[2].address, "node-c.invalid:7600");
    cluster_start(&c, 3);
    strcpy(c.peers[2].address, address);
    cluster_start(&c, 2);
    sleep_ms(500);
    cluster_start(&c, 0);
    sleep_ms(500);
    assert_string_equal(state_of(0), "waiting");
    cluster_start(&c, 1);
    cluster_leader(&c);
    submit_ok(1, 1);
    WAIT_FOR(role_is(3, "voter") && role_is(4, "voter"), SOON_MS);
    submit_ok(4, 2);
    cluster_converge(&c, 2);
}

/* --- voters that are away ------------------------------------------------- */

static void shorten(struct repl *r)
{
    r->membership.away_ms = 2000;
}

static void a_standby_takes_the_place_of_a_voter_that_is_away(void **state)
{
    (void)state;
    set_up_with(4, 3);
    cluster_start(&c, 3);
    submit_ok(0, 1);
    WAIT_FOR(role_is(3, "standby"), SOON_MS);
    for (size_t i = 0; i < 4; i++)
        cluster_on_loop(&c, i, shorten);
    size_t leader = cluster_leader(&c), away = (leader + 1) % 3;
    cluster_stop(&c, away);
    WAIT_FOR(role_is(3, "voter"), SOON_MS);
    assert_true(role_is(away, "spare"));
    submit_ok(3, 2);
    /* It comes back as the reserve. */
    cluster_start(&c, away);
    WAIT_FOR(role_is(away, "standby"), SOON_MS);
    cluster_converge(&c, 2);
}

/* --- operators ------------------------------------------------------------ */

static void a_change_that_would_leave_no_healthy_quorum_is_refused(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    size_t dead = (leader + 1) % 3, other = (leader + 2) % 3;
    WAIT_FOR(facts_are_there(leader), SOON_MS);
    cluster_stop(&c, dead);
    char message[256];
    WAIT_FOR(!is_connected(leader, dead), SOON_MS);
    assert_int_equal(
        cluster_change(&c, leader, REPL_DEMOTE, c.nodes[other].name, message),
        ERR_DENIED);
    assert_non_null(strstr(message, "quorum"));
    assert_int_equal(
        cluster_change(&c, other, REPL_REMOVE, c.nodes[other].name, message),
        ERR_DENIED);
    assert_int_equal(cluster_change(&c, other, REPL_REMOVE, "nobody", message),
                     ERR_NOTFOUND);
    assert_non_null(strstr(message, "nobody"));
    /* A dead one may go. */
    cluster_change_soon(&c, other, REPL_REMOVE, c.nodes[dead].name);
    WAIT_FOR(member_count(leader) == 2 && member_count(other) == 2, SOON_MS);
    submit_ok(other, 1);
}

/* A change that a test hands to a loop itself, and how it ended. */
struct asked {
    struct repl_change change;
    atomic_int status;
};

static void on_asked(struct repl_change *change, int status,
                     const char *message)
{
    (void)message;
    atomic_store(&CONTAINER_OF(change, struct asked, change)->status, status);
}

static struct asked quick = {
    .change = {.kind = REPL_REMOVE, .name = "nobody", .done = on_asked}};
static atomic_bool still_asking;

/* The turn of the loop took its time before this. */
static void ask_in_a_slow_turn(struct repl *r)
{
    uint64_t turn_ms = clock_mono_ms();
    sleep_ms(2);
    repl_change(r, &quick.change);
    changes_collect(r);
    changes_beat(r, turn_ms);
    atomic_store(&still_asking, r->changes.asked != NULL);
}

static void a_slow_turn_gives_the_leader_time_to_answer(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), other = (leader + 1) % 3;
    submit_ok(other, 1); /* its link to the leader is there */
    cluster_on_loop(&c, other, ask_in_a_slow_turn);
    assert_true(atomic_load(&still_asking));
    WAIT_FOR(atomic_load(&quick.status) == ERR_NOTFOUND, SOON_MS);
}

static struct asked unanswered;

enum { NOBODY_ID = 7 };

static void wait_for_one_who_led(struct repl *r)
{
    struct repl_change *change = &unanswered.change;
    *change = (struct repl_change){.done = on_asked,
                                   .id = 1,
                                   .asked_of = NOBODY_ID,
                                   .asked_ms = clock_mono_ms(),
                                   .next = r->changes.asked};
    r->changes.asked = change;
    r->changes.count++;
}

static void lose_the_link(struct repl *r)
{
    changes_link_closed(r, NOBODY_ID);
}

static void
a_new_leader_is_asked_though_the_old_one_owes_an_answer(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), other = (leader + 1) % 3;
    submit_ok(other, 1); /* its link to the leader is there */
    cluster_on_loop(&c, other, wait_for_one_who_led);
    assert_int_equal(cluster_change(&c, other, REPL_REMOVE, "nobody", NULL),
                     ERR_NOTFOUND);
    assert_int_equal(atomic_load(&unanswered.status), 0);
    cluster_on_loop(&c, other, lose_the_link);
    assert_int_equal(atomic_load(&unanswered.status), ERR_UNKNOWN);
}

static void change_something(struct repl *r)
{
    r->membership.changing = true;
}

static void change_nothing(struct repl *r)
{
    r->membership.changing = false;
}

static void a_promotion_that_has_to_wait_says_what_is_recorded(void **state)
{
    (void)state;
    WAIT_FOR(level_is(LEVEL_NEWEST), SOON_MS);
    char message[256];
    size_t leader = cluster_leader(&c), other = (leader + 1) % 3;
    cluster_change_soon(&c, leader, REPL_DEMOTE, c.nodes[other].name);
    WAIT_FOR(role_is(other, "standby"), SOON_MS);
    cluster_on_loop(&c, leader, change_something);
    assert_int_equal(
        cluster_change(&c, leader, REPL_PROMOTE, c.nodes[other].name, message),
        ERR_AGAIN);
    assert_non_null(strstr(message, "it is recorded"));
    cluster_on_loop(&c, leader, change_nothing);
    WAIT_FOR(role_is(other, "voter"), SOON_MS);
}

/* @at: how much of @in was read. */
static void next_frame(int fd, struct buf *in, size_t *at, struct frame *frame)
{
    int n = 0;
    for (;;) {
        if (in->size > *at)
            n = frame_get((struct bytes){in->data + *at, in->size - *at},
                          frame);
        if (n != 0)
            break;
        ssize_t got = recv(fd, buf_reserve(in, 4096), 4096, 0);
        assert_true(got > 0);
        in->size += (size_t)got;
    }
    assert_true(n > 0);
    *at += (size_t)n;
}

/* All in one piece: a moment later its link would be closed. */
static void a_member_that_was_removed_orders_nothing_any_more(void **state)
{
    (void)state;
    submit_ok(0, 1);
    size_t leader = cluster_leader(&c);
    WAIT_FOR(facts_are_there(leader), SOON_MS);
    size_t gone = (leader + 1) % 3, other = (leader + 2) % 3;
    struct frame remove = {.type = FRAME_CHANGE,
                           .id = 1,
                           .change = REPL_REMOVE,
                           .text = bytes_of_string(c.nodes[gone].name)},
                 submit = {.type = FRAME_SUBMIT,
                           .id = 2,
                           .record = bytes_of_string("no record")},
                 demote = {.type = FRAME_CHANGE,
                           .id = 3,
                           .change = REPL_DEMOTE,
                           .text = bytes_of_string(c.nodes[other].name)},
                 answer;
    struct buf out = {0}, in = {0};
    frame_put(&out, &remove);
    frame_put(&out, &submit);
    frame_put(&out, &demote);
    int fd = say_hello(leader, HELLO_FORWARD, id_of(gone));
    assert_int_equal(send(fd, out.data, out.size, MSG_NOSIGNAL), out.size);
    size_t at = 0;
    next_frame(fd, &in, &at, &answer);
    assert_int_equal(answer.type, FRAME_RESULT);
    assert_int_equal(answer.status, ERR_AGAIN);
    next_frame(fd, &in, &at, &answer);
    assert_int_equal(answer.type, FRAME_CHANGED);
    assert_int_equal(answer.id, demote.id);
    assert_int_equal(answer.status, ERR_AGAIN);
    assert_non_null(memmem(answer.text.data, answer.text.size, "no member", 9));
    next_frame(fd, &in, &at, &answer);
    assert_int_equal(answer.id, remove.id);
    assert_int_equal(answer.status, 0);
    close(fd);
    buf_deinit(&out);
    buf_deinit(&in);
}

static struct {
    struct repl_change change;
    uint64_t lost_id;
    atomic_bool done;
    int status;
    char message[256];
} demotion;

static void on_demoted(struct repl_change *change, int status,
                       const char *message)
{
    (void)change;
    demotion.status = status;
    snprintf(demotion.message, sizeof demotion.message, "%s", message);
    atomic_store(&demotion.done, true);
}

/* The link to another voter breaks when the check is over and before the wish
 * is in the log. */
static void demote_and_lose_a_voter(struct repl *r)
{
    repl_change(r, &demotion.change);
    changes_collect(r);
    changes_beat(r, clock_mono_ms());
    assert_true(r->changes.recording);
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++)
        if (r->forward.outs[i]->peer_id == demotion.lost_id) {
            link_close(&r->forward.outs[i]->link);
            r->forward.outs[i]->retry_ms = clock_mono_ms() + 3000;
        }
}

static void a_demotion_that_has_to_wait_says_that_it_will_be_done(void **state)
{
    (void)state;
    WAIT_FOR(level_is(LEVEL_NEWEST), SOON_MS);
    submit_ok(0, 1);
    size_t leader = cluster_leader(&c);
    WAIT_FOR(facts_are_there(leader), SOON_MS);
    size_t demoted = (leader + 1) % 3, lost = (leader + 2) % 3;
    memset(&demotion, 0, sizeof demotion);
    demotion.change.kind = REPL_DEMOTE;
    strcpy(demotion.change.name, c.nodes[demoted].name);
    demotion.change.done = on_demoted;
    demotion.lost_id = id_of(lost);
    cluster_on_loop(&c, leader, demote_and_lose_a_voter);
    WAIT_FOR(atomic_load(&demotion.done), SOON_MS);
    assert_int_equal(demotion.status, ERR_DENIED);
    assert_non_null(strstr(demotion.message, "it is recorded"));
    assert_non_null(strstr(demotion.message, "quorum"));
    WAIT_FOR(role_is(demoted, "standby"), SOON_MS);
}

static void a_removed_node_says_so_and_serves_what_it_has(void **state)
{
    (void)state;
    submit_ok(0, 1);
    cluster_converge(&c, 1);
    size_t leader = cluster_leader(&c);
    size_t gone = (leader + 1) % 3, other = (leader + 2) % 3;
    WAIT_FOR(facts_are_there(leader), SOON_MS);
    int warnings = atomic_load(&c.nodes[gone].warnings);
    assert_int_equal(
        cluster_change(&c, gone, REPL_REMOVE, c.nodes[gone].name, NULL), 0);
    WAIT_FOR(strcmp(state_of(gone), "removed") == 0, SOON_MS);
    WAIT_FOR(atomic_load(&c.nodes[gone].warnings) > warnings, SOON_MS);
    assert_int_equal(fake_store_records(c.nodes[gone].store), 1);
    /* Nor does it disturb the others. */
    struct repl_status before, after;
    repl_status(c.nodes[leader].repl, &before);
    submit_ok(other, 2);
    sleep_ms(3000);
    repl_status(c.nodes[leader].repl, &after);
    assert_true(after.is_leader);
    assert_int_equal(before.term, after.term);
    assert_int_equal(cluster_submit(&c, gone, 3, 100, 10000, NULL), ERR_AGAIN);
    /* With an empty directory it may come again. */
    cluster_stop(&c, gone);
    cluster_wipe(&c, gone);
    cluster_start(&c, gone);
    WAIT_FOR(role_is(gone, "voter"), SOON_MS);
    cluster_converge(&c, 2);
}

static void a_leader_is_neither_demoted_nor_removed(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    char message[256];
    assert_int_equal(cluster_change(&c, (leader + 1) % 3, REPL_REMOVE,
                                    c.nodes[leader].name, message),
                     ERR_DENIED);
    assert_non_null(strstr(message, "leads"));
    assert_int_equal(
        cluster_change(&c, leader, REPL_PROMOTE, c.nodes[leader].name, message),
        0);
}

static void a_demotion_holds_whoever_leads(void **state)
{
    (void)state;
    set_up_with(4, 3);
    cluster_start(&c, 3);
    submit_ok(0, 1);
    WAIT_FOR(role_is(3, "standby") && level_is(LEVEL_NEWEST), SOON_MS);
    size_t leader = cluster_leader(&c), demoted = (leader + 1) % 3;
    cluster_change_soon(&c, 3, REPL_DEMOTE, c.nodes[demoted].name);
    WAIT_FOR(role_is(demoted, "standby"), SOON_MS);
    /* The other standby takes its place. */
    WAIT_FOR(role_is(3, "voter"), SOON_MS);
    cluster_stop(&c, leader);
    submit_ok(demoted, 2);
    cluster_start(&c, leader);
    sleep_ms(CAUGHT_UP_MS_MIN + 2000);
    assert_true(role_is(demoted, "standby"));
    cluster_change_soon(&c, demoted, REPL_PROMOTE, c.nodes[demoted].name);
    WAIT_FOR(role_is(demoted, "voter"), SOON_MS);
    /* Leadership goes where the operator wants it. */
    cluster_change_soon(&c, 3, REPL_TRANSFER, c.nodes[demoted].name);
    WAIT_FOR(atomic_load(&c.nodes[demoted].leads), SOON_MS);
    cluster_converge(&c, 2);
}

static struct {
    pthread_mutex_t lock;
    char text[512];
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_waiting(void *arg, enum repl_event_kind kind,
                         const char *event, const char *message, int exit_code)
{
    (void)arg;
    (void)kind;
    (void)exit_code;
    pthread_mutex_lock(&waiting.lock);
    if (strcmp(event, "waiting") == 0)
        snprintf(waiting.text, sizeof waiting.text, "%s", message);
    pthread_mutex_unlock(&waiting.lock);
}

static bool told_to_upgrade(void)
{
    pthread_mutex_lock(&waiting.lock);
    bool told = strstr(waiting.text, "upgrade it") != NULL;
    pthread_mutex_unlock(&waiting.lock);
    return told;
}

/* Two new nodes and an old one. */
static void
what_an_old_node_cannot_read_waits_until_it_is_upgraded(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.nodes[2].level = 1;
    for (size_t i = 0; i < 3; i++)
        cluster_start(&c, i);
    cluster_leader(&c);
    submit_ok(2, 1);
    sleep_ms(2500); /* time to raise it, if it did */
    assert_true(level_is(1));
    char message[256];
    struct buf record = {0};
    record_put_member(&record, "node-b", WISH_STANDBY);
    size_t leader = cluster_leader(&c), follower = leader == 0 ? 1 : 0;
    size_t other = 3 - leader - follower;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(
            cluster_submit_record(&c, i, buf_bytes(&record), 10000, NULL),
            ERR_NEWER);
    assert_int_equal(
        cluster_change(&c, follower, REPL_DEMOTE, c.nodes[other].name, message),
        ERR_DENIED);
    assert_non_null(strstr(message, "feature level"));
    submit_ok(1, 2);
    /* It is upgraded: the level rises by itself. */
    cluster_stop(&c, 2);
    c.nodes[2].level = 0;
    cluster_start(&c, 2);
    WAIT_FOR(level_is(LEVEL_NEWEST), SOON_MS);
    assert_int_equal(
        cluster_submit_record(&c, 2, buf_bytes(&record), 10000, NULL), 0);
    submit_ok(2, 3);
    cluster_converge(&c, 3);
    /* And there is no way back: not with its data… */
    cluster_stop(&c, 2);
    c.nodes[2].level = 1;
    struct errmsg e;
    assert_int_equal(cluster_try_start(&c, 2, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "newer"));
    /* …nor without: the others do not let it in. */
    cluster_wipe(&c, 2);
    c.on_event = note_waiting;
    cluster_start(&c, 2);
    /* It is told what to do. */
    WAIT_FOR(told_to_upgrade(), SOON_MS);
    assert_string_equal(state_of(2), "waiting");
    buf_deinit(&record);
}

static void without_a_leader_nothing_is_changed(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    cluster_stop(&c, leader);
    size_t next = cluster_leader(&c), last = 3 - leader - next;
    cluster_stop(&c, next);
    struct repl_status s;
    do {
        sleep_ms(20);
        repl_status(c.nodes[last].repl, &s);
    } while (s.has_leader);
    int status =
        cluster_change(&c, last, REPL_DEMOTE, c.nodes[leader].name, NULL);
    assert_true(status == ERR_AGAIN || status == ERR_UNKNOWN);
}

#define ALONE(name) cmocka_unit_test_teardown(name, tear_down)
#define THREE(name)                                                            \
    cmocka_unit_test_setup_teardown(name, set_up_three, tear_down)
#define FIVE(name) cmocka_unit_test_setup_teardown(name, set_up_five, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIVE(a_fourth_node_becomes_a_standby_and_a_fifth_makes_five_voters),
        ALONE(a_single_node_grows_into_a_cluster),
        THREE(a_node_that_lost_its_directory_replaces_its_old_self),
        ALONE(a_living_members_name_is_not_given_to_another),
        THREE(a_living_members_id_is_not_given_to_another),
        ALONE(a_founder_that_was_away_comes_in_without_one_that_is_dead),
        ALONE(an_empty_node_before_two_clusters_waits_and_warns),
        ALONE(nodes_come_in_any_order_and_some_names_resolve_never),
        ALONE(a_standby_takes_the_place_of_a_voter_that_is_away),
        THREE(a_change_that_would_leave_no_healthy_quorum_is_refused),
        THREE(a_slow_turn_gives_the_leader_time_to_answer),
        THREE(a_new_leader_is_asked_though_the_old_one_owes_an_answer),
        THREE(a_promotion_that_has_to_wait_says_what_is_recorded),
        THREE(a_demotion_that_has_to_wait_says_that_it_will_be_done),
        THREE(a_member_that_was_removed_orders_nothing_any_more),
        THREE(a_removed_node_says_so_and_serves_what_it_has),
        THREE(a_leader_is_neither_demoted_nor_removed),
        THREE(without_a_leader_nothing_is_changed),
        ALONE(a_demotion_holds_whoever_leads),
        ALONE(what_an_old_node_cannot_read_waits_until_it_is_upgraded),
    };
    cmocka_set_test_filter(getenv("TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
