/* A name with two addresses, of which the first swallows what it is sent: for
 * nodes (raft/dial.h) and for programs that are none (raft/probe.h). */
#include "raft/dial.h"
#include "raft/probe.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20 * 1000, FILL = 4 };

static int live = -1, swallowing = -1, fillers[FILL];
static uint16_t port;

static struct sockaddr_in at(uint32_t host)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(host)};
}

static int listen_at(uint32_t host, int backlog)
{
    struct sockaddr_in a = at(host);
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, backlog), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    port = ntohs(a.sin_port);
    return fd;
}

int __wrap_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **out);
void __wrap_freeaddrinfo(struct addrinfo *list);

int __wrap_getaddrinfo(const char *host, const char *service,
                       const struct addrinfo *hints, struct addrinfo **out)
{
    (void)host;
    (void)service;
    (void)hints;
    struct two {
        struct addrinfo info[2];
        struct sockaddr_in address[2];
    } *two = calloc(1, sizeof *two);
    for (size_t i = 0; i < 2; i++) {
        two->address[i] = at(i == 0 ? 0x7f000002 : INADDR_LOOPBACK);
        two->info[i].ai_family = AF_INET;
        two->info[i].ai_addr = (struct sockaddr *)&two->address[i];
        two->info[i].ai_addrlen = sizeof two->address[i];
    }
    two->info[0].ai_next = &two->info[1];
    *out = two->info;
    return 0;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    free(list);
}

/* A full backlog drops what asks for a connection. */
static int set_up(void **state)
{
    (void)state;
    port = 0;
    live = listen_at(INADDR_LOOPBACK, 8);
    swallowing = listen_at(0x7f000002, 0);
    struct sockaddr_in a = at(0x7f000002);
    for (size_t i = 0; i < FILL; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fillers[i], (struct sockaddr *)&a, sizeof a) != 0)
            assert_int_equal(errno, EINPROGRESS);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(live);
    close(swallowing);
    for (size_t i = 0; i < FILL; i++)
        close(fillers[i]);
    return 0;
}

static void name_of_both(char out[32])
{
    snprintf(out, 32, "both.example:%u", port);
}

static void on_mail(void *arg)
{
    (void)arg;
}

static void on_dialed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why)
{
    (void)stream;
    (void)answer;
    (void)why;
    *(bool *)arg = true;
}

static void a_dial_has_time_left_for_the_next_address(void **state)
{
    (void)state;
    char address[32];
    name_of_both(address);
    uv_loop_t loop;
    struct errmsg e;
    bool ended = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct dialer dialer = {.loop = &loop, .silence_ms = 1500};
    assert_int_equal(resolver_start(&dialer.resolver, on_mail, NULL, &e), 0);
    assert_non_null(
        dial_start(&dialer, HELLO_PROBE, 0, address, on_dialed, &ended));
    int fd = -1;
    uint64_t until = clock_mono_ms() + PATIENCE_MS;
    while (fd < 0 && !ended && clock_mono_ms() < until) {
        resolver_collect(dialer.resolver);
        dialer_beat(&dialer);
        uv_run(&loop, UV_RUN_NOWAIT);
        nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
        fd = accept(live, NULL, NULL);
    }
    assert_false(ended);
    assert_true(fd >= 0);
    dialer_close(&dialer);
    resolver_stop(dialer.resolver);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    close(fd);
}

/* Nobody here would mean: holdfastctl may make a cluster of its own of what a
 * living one has. */
static void a_probe_has_time_left_for_the_next_address(void **state)
{
    (void)state;
    char address[32], why[160] = "";
    name_of_both(address);
    struct hello_answer answer;
    assert_int_equal(probe_peer(address, NULL, &answer, why), PROBE_STRANGE);
    assert_string_equal(why, "no answer in time");
    assert_true(accept(live, NULL, NULL) >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_dial_has_time_left_for_the_next_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_probe_has_time_left_for_the_next_address, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
