/* Three replicas that speak TLS: each at an address of its own, with a
 * certificate that names it. What happens to those that show another one. */
#include "raft/test/cluster.h"

#include "base/clock.h"
#include "raft/fetch_note.h"
#include "raft/hello.h"
#include "raft/peer_io.h"
#include "tls/test/certs.h"
#include "tls/tls.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static struct cluster c;
static struct test_ca ca, other_ca;

/* Every node has a directory of its own for its files, as on three machines. */
static const char *path(size_t node, const char *file, char out[128])
{
    snprintf(out, 128, "%s/%s", c.nodes[node].dir, file);
    return out;
}

static void write_cert(size_t node, const struct test_ca *signer,
                       const char *san, long begins_s, long ends_s)
{
    char cert[128], key[128], own[32];
    snprintf(own, sizeof own, "IP:127.0.0.%zu", node + 1);
    test_cert_write(signer,
                    &(struct test_wish){.san = san != NULL ? san : own,
                                        .begins_s = begins_s,
                                        .ends_s = ends_s},
                    path(node, "cert.pem", cert), path(node, "key.pem", key));
}

static void write_ca(size_t node, const struct test_ca *one,
                     const struct test_ca *two)
{
    char file[128];
    test_ca_write(path(node, "ca.pem", file), one, two);
}

static void start_tls(size_t node)
{
    char file[3][128];
    struct tls_files files = {.ca = path(node, "ca.pem", file[0]),
                              .cert = path(node, "cert.pem", file[1]),
                              .key = path(node, "key.pem", file[2]),
                              .mutual = true};
    struct errmsg e = {""};
    int rv = tls_start(&files, &c.peer_tls[node], &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
}

static void stop_node(size_t node)
{
    cluster_stop(&c, node);
    tls_stop(c.peer_tls[node]);
    c.peer_tls[node] = NULL;
}

static void start_node(size_t node)
{
    start_tls(node);
    cluster_start(&c, node);
}

static int set_up(void **state)
{
    (void)state;
    test_ca_init(&ca, "the CA");
    test_ca_init(&other_ca, "another CA");
    cluster_init(&c, 3);
    for (size_t i = 0; i < 3; i++) {
        snprintf(c.peers[i].address, sizeof c.peers[i].address,
                 "127.0.0.%zu:%u", i + 1, c.nodes[i].port);
        write_ca(i, &ca, NULL);
        write_cert(i, &ca, NULL, 0, 0);
    }
    for (size_t i = 0; i < 3; i++)
        start_node(i);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool fatal = false;
    for (size_t i = 0; i < 3; i++) {
        fatal = fatal || atomic_load(&c.nodes[i].fatal_code) != 0;
        stop_node(i);
    }
    cluster_deinit(&c);
    test_ca_deinit(&ca);
    test_ca_deinit(&other_ca);
    return fatal ? -1 : 0;
}

static void submit_ok(size_t node, uint64_t number, size_t size)
{
    assert_int_equal(cluster_submit_soon(&c, node, number, size, NULL), 0);
}

/* --- those who belong together -------------------------------------------- */

static void three_nodes_elect_and_commit_behind_tls(void **state)
{
    (void)state;
    cluster_leader(&c);
    uint64_t records = 0;
    for (uint64_t n = 1; n <= 30; n++, records++)
        submit_ok(n % 3, n, 8 + (size_t)n * 1000);
    submit_ok(0, ++records, 900 * 1000);
    cluster_converge(&c, records);
    for (size_t i = 0; i < 3; i++) {
        struct tls_status status;
        tls_status(c.peer_tls[i], &status);
        assert_true(status.handshakes >= 4);
        assert_true(status.connections >= 4);
    }
}

static void a_leader_that_stops_hands_over_behind_tls(void **state)
{
    (void)state;
    size_t old = cluster_leader(&c);
    submit_ok(old, 1, 100);
    stop_node(old);
    size_t now = cluster_leader(&c);
    assert_int_not_equal(now, old);
    submit_ok(now, 2, 100);
    start_node(old);
    submit_ok(old, 3, 100);
    cluster_converge(&c, 3);
}

/* The socket is the pump's by the time that its end is known to carry a copy.
 */
static void a_fetch_behind_tls_bears_a_disk_that_stands_still(void **state)
{
    (void)state;
    enum { BYTES = 96 * 1024 * 1024 }; /* a second at the rate */
    struct repl_status status;
    struct fetch_note note = {.member_count = 2};
    struct errmsg e;
    submit_ok(cluster_leader(&c), 1, 100);
    cluster_converge(&c, 1);
    repl_status(c.nodes[2].repl, &status);
    memcpy(note.cluster_id, status.cluster_id, CLUSTER_ID_SIZE);
    for (size_t i = 0; i < 2; i++) {
        fake_store_pad(c.nodes[i].store, BYTES);
        snprintf(note.members[i], sizeof note.members[i], "%s=%s",
                 c.peers[i].name, c.peers[i].address);
    }
    cluster_stop(&c, 2);
    assert_int_equal(fetch_note_write(c.nodes[2].dir, &note, &e), 0);
    cluster_start(&c, 2);
    WAIT_FOR((repl_status(c.nodes[2].repl, &status), status.fetch_bytes > 0),
             20000);
    assert_int_equal(sockets_bearing(PEER_IO_SILENCE_S_MAX * 1000), 2);
    WAIT_FOR(atomic_load(&c.nodes[2].restart_wanted), 20000);
    cluster_stop(&c, 2);
    cluster_start(&c, 2);
    cluster_converge(&c, 1);
}

static bool loaded_since(size_t node, uint64_t not_after_s, uint64_t loads)
{
    struct tls_status status;
    tls_reload(c.peer_tls[node]);
    tls_status(c.peer_tls[node], &status);
    return status.reload_error[0] == '\0' &&
           status.not_after_s != not_after_s && status.loaded_s >= loads;
}

/* New connections between all, so that what was loaded is used. */
static void reconnect_all(uint64_t *number)
{
    for (size_t i = 0; i < 3; i++) {
        cluster_stop(&c, i);
        cluster_start(&c, i);
        submit_ok(i, ++*number, 100);
    }
    cluster_converge(&c, *number);
}

static void the_cas_can_be_changed_under_a_cluster(void **state)
{
    (void)state;
    uint64_t number = 0;
    submit_ok(0, ++number, 100);
    /* Both CAs on every node first; then certificates of the new one, node by
     * node; then the old CA goes. */
    for (size_t i = 0; i < 3; i++) {
        write_ca(i, &ca, &other_ca);
        tls_reload(c.peer_tls[i]);
    }
    sleep_ms(200); /* the pumps have looked */
    reconnect_all(&number);
    for (size_t i = 0; i < 3; i++) {
        struct tls_status before;
        tls_status(c.peer_tls[i], &before);
        write_cert(i, &other_ca, NULL, -1000, 5000 + (long)i);
        WAIT_FOR(loaded_since(i, before.not_after_s, before.loaded_s), 5000);
        cluster_stop(&c, i);
        cluster_start(&c, i);
        submit_ok(i, ++number, 100);
    }
    for (size_t i = 0; i < 3; i++) {
        write_ca(i, &other_ca, NULL);
        tls_reload(c.peer_tls[i]);
    }
    sleep_ms(200);
    reconnect_all(&number);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&c.nodes[i].fatal_code), 0);
}

/* --- those who do not ----------------------------------------------------- */

static void note_warnings(int out[3])
{
    for (size_t i = 0; i < 3; i++)
        out[i] = atomic_load(&c.nodes[i].warnings);
}

/* Node 2 comes back with what is in its files now. It must learn nothing and
 * disturb nobody, and each node speaks of it at most once. */
static void assert_kept_out(void)
{
    int before[3], after[3];
    uint64_t seen = atomic_load(&c.nodes[2].applied);
    note_warnings(before);
    start_tls(2);
    cluster_start(&c, 2);
    uint64_t records = fake_store_records(c.nodes[2].store);
    int started = atomic_load(&c.nodes[2].warnings) - before[2];
    for (uint64_t n = 0; n < 20; n++) {
        submit_ok(n % 2, 100 + n, 100);
        sleep_ms(150);
    }
    note_warnings(after);
    assert_int_equal(fake_store_records(c.nodes[2].store), records);
    assert_true(atomic_load(&c.nodes[2].applied) <= seen);
    int told = 0;
    for (size_t i = 0; i < 2; i++) {
        assert_true(after[i] - before[i] <= 1);
        told += after[i] - before[i];
    }
    assert_true(told >= 1);
    /* Its own sources are three: who dials it, and the two that it dials. */
    assert_true(after[2] - before[2] - started <= 3);
    struct repl_status status;
    repl_status(c.nodes[2].repl, &status);
    assert_false(status.has_leader);
}

/* With its right files it is one of them again, without a restart. */
static void assert_back_with_good_files(uint64_t records)
{
    struct tls_status before;
    tls_status(c.peer_tls[2], &before);
    write_ca(2, &ca, NULL);
    write_cert(2, &ca, NULL, -1000, 7777);
    WAIT_FOR(loaded_since(2, before.not_after_s, before.loaded_s), 5000);
    cluster_converge(&c, records);
}

static void settle_and_take_node_2_away(void)
{
    cluster_leader(&c);
    submit_ok(0, 1, 100);
    cluster_converge(&c, 1);
    stop_node(2);
    cluster_leader(&c);
}

static void a_node_of_a_foreign_ca_gets_nowhere(void **state)
{
    (void)state;
    settle_and_take_node_2_away();
    write_ca(2, &ca, &other_ca);
    write_cert(2, &other_ca, NULL, 0, 0);
    assert_kept_out();
    assert_back_with_good_files(21);
}

static void a_node_whose_certificate_names_another_gets_nowhere(void **state)
{
    (void)state;
    settle_and_take_node_2_away();
    write_cert(2, &ca, "IP:127.0.0.1,DNS:localhost", 0, 0);
    assert_kept_out();
    assert_back_with_good_files(21);
}

static void a_node_whose_certificate_has_expired_gets_nowhere(void **state)
{
    (void)state;
    settle_and_take_node_2_away();
    /* Good when it is loaded, and expired when the node starts. */
    write_cert(2, &ca, NULL, -1000, 2);
    start_tls(2);
    sleep_ms(3000);
    int before[3], after[3];
    note_warnings(before);
    cluster_start(&c, 2);
    sleep_ms(3000);
    note_warnings(after);
    for (size_t i = 0; i < 2; i++)
        assert_true(after[i] - before[i] <= 1);
    struct repl_status status;
    repl_status(c.nodes[2].repl, &status);
    assert_false(status.has_leader);
    assert_back_with_good_files(1);
}

static void a_node_without_tls_gets_nowhere(void **state)
{
    (void)state;
    settle_and_take_node_2_away();
    cluster_start(&c, 2);
    sleep_ms(3000);
    struct repl_status status;
    repl_status(c.nodes[2].repl, &status);
    assert_false(status.has_leader);
    cluster_stop(&c, 2);
    start_node(2);
    submit_ok(2, 2, 100);
    cluster_converge(&c, 2);
}

/* --- strangers ------------------------------------------------------------ */

static int dial_port(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval timeout = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void plain_hellos_are_not_answered_and_warned_of_once(void **state)
{
    (void)state;
    cluster_leader(&c);
    submit_ok(0, 1, 100);
    int before = atomic_load(&c.nodes[0].warnings);
    struct hello hello = {.channel = HELLO_PROBE, .raft_id = 7};
    uint8_t data[HELLO_SIZE], answer[64];
    hello_encode(&hello, data);
    for (int i = 0; i < 20; i++) {
        int fd = dial_port(c.nodes[0].port);
        assert_int_equal(send(fd, data, sizeof data, MSG_NOSIGNAL),
                         sizeof data);
        ssize_t n = recv(fd, answer, sizeof answer, 0);
        /* An alert of TLS may come, never an answer. */
        assert_true(n < 8 || memcmp(answer, "HFpeer", 6) != 0);
        close(fd);
    }
    assert_true(atomic_load(&c.nodes[0].warnings) - before <= 1);
    submit_ok(0, 2, 100);
}

/* Followers look whether a leader's port is still open; so do balancers. */
static void a_look_at_the_port_is_no_news(void **state)
{
    (void)state;
    cluster_leader(&c);
    int before = atomic_load(&c.nodes[0].warnings);
    for (int i = 0; i < 20; i++)
        close(dial_port(c.nodes[0].port));
    submit_ok(0, 1, 100);
    sleep_ms(200);
    assert_int_equal(atomic_load(&c.nodes[0].warnings), before);
}

static void a_stop_does_not_wait_for_a_silent_handshake(void **state)
{
    (void)state;
    cluster_leader(&c);
    int silent = dial_port(c.nodes[0].port);
    sleep_ms(100);
    uint64_t start = clock_mono_ms();
    cluster_stop(&c, 0);
    assert_true(clock_mono_ms() - start < 4000);
    close(silent);
    cluster_start(&c, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(three_nodes_elect_and_commit_behind_tls),
        CASE(a_leader_that_stops_hands_over_behind_tls),
        CASE(a_fetch_behind_tls_bears_a_disk_that_stands_still),
        CASE(the_cas_can_be_changed_under_a_cluster),
        CASE(a_node_of_a_foreign_ca_gets_nowhere),
        CASE(a_node_whose_certificate_names_another_gets_nowhere),
        CASE(a_node_whose_certificate_has_expired_gets_nowhere),
        CASE(a_node_without_tls_gets_nowhere),
        CASE(plain_hellos_are_not_answered_and_warned_of_once),
        CASE(a_look_at_the_port_is_no_news),
        CASE(a_stop_does_not_wait_for_a_silent_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
