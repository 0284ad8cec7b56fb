/* What the pump does with bytes: all of them, in order, no faster than they are
 * taken, and an end is an end on the other side. */
#define _GNU_SOURCE /* TCP_USER_TIMEOUT */
#include "tls/test/pair.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIECE = 48 * 1024, TOTAL = 100 * 1024 * 1024 };

static struct pair p;
static struct tls *server, *client;
static struct side s[2];

static int set_up(void **state)
{
    (void)state;
    pair_init(&p);
    pair_cert(&p, &p.ca, "alpha",
              &(struct test_wish){.san = "DNS:alpha.example"});
    server = pair_start(&p, "alpha", true);
    client = pair_start(&p, "alpha", true);
    pair_shake(server, client, "alpha.example", s);
    assert_true(s[0].fd >= 0 && s[1].fd >= 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    side_end(&s[0]);
    side_end(&s[1]);
    tls_stop(server);
    tls_stop(client);
    pair_deinit(&p);
    return 0;
}

static void close_side(size_t i)
{
    close(s[i].fd);
    s[i].fd = -1;
}

/* --- much ----------------------------------------------------------------- */

static uint64_t hash_more(uint64_t hash, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ data[i]) * 0x100000001b3;
    return hash;
}

struct worker {
    pthread_t thread;
    int fd;
    uint64_t seed, hash;
    size_t size;
};

static void *send_main(void *arg)
{
    struct worker *w = arg;
    uint8_t *piece = malloc(PIECE);
    uint64_t x = w->seed;
    for (size_t left = w->size; left > 0;) {
        /* Pieces of every length, so that no buffer ends where another does. */
        size_t n = 1 + x % PIECE;
        n = n > left ? left : n;
        for (size_t i = 0; i < n; i++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            piece[i] = (uint8_t)(x >> 56);
        }
        for (size_t at = 0; at < n;) {
            ssize_t sent = send(w->fd, piece + at, n - at, MSG_NOSIGNAL);
            if (sent <= 0)
                break;
            at += (size_t)sent;
        }
        w->hash = hash_more(w->hash, piece, n);
        left -= n;
    }
    free(piece);
    shutdown(w->fd, SHUT_WR);
    return NULL;
}

static void *receive_main(void *arg)
{
    struct worker *w = arg;
    uint8_t *piece = malloc(PIECE);
    ssize_t n;
    while ((n = recv(w->fd, piece, PIECE, 0)) > 0) {
        w->hash = hash_more(w->hash, piece, (size_t)n);
        w->size += (size_t)n;
    }
    free(piece);
    return NULL;
}

static void a_hundred_megabytes_arrive_both_ways_at_once(void **state)
{
    (void)state;
    struct worker senders[2], receivers[2];
    for (size_t i = 0; i < 2; i++) {
        senders[i] =
            (struct worker){.fd = s[i].fd, .seed = i + 1, .size = TOTAL};
        receivers[i] = (struct worker){.fd = s[i].fd};
        pthread_create(&senders[i].thread, NULL, send_main, &senders[i]);
        pthread_create(&receivers[i].thread, NULL, receive_main, &receivers[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_join(senders[i].thread, NULL);
        pthread_join(receivers[i].thread, NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        /* Each side saw the other's half-close, and all before it. */
        assert_int_equal(receivers[i].size, TOTAL);
        assert_true(receivers[i].hash == senders[1 - i].hash);
    }
}

/* --- little --------------------------------------------------------------- */

static bool can(int fd, short events, int timeout_ms)
{
    struct pollfd f = {.fd = fd, .events = events};
    return poll(&f, 1, timeout_ms) == 1 && (f.revents & events) != 0;
}

/* Writes until nothing moves for a second. */
static size_t stuff(int fd)
{
    static const uint8_t zeros[PIECE];
    size_t size = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (can(fd, POLLOUT, 1000)) {
        ssize_t n = send(fd, zeros, sizeof zeros, MSG_NOSIGNAL);
        if (n > 0)
            size += (size_t)n;
    }
    fcntl(fd, F_SETFL, 0);
    return size;
}

static size_t resident_kb(void)
{
    char line[128];
    size_t kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmRSS: %zu", &kb) == 1)
            break;
    fclose(file);
    return kb;
}

static void who_does_not_read_slows_the_sender_down(void **state)
{
    (void)state;
    int small = 64 * 1024;
    for (size_t i = 0; i < 2; i++)
        setsockopt(s[i].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    size_t before_kb = resident_kb();
    size_t stuffed = stuff(s[0].fd);
    /* Four buffers of the pumps, and what the kernel keeps for three sockets:
     * all of it bounded (tcp_wmem and tcp_rmem end at 4 and 6 MiB). */
    assert_true(stuffed < 16 * 1024 * 1024);
    assert_true(resident_kb() < before_kb + 4096);
    /* The other direction is free. */
    char byte;
    assert_int_equal(write(s[1].fd, "x", 1), 1);
    assert_int_equal(recv(s[0].fd, &byte, 1, 0), 1);
    /* Nothing was lost. */
    static uint8_t piece[PIECE];
    shutdown(s[0].fd, SHUT_WR);
    size_t got = 0;
    for (ssize_t n; (n = recv(s[1].fd, piece, sizeof piece, 0)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, stuffed);
}

static void an_idle_or_a_stuck_connection_costs_no_time(void **state)
{
    (void)state;
    stuff(s[0].fd);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    pair_sleep_ms(1000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t spent_ms = (after.tv_sec - before.tv_sec) * 1000 +
                       (after.tv_nsec - before.tv_nsec) / 1000000;
    assert_true(spent_ms < 100); /* a busy loop takes all of it */
}

static void a_half_close_leaves_the_other_half(void **state)
{
    (void)state;
    char text[8] = "";
    assert_int_equal(write(s[0].fd, "ask", 3), 3);
    shutdown(s[0].fd, SHUT_WR);
    assert_int_equal(recv(s[1].fd, text, 3, MSG_WAITALL), 3);
    assert_int_equal(recv(s[1].fd, text, 1, 0), 0);
    assert_int_equal(write(s[1].fd, "answer", 6), 6);
    close_side(1);
    assert_int_equal(recv(s[0].fd, text, 6, MSG_WAITALL), 6);
    assert_string_equal(text, "answer");
    assert_int_equal(recv(s[0].fd, text, 1, 0), 0);
}

static void what_was_written_before_a_close_arrives(void **state)
{
    (void)state;
    static uint8_t piece[150 * 1024];
    assert_int_equal(write(s[0].fd, piece, sizeof piece), sizeof piece);
    close_side(0);
    size_t got = 0;
    for (ssize_t n; (n = recv(s[1].fd, piece, sizeof piece, 0)) > 0;)
        got += (size_t)n;
    assert_int_equal(got, sizeof piece);
    struct tls_status status = {.connections = 1};
    for (unsigned i = 0; i < 500 && status.connections > 0; i++) {
        pair_sleep_ms(10);
        tls_status(server, &status);
    }
    assert_int_equal(status.connections, 0);
}

/* --- ends ----------------------------------------------------------------- */

static bool write_fails(int fd)
{
    for (unsigned i = 0; i < 500; i++) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            return errno == EPIPE || errno == ECONNRESET;
        pair_sleep_ms(10);
    }
    return false;
}

static void a_consumer_that_closes_ends_the_other_side_at_once(void **state)
{
    (void)state;
    close_side(0);
    uint64_t start = clock_mono_ms();
    char byte;
    assert_int_equal(recv(s[1].fd, &byte, 1, 0), 0);
    assert_true(clock_mono_ms() - start < 2000);
    assert_true(write_fails(s[1].fd));
}

static void a_peer_that_dies_ends_this_side_at_once(void **state)
{
    (void)state;
    /* Its sockets are closed by the kernel, without a word of TLS. */
    tls_stop(client);
    client = NULL;
    uint64_t start = clock_mono_ms();
    char byte;
    assert_true(recv(s[0].fd, &byte, 1, 0) <= 0);
    assert_true(clock_mono_ms() - start < 2000);
    assert_true(write_fails(s[0].fd));
}

static void a_peer_that_dies_frees_a_writer_that_was_stuck(void **state)
{
    (void)state;
    stuff(s[0].fd);
    tls_stop(client);
    client = NULL;
    assert_true(write_fails(s[0].fd));
}

static void a_consumer_that_leaves_with_bytes_unsent_is_let_go(void **state)
{
    (void)state;
    stuff(s[0].fd); /* the other side reads nothing, ever */
    close_side(0);
    struct tls_status status = {.connections = 1};
    for (unsigned i = 0; i < 1500 && status.connections > 0; i++) {
        pair_sleep_ms(10);
        tls_status(server, &status);
    }
    assert_int_equal(status.connections, 0);
}

static void the_options_of_the_socket_stay(void **state)
{
    (void)state;
    int fds[2], option = 1, timeout_ms = 1234;
    pair_sockets(fds);
    setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &option, sizeof option);
    setsockopt(fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms,
               sizeof timeout_ms);
    /* The same socket, seen through a descriptor that stays here; nor does
     * that keep the pump from letting go of it. */
    int seen = dup(fds[0]);
    struct side two[2];
    side_begin(&two[0], server, fds[0], true, "");
    side_begin(&two[1], client, fds[1], false, "alpha.example");
    side_wait(&two[0]);
    side_wait(&two[1]);
    socklen_t size = sizeof option;
    option = timeout_ms = 0;
    getsockopt(seen, IPPROTO_TCP, TCP_NODELAY, &option, &size);
    getsockopt(seen, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, &size);
    assert_int_equal(option, 1);
    assert_int_equal(timeout_ms, 1234);
    side_end(&two[0]);
    side_end(&two[1]);
    pair_sleep_ms(100);
    close(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(a_hundred_megabytes_arrive_both_ways_at_once),
        CASE(who_does_not_read_slows_the_sender_down),
        CASE(an_idle_or_a_stuck_connection_costs_no_time),
        CASE(a_half_close_leaves_the_other_half),
        CASE(what_was_written_before_a_close_arrives),
        CASE(a_consumer_that_closes_ends_the_other_side_at_once),
        CASE(a_peer_that_dies_ends_this_side_at_once),
        CASE(a_peer_that_dies_frees_a_writer_that_was_stuck),
        CASE(a_consumer_that_leaves_with_bytes_unsent_is_let_go),
        CASE(the_options_of_the_socket_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
