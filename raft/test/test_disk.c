/* What replicas do when their disk runs full, with statvfs answered by the
 * test, and when a write fails. Real full file systems are in
 * node/test/e2e/disk.test.mjs. */
#include "raft/repl.h"
#include "raft/test/cluster.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    TOTAL_MIB = 8192,
    PLENTY_MIB = 1000,
    RESERVE_MIB = SPACE_RESERVE_MIN / (1024 * 1024),
};

static struct cluster c;
static _Atomic unsigned free_mib[NODES_MAX];

int __wrap_statvfs(const char *path, struct statvfs *fs);

int __wrap_statvfs(const char *path, struct statvfs *fs)
{
    *fs = (struct statvfs){.f_frsize = 1024 * 1024, .f_blocks = TOTAL_MIB};
    for (size_t i = 0; i < c.count; i++)
        if (strcmp(path, c.nodes[i].dir) == 0)
            fs->f_bavail = atomic_load(&free_mib[i]);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    cluster_init(&c, 3);
    c.election_timeout_ms = 1000;
    for (size_t i = 0; i < c.count; i++) {
        atomic_store(&free_mib[i], PLENTY_MIB);
        cluster_start(&c, i);
    }
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

static void set_free(size_t i, unsigned mib, bool low)
{
    atomic_store(&free_mib[i], mib);
    WAIT_FOR(status_of(i).disk_free_bytes == (uint64_t)mib << 20, 10000);
    WAIT_FOR(status_of(i).disk_low == low, 10000);
}

static void submit_many(size_t node, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(cluster_submit_soon(&c, node, n, 4000, NULL), 0);
}

static void a_low_follower_takes_nothing_and_keeps_its_leader(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), low = (leader + 1) % 3;
    submit_many(leader, 1, 20);
    cluster_converge(&c, 20);
    uint64_t term = status_of(leader).term;
    set_free(low, RESERVE_MIB - 1, true);
    uint64_t last = status_of(low).last_index;
    submit_many(leader, 21, 200);
    submit_many(low, 201, 220); /* its own reports go to the leader */
    sleep_ms(3000);             /* three election timeouts */
    struct repl_status s = status_of(low);
    assert_int_equal(s.last_index, last);
    assert_true(s.has_leader);
    assert_int_equal(s.term, term);
    /* The commit index is the leader's, as far as the log here reaches. */
    assert_int_equal(s.commit_index, last);
    assert_int_equal(atomic_load(&c.nodes[low].warnings), 1);
    set_free(low, PLENTY_MIB, false);
    cluster_converge(&c, 220);
    assert_int_equal(status_of(leader).term, term);
    assert_int_equal(atomic_load(&c.nodes[low].warnings), 1);
}

static void the_edge_of_the_reserve_does_not_toggle(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), low = (leader + 1) % 3;
    set_free(low, RESERVE_MIB, false);
    set_free(low, RESERVE_MIB - 1, true);
    for (unsigned i = 0; i < 3; i++) {
        set_free(low, RESERVE_MIB + RESERVE_MIB / 4 - 1, true);
        set_free(low, RESERVE_MIB - 1, true);
    }
    assert_int_equal(atomic_load(&c.nodes[low].warnings), 1);
    set_free(low, RESERVE_MIB + RESERVE_MIB / 4, false);
    assert_int_equal(atomic_load(&c.nodes[low].warnings), 1);
}

static void when_all_are_low_work_is_refused_until_there_is_room(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    submit_many(leader, 1, 5);
    for (size_t i = 0; i < c.count; i++)
        set_free(i, 10, true);
    for (size_t i = 0; i < c.count; i++)
        assert_int_equal(cluster_submit(&c, i, 1000, 100, 10000, NULL),
                         ERR_AGAIN);
    cluster_converge(&c, 5);
    for (size_t i = 0; i < c.count; i++)
        set_free(i, PLENTY_MIB, false);
    submit_many(leader, 6, 30);
    cluster_converge(&c, 30);
    for (size_t i = 0; i < c.count; i++)
        assert_int_equal(atomic_load(&c.nodes[i].warnings), 1);
}

struct wait {
    size_t node;
    atomic_int status; /* 1 = none yet */
};

static void *submit_and_wait(void *arg)
{
    struct wait *w = arg;
    atomic_store(&w->status, cluster_submit(&c, w->node, 6, 100, 20000, NULL));
    return NULL;
}

static void
without_a_majority_that_has_room_nothing_is_acknowledged(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c);
    submit_many(leader, 1, 5);
    cluster_converge(&c, 5);
    set_free((leader + 1) % 3, 10, true);
    set_free((leader + 2) % 3, 10, true);
    struct wait wait = {.node = leader, .status = 1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, submit_and_wait, &wait), 0);
    sleep_ms(1500);
    assert_int_equal(atomic_load(&wait.status), 1);
    assert_int_equal(cluster_leader(&c), leader);
    set_free((leader + 1) % 3, PLENTY_MIB, false);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&wait.status), 0);
    submit_many(leader, 7, 7);
    set_free((leader + 2) % 3, PLENTY_MIB, false);
    cluster_converge(&c, 7);
}

/* --- each guard without the other ----------------------------------------- */

static void send_anything(struct repl *r)
{
    r->guard.peer_takes_entries = NULL;
}

/* Its leader may not have heard yet how little room there is. */
static void
a_low_follower_throws_away_what_its_leader_sends_anyway(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), low = (leader + 1) % 3;
    submit_many(leader, 1, 5);
    cluster_converge(&c, 5);
    cluster_on_loop(&c, leader, send_anything);
    set_free(low, RESERVE_MIB - 1, true);
    uint64_t last = status_of(low).last_index;
    submit_many(leader, 6, 20);
    sleep_ms(500);
    assert_int_equal(status_of(low).last_index, last);
    set_free(low, PLENTY_MIB, false);
    cluster_converge(&c, 20);
}

/* What the loop of the leader is asked, and says. */
static struct {
    uint64_t peer_id;
    uint64_t term;    /* another one each time: no entry is sent again */
    unsigned entries; /* that went out, of one */
} offer;

static int count_entries(struct raft_io *io, struct raft_io_send *req,
                         const struct raft_message *message, raft_io_send_cb cb)
{
    (void)io;
    offer.entries = message->append_entries.n_entries;
    cb(req, 0);
    return 0;
}

static void on_offered(struct raft_io_send *req, int status)
{
    (void)req;
    (void)status;
}

static void offer_an_entry(struct repl *r)
{
    int (*send)(struct raft_io *, struct raft_io_send *,
                const struct raft_message *, raft_io_send_cb) =
        r->guard.inner.send;
    struct raft_io_send req = {0};
    struct raft_entry entry = {.type = RAFT_COMMAND};
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES,
                                   .server_id = offer.peer_id,
                                   .append_entries = {.term = ++offer.term,
                                                      .entries = &entry,
                                                      .n_entries = 1}};
    r->guard.inner.send = count_entries;
    (void)r->guard.io.send(&r->guard.io, &req, &message, on_offered);
    r->guard.inner.send = send;
}

static unsigned offered(size_t leader, size_t peer)
{
    offer.peer_id = status_of(peer).raft_id;
    cluster_on_loop(&c, leader, offer_an_entry);
    return offer.entries;
}

static void a_leader_keeps_back_what_a_low_follower_throws_away(void **state)
{
    (void)state;
    size_t leader = cluster_leader(&c), low = (leader + 1) % 3;
    assert_int_equal(offered(leader, low), 1);
    set_free(low, RESERVE_MIB - 1, true);
    WAIT_FOR(offered(leader, low) == 0, 10000);
    assert_int_equal(offered(leader, (leader + 2) % 3), 1);
    set_free(low, PLENTY_MIB, false);
    WAIT_FOR(offered(leader, low) == 1, 10000);
}

static void a_node_that_starts_on_a_full_disk_serves_and_refuses(void **state)
{
    (void)state;
    cluster_leader(&c);
    submit_many(0, 1, 5);
    cluster_converge(&c, 5);
    for (size_t i = 0; i < c.count; i++) {
        cluster_stop(&c, i);
        atomic_store(&free_mib[i], RESERVE_MIB / 2);
    }
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    size_t leader = cluster_leader(&c);
    assert_int_equal(cluster_submit(&c, leader, 6, 100, 10000, NULL),
                     ERR_AGAIN);
    cluster_converge(&c, 5);
    for (size_t i = 0; i < c.count; i++)
        set_free(i, PLENTY_MIB, false);
    submit_many(leader, 6, 6);
    cluster_converge(&c, 6);
}

/* --- writes that fail ----------------------------------------------------- */

static enum guard_call failing;
static atomic_bool armed;

static int fault_of(enum guard_call call)
{
    return atomic_load(&armed) && call == failing ? RAFT_IOERR : 0;
}

/* As holdfast-node does: the process is gone at the first fatal event. Of the
 * nodes that share this one, only the first is heard. */
static void die(void *arg, enum repl_event_kind kind, const char *event,
                const char *message, int exit_code)
{
    static atomic_flag dying = ATOMIC_FLAG_INIT;
    (void)arg;
    if (kind != REPL_FATAL)
        return;
    while (atomic_flag_test_and_set(&dying))
        pause();
    fprintf(stdout, "%s: %s\n", event, message);
    fflush(stdout);
    _exit(exit_code);
}

static void submit_until_dead(void)
{
    for (uint64_t n = 1; n <= 200; n++)
        (void)cluster_submit(&c, 0, n, 100, 10000, NULL);
}

/* In a process of its own: which writes happen before the first record is only
 * known from @at_start. */
static void run_and_fail(enum guard_call call, bool at_start)
{
    failing = call;
    guard_fault = fault_of;
    c.on_event = die;
    c.log_entries_max = 20;
    c.tail_entries = 10;
    atomic_store(&armed, at_start);
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    cluster_leader(&c);
    atomic_store(&armed, true);
    submit_until_dead();
    _exit(0);
}

static void fails_once_with_75(size_t nodes, enum guard_call call,
                               bool at_start, const char *line)
{
    cluster_init(&c, nodes);
    for (size_t i = 0; i < nodes; i++)
        atomic_store(&free_mib[i], PLENTY_MIB);
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        run_and_fail(call, at_start);
    }
    close(out[1]);
    char text[2048];
    size_t size = 0;
    ssize_t n;
    while ((n = read(out[0], text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)n;
    text[size] = '\0';
    close(out[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_RESTART);
    assert_memory_equal(text, "disk: ", strlen("disk: "));
    assert_non_null(strstr(text, line));
    assert_ptr_equal(strchr(text, '\n'), text + size - 1);
    cluster_deinit(&c);
}

static void a_write_of_the_log_that_fails_ends_the_process(void **state)
{
    (void)state;
    fails_once_with_75(1, GUARD_APPEND, false, "append failed");
    fails_once_with_75(1, GUARD_APPENDED, false, "append failed");
    fails_once_with_75(1, GUARD_TRUNCATE, false, "truncate failed");
}

static void a_term_or_vote_that_is_not_written_ends_the_process(void **state)
{
    (void)state;
    fails_once_with_75(3, GUARD_SET_TERM, true, "writing the term failed");
    fails_once_with_75(3, GUARD_SET_VOTE, true, "writing the vote failed");
}

static void a_snapshot_that_is_not_written_ends_the_process(void **state)
{
    (void)state;
    fails_once_with_75(1, GUARD_SNAPSHOT_PUT, false, "snapshot failed");
    fails_once_with_75(1, GUARD_SNAPSHOT_PUT_DONE, false, "snapshot failed");
}

#define THREE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Before this process has threads: these fork. */
        cmocka_unit_test(a_write_of_the_log_that_fails_ends_the_process),
        cmocka_unit_test(a_term_or_vote_that_is_not_written_ends_the_process),
        cmocka_unit_test(a_snapshot_that_is_not_written_ends_the_process),
        THREE(a_low_follower_takes_nothing_and_keeps_its_leader),
        THREE(the_edge_of_the_reserve_does_not_toggle),
        THREE(when_all_are_low_work_is_refused_until_there_is_room),
        THREE(without_a_majority_that_has_room_nothing_is_acknowledged),
        THREE(a_low_follower_throws_away_what_its_leader_sends_anyway),
        THREE(a_leader_keeps_back_what_a_low_follower_throws_away),
        THREE(a_node_that_starts_on_a_full_disk_serves_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
