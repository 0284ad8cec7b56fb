/* What a leader sends to a follower that has much to catch up with: nothing
 * again while it is under way, and no more than it can take. */
#include "raft/repl.h"
#include "raft/test/cluster.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { MIB = 1024 * 1024 };

static struct cluster c;

static int set_up(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.election_timeout_ms = 2000;
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < c.count; i++)
        fake_store_dawdle(c.nodes[i].store, 0);
    cluster_deinit(&c);
    return 0;
}

static struct repl_status status_of(size_t i)
{
    struct repl_status s;
    repl_status(c.nodes[i].repl, &s);
    return s;
}

/* A new cluster agrees on its level soon: one more entry. */
static size_t settled_leader(void)
{
    size_t leader = cluster_leader(&c);
    for (size_t i = 0; i < c.count; i++)
        WAIT_FOR(status_of(i).level == LEVEL_NEWEST, 20000);
    return leader;
}

static void submit(size_t node, uint64_t number, size_t size)
{
    assert_int_equal(cluster_submit_soon(&c, node, number, size, NULL), 0);
}

/* --- what is under way ---------------------------------------------------- */

static struct resend_range range(uint64_t first, uint64_t last)
{
    return (struct resend_range){.term = 3, .first = first, .last = last};
}

static unsigned under_way(struct resend *r, struct resend_range what,
                          uint64_t now_ms)
{
    return (unsigned)resend_under_way(r, 7, &what, now_ms);
}

static void written(struct resend *r, struct resend_range what, uint64_t now_ms)
{
    resend_written(r, 7, &what, now_ms);
}

static void what_is_under_way_is_not_sent_again(void **state)
{
    (void)state;
    struct resend r = {0};
    assert_int_equal(under_way(&r, range(10, 19), 5000), 0);
    assert_int_equal(under_way(&r, range(10, 19), 5050), 10);
    assert_int_equal(under_way(&r, range(10, 25), 5050), 10); /* and six more */
    assert_int_equal(under_way(&r, range(15, 25), 5050), 11); /* as answered */
    assert_int_equal(under_way(&r, range(26, 29), 5100), 0);
    assert_int_equal(under_way(&r, range(15, 29), 5150), 15);
    struct resend_range same = range(20, 29);
    assert_int_equal(resend_under_way(&r, 8, &same, 5150),
                     0); /* another peer */
    /* Its link takes an hour for them. */
    written(&r, range(10, 19), 5200);
    assert_int_equal(under_way(&r, range(15, 29), 3600000), 15);
    written(&r, range(26, 29), 3600000);
    assert_int_equal(under_way(&r, range(15, 29), 3600999), 15);
}

static void what_may_not_have_come_is_sent_again(void **state)
{
    (void)state;
    struct resend r = {0};
    assert_int_equal(under_way(&r, range(10, 19), 5000), 0);
    assert_int_equal(under_way(&r, range(9, 18), 5001), 0);  /* further back */
    assert_int_equal(under_way(&r, range(20, 22), 5002), 0); /* after a gap */
    struct resend_range newer = range(20, 22);
    newer.term++;
    assert_int_equal(under_way(&r, newer, 5003), 0); /* another leadership */
    written(&r, range(20, 22), 5100);                /* of the one before */
    written(&r, newer, 5200);
    assert_int_equal(under_way(&r, newer, 5200 + RESEND_AFTER_MS - 1), 3);
    assert_int_equal(under_way(&r, newer, 5200 + RESEND_AFTER_MS), 0);
    assert_int_equal(under_way(&r, newer, 7000), 3);
    resend_forget(&r, 8);
    assert_int_equal(under_way(&r, newer, 7000), 3);
    resend_forget(&r, 7);
    assert_int_equal(under_way(&r, newer, 7000), 0);
}

/* --- in a cluster --------------------------------------------------------- */

static atomic_bool napping;

static void nap(struct repl *r)
{
    (void)r;
    atomic_store(&napping, true);
    sleep_ms(800); /* some sixteen heartbeats */
}

static void *let_nap(void *arg)
{
    cluster_on_loop(&c, *(size_t *)arg, nap);
    return NULL;
}

static void a_follower_that_does_not_answer_is_sent_an_entry_once(void **state)
{
    (void)state;
    size_t leader = settled_leader(), busy = (leader + 1) % 3;
    submit(leader, 1, 100);
    cluster_converge(&c, 1);
    uint64_t sent = status_of(leader).sent_bytes;
    pthread_t thread;
    atomic_store(&napping, false);
    assert_int_equal(pthread_create(&thread, NULL, let_nap, &busy), 0);
    WAIT_FOR(atomic_load(&napping), 10000);
    submit(leader, 2, MIB / 2);
    pthread_join(thread, NULL);
    cluster_converge(&c, 2);
    sent = status_of(leader).sent_bytes - sent;
    /* Once to each of two, and once more on a very slow machine. */
    assert_in_range(sent, MIB, 3 * MIB);
}

static bool take_all(void *arg, bool commands)
{
    (void)arg;
    (void)commands;
    return true;
}

static void receive_anything(struct repl *r)
{
    r->guard.takes_entries = take_all;
}

static void a_follower_is_sent_no_more_than_waits_to_be_applied(void **state)
{
    (void)state;
    const unsigned held_at = SPACE_BACKLOG_BYTES_MAX / 2 / MIB;
    size_t leader = settled_leader(), slow = (leader + 1) % 3;
    submit(leader, 1, 100);
    cluster_converge(&c, 1);
    uint64_t before = status_of(slow).last_index;
    cluster_on_loop(&c, slow, receive_anything);
    fake_store_dawdle(c.nodes[slow].store, 60000);
    for (uint64_t n = 2; n < held_at + 4; n++) {
        submit(leader, n, MIB);
        WAIT_FOR(status_of(slow).last_index >= before + n - 1 || n > held_at,
                 20000);
    }
    /* The leader may have to hear of it first, and anew if a loop stood still.
     */
    uint64_t number = held_at + 3, taken;
    unsigned rounds = 0;
    do {
        taken = status_of(slow).last_index;
        for (unsigned i = 0; i < 6; i++)
            submit(leader, ++number, MIB);
    } while (status_of(slow).last_index != taken && ++rounds < 8);
    assert_in_range(rounds, 0, 7);
    assert_in_range(taken - before, held_at, number);
    fake_store_dawdle(c.nodes[slow].store, 0);
    cluster_converge(&c, number);
}

/* --- when it is sent again ------------------------------------------------ */

/* What the loop of the leader is asked, and says. */
static struct {
    uint64_t peer_id;
    unsigned wanted;                   /* how many are offered, at most 3 */
    uint64_t prev_index, prev_term;    /* of what went out */
    unsigned entries;                  /* that went out */
    struct raft_io_send *unwritten[8]; /* for which on_written is due */
    raft_io_send_cb on_written[8];
    size_t count;
} offer;

static int count_entries(struct raft_io *io, struct raft_io_send *req,
                         const struct raft_message *message, raft_io_send_cb cb)
{
    (void)io;
    offer.entries = message->append_entries.n_entries;
    offer.prev_index = message->append_entries.prev_log_index;
    offer.prev_term = message->append_entries.prev_log_term;
    if (offer.entries == 0)
        return 0;
    assert_in_range(offer.count, 0, 7);
    offer.unwritten[offer.count] = req;
    offer.on_written[offer.count++] = cb;
    return 0;
}

static void on_offered(struct raft_io_send *req, int status)
{
    (void)req;
    (void)status;
}

/* Always the same one, on a stream that does not take it. */
static void offer_an_entry(struct repl *r)
{
    int (*send)(struct raft_io *, struct raft_io_send *,
                const struct raft_message *, raft_io_send_cb) =
        r->guard.inner.send;
    struct raft_io_send req = {0};
    struct raft_entry entries[3] = {{.type = RAFT_COMMAND, .term = 5},
                                    {.type = RAFT_COMMAND, .term = 6},
                                    {.type = RAFT_COMMAND, .term = 7}};
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES,
        .server_id = offer.peer_id,
        .append_entries = {.entries = entries, .n_entries = offer.wanted}};
    r->guard.inner.send = count_entries;
    (void)r->guard.io.send(&r->guard.io, &req, &message, on_offered);
    r->guard.inner.send = send;
}

static void end_offers(struct repl *r)
{
    (void)r;
    while (offer.count > 0) {
        offer.count--;
        offer.on_written[offer.count](offer.unwritten[offer.count], 0);
    }
}

static unsigned offered(size_t leader)
{
    cluster_on_loop(&c, leader, offer_an_entry);
    return offer.entries;
}

static uint64_t other_id; /* of whom a loop ends its link to */

static void break_link(struct repl *r)
{
    for (size_t i = 0; i < PEERS_MAX; i++)
        if (r->transport.peers[i].id == other_id)
            shutdown(r->transport.peers[i].fd, SHUT_RDWR);
}

static void on_sent(struct raft_io_send *req, int status)
{
    (void)status;
    free(req);
}

/* A heartbeat behind entries that the peer never got. */
static void leave_a_gap(struct repl *r)
{
    if (!r->leads)
        return;
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES,
        .server_id = offer.peer_id,
        .server_address = repl_member(r, offer.peer_id)->address,
        .append_entries = {.term = r->raft.current_term,
                           .prev_log_index = raft_last_index(&r->raft) + 1000,
                           .prev_log_term = r->raft.current_term}};
    struct raft_io_send *req = calloc(1, sizeof *req);
    assert_non_null(req);
    (void)r->guard.io.send(&r->guard.io, req, &message, on_sent);
}

static void entries_are_sent_again_on_a_new_link_and_after_a_gap(void **state)
{
    (void)state;
    size_t leader = settled_leader(), peer = (leader + 1) % 3;
    submit(leader, 1, 100);
    cluster_converge(&c, 1);
    offer.peer_id = other_id = status_of(peer).raft_id;
    offer.wanted = 1;
    assert_int_equal(offered(leader), 1);
    assert_int_equal(offered(leader), 0);
    offer.wanted = 3;
    assert_int_equal(offered(leader), 2);
    assert_int_equal(offer.prev_index, 1);
    assert_int_equal(offer.prev_term, 5);
    assert_int_equal(offered(leader), 0);
    offer.wanted = 1;
    cluster_on_loop(&c, leader, break_link);
    WAIT_FOR(offered(leader) == 1, 10000);
    assert_int_equal(offered(leader), 0);
    other_id = status_of(leader).raft_id;
    cluster_on_loop(&c, peer, break_link); /* that of its answers */
    WAIT_FOR(offered(leader) == 1, 10000);
    assert_int_equal(offered(leader), 0);
    cluster_on_loop(&c, leader, leave_a_gap);
    WAIT_FOR(offered(leader) == 1, 10000);
    cluster_on_loop(&c, leader, end_offers);
    submit(leader, 2, 100);
    cluster_converge(&c, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_under_way_is_not_sent_again),
        cmocka_unit_test(what_may_not_have_come_is_sent_again),
        cmocka_unit_test_setup_teardown(
            a_follower_that_does_not_answer_is_sent_an_entry_once, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            a_follower_is_sent_no_more_than_waits_to_be_applied, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            entries_are_sent_again_on_a_new_link_and_after_a_gap, set_up,
            tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
