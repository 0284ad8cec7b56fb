/* Who gets through a handshake and who does not, and what is said of it. */
#include "tls/test/pair.h"

#include <openssl/ssl.h>

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct pair p;
static struct tls *server, *client;

static const struct test_wish ALPHA = {
    .san = "DNS:alpha.example,DNS:*.wild.example,IP:127.0.0.1,IP:::1"};
static const struct test_wish BETA = {.san = "DNS:beta.example"};

static int set_up(void **state)
{
    (void)state;
    pair_init(&p);
    pair_cert(&p, &p.ca, "alpha", &ALPHA);
    pair_cert(&p, &p.ca, "beta", &BETA);
    server = pair_start(&p, "alpha", true);
    client = pair_start(&p, "beta", true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_stop(server);
    tls_stop(client);
    server = client = NULL;
    pair_deinit(&p);
    return 0;
}

static void end_both(struct side sides[2])
{
    side_end(&sides[0]);
    side_end(&sides[1]);
}

/* A client of the test's own, which does what ours would not. */
struct raw {
    int fd;
    const char *name; /* of its certificate; NULL: none */
    int version_max;
    pthread_t thread;
};

static void *raw_main(void *arg)
{
    struct raw *r = arg;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(context, 0);
    SSL_CTX_set_max_proto_version(context, r->version_max);
    if (r->name != NULL) {
        char path[128];
        SSL_CTX_use_certificate_file(
            context, pair_path(&p, r->name, "pem", path), SSL_FILETYPE_PEM);
        SSL_CTX_use_PrivateKey_file(
            context, pair_path(&p, r->name, "key", path), SSL_FILETYPE_PEM);
    }
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, r->fd);
    char byte;
    if (SSL_connect(ssl) == 1)
        SSL_read(ssl, &byte, 1);
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(r->fd);
    return NULL;
}

/* What the server says of a client that shows @name. */
static void refuse_raw(const char *name, int version_max, const char *expected)
{
    int fds[2];
    struct side s;
    pair_sockets(fds);
    struct raw raw = {.fd = fds[1], .name = name, .version_max = version_max};
    pthread_create(&raw.thread, NULL, raw_main, &raw);
    side_begin(&s, server, fds[0], true, "");
    side_wait(&s);
    pthread_join(raw.thread, NULL);
    assert_int_equal(s.fd, -1);
    assert_null(s.peer);
    if (strstr(s.why, expected) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", s.why, expected);
    side_end(&s);
}

static void both_sides_see_a_stream_and_the_others_name(void **state)
{
    (void)state;
    struct side s[2];
    char text[8] = "", names[64];
    pair_shake(server, client, "alpha.example", s);
    assert_true(s[0].fd >= 0 && s[1].fd >= 0);
    assert_true(tls_peer_is_named(s[0].peer, "beta.example"));
    assert_false(tls_peer_is_named(s[0].peer, "alpha.example"));
    assert_true(tls_peer_is_named(s[1].peer, "alpha.example"));
    tls_peer_names(s[1].peer, names, sizeof names);
    assert_string_equal(names, "alpha.example, *.wild.example, 127.0.0.1, ::1");
    assert_int_equal(write(s[0].fd, "down", 4), 4);
    assert_int_equal(recv(s[1].fd, text, 4, MSG_WAITALL), 4);
    assert_string_equal(text, "down");
    assert_int_equal(write(s[1].fd, "up..", 4), 4);
    assert_int_equal(recv(s[0].fd, text, 4, MSG_WAITALL), 4);
    assert_string_equal(text, "up..");
    struct tls_status status;
    tls_status(server, &status);
    assert_int_equal(status.handshakes, 1);
    assert_int_equal(status.failures, 0);
    assert_int_equal(status.connections, 1);
    end_both(s);
}

static void names_count_as_the_rules_of_the_web_say(void **state)
{
    (void)state;
    struct side s[2];
    pair_shake(server, client, "", s);
    const void *alpha = s[1].peer;
    assert_true(tls_peer_is_named(alpha, "ALPHA.example"));
    assert_true(tls_peer_is_named(alpha, "alpha.example."));
    assert_true(tls_peer_is_named(alpha, "one.wild.example"));
    assert_false(tls_peer_is_named(alpha, "two.one.wild.example"));
    assert_false(tls_peer_is_named(alpha, "wild.example"));
    assert_true(tls_peer_is_named(alpha, "127.0.0.1"));
    assert_true(tls_peer_is_named(alpha, "::1"));
    assert_false(tls_peer_is_named(alpha, "127.0.0.2"));
    assert_false(tls_peer_is_named(alpha, "common.example"));
    assert_false(tls_peer_is_named(alpha, ""));
    assert_false(tls_peer_is_named(alpha, "."));
    assert_false(tls_peer_is_named(NULL, "alpha.example"));
    end_both(s);
}

static void a_client_goes_on_only_with_the_name_that_it_dialed(void **state)
{
    (void)state;
    static const char *const good[] = {"alpha.example", "x.wild.example",
                                       "127.0.0.1", "::1", "alpha.example."};
    static const char *const bad[] = {"gamma.example", "127.0.0.2",
                                      "common.example", "a.b.wild.example"};
    struct side s[2];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        pair_shake(server, client, good[i], s);
        assert_true(s[1].fd >= 0);
        end_both(s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pair_shake(server, client, bad[i], s);
        assert_int_equal(s[1].fd, -1);
        assert_non_null(strstr(s[1].why, "alpha.example"));
        assert_non_null(strstr(s[1].why, bad[i]));
        assert_int_equal(s[0].fd, -1);
        assert_non_null(strstr(s[0].why, "refused our certificate"));
        end_both(s);
    }
}

static void a_client_without_a_good_certificate_is_refused(void **state)
{
    (void)state;
    struct test_wish expired = {
        .san = "DNS:beta.example", .begins_s = -100, .ends_s = -10};
    struct test_wish early = {
        .san = "DNS:beta.example", .begins_s = 1000, .ends_s = 2000};
    struct test_wish one_way = {.san = "DNS:beta.example",
                                .usage = "serverAuth"};
    pair_cert(&p, &p.foreign, "foreign", &BETA);
    pair_cert(&p, &p.ca, "expired", &expired);
    pair_cert(&p, &p.ca, "early", &early);
    pair_cert(&p, &p.ca, "one_way", &one_way);
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (size_t i = 0; i < 2; i++) {
        refuse_raw(NULL, versions[i], "showed no certificate");
        refuse_raw("foreign", versions[i],
                   "(for beta.example) is of no CA that is trusted");
        refuse_raw("expired", versions[i], "(for beta.example) has expired");
        refuse_raw("early", versions[i], "is not valid yet");
        refuse_raw("one_way", versions[i], "serverAuth and clientAuth");
    }
    refuse_raw("beta", TLS1_1_VERSION, "before 1.2");
    struct tls_status status;
    tls_status(server, &status);
    assert_int_equal(status.failures, 11);
    assert_int_equal(status.handshakes, 0);
}

static void a_server_of_a_foreign_ca_is_refused_by_the_client(void **state)
{
    (void)state;
    pair_cert(&p, &p.foreign, "alpha", &ALPHA);
    tls_stop(server);
    server = pair_start(&p, "alpha", true);
    struct side s[2];
    pair_shake(server, client, "alpha.example", s);
    assert_int_equal(s[1].fd, -1);
    assert_non_null(strstr(s[1].why, "no CA that is trusted here"));
    assert_int_equal(s[0].fd, -1);
    assert_non_null(strstr(s[0].why, "of no CA that it trusts"));
    end_both(s);
}

static void without_mutual_a_client_needs_no_certificate(void **state)
{
    (void)state;
    struct tls_files files = {0};
    char cert[128], key[128];
    files.cert = pair_path(&p, "alpha", "pem", cert);
    files.key = pair_path(&p, "alpha", "key", key);
    struct tls *open;
    struct errmsg e;
    assert_int_equal(tls_start(&files, &open, &e), 0);
    int fds[2];
    struct side s;
    pair_sockets(fds);
    struct raw raw = {.fd = fds[1], .version_max = TLS1_3_VERSION};
    pthread_create(&raw.thread, NULL, raw_main, &raw);
    side_begin(&s, open, fds[0], true, "");
    side_wait(&s);
    assert_true(s.fd >= 0);
    assert_null(s.peer);
    side_end(&s);
    pthread_join(raw.thread, NULL);
    tls_stop(open);
}

/* --- strangers ------------------------------------------------------------ */

static void plain_text_and_noise_are_no_tls(void **state)
{
    (void)state;
    static const char *const words[] = {"HFpeer", "GET / HTTP/1.1\r\n\r\n",
                                        "\x16\x03\x01\xff\xff garbage",
                                        "\x80\x80\x80\x80\x80\x80"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        int fds[2];
        struct side s;
        pair_sockets(fds);
        side_begin(&s, server, fds[0], true, "");
        assert_true(send(fds[1], words[i], strlen(words[i]), 0) > 0);
        side_wait(&s);
        assert_int_equal(s.fd, -1);
        assert_string_equal(s.why, "it does not speak TLS");
        assert_false(s.silent);
        close(fds[1]);
        side_end(&s);
    }
}

static void who_hangs_up_or_says_nothing_is_let_go(void **state)
{
    (void)state;
    int silent[2], gone[2];
    struct side s[2];
    pair_sockets(silent);
    pair_sockets(gone);
    side_begin(&s[0], server, silent[0], true, "");
    side_begin(&s[1], server, gone[0], true, "");
    close(gone[1]);
    side_wait(&s[1]);
    assert_string_equal(s[1].why, "it hung up in the TLS handshake");
    assert_true(s[1].silent);
    side_wait(&s[0]);
    assert_string_equal(s[0].why, "it made no TLS handshake in time");
    char byte;
    assert_true(recv(silent[1], &byte, 1, 0) <= 0); /* it was closed */
    close(silent[1]);
    end_both(s);
}

static void handshakes_nobody_waits_for_leave_nothing_behind(void **state)
{
    (void)state;
    int fds[2];
    struct side s;
    pair_sockets(fds);
    side_begin(&s, server, fds[0], true, "");
    tls_inbox_close(server, &s.inbox);
    tls_collect(&s.inbox);
    assert_true(s.finished);
    assert_int_equal(s.fd, -1);
    char byte;
    assert_true(recv(fds[1], &byte, 1, 0) <= 0);
    close(fds[1]);
    /* What is under way at a stop ends, too. */
    pair_sockets(fds);
    side_begin(&s, server, fds[0], true, "");
    tls_stop(server);
    server = NULL;
    tls_collect(&s.inbox);
    assert_true(s.finished);
    assert_string_equal(s.why, "stopped");
    close(fds[1]);
}

/* A record that comes with the last message of the handshake is read together
 * with it, and no event announces it again. */
static void words_that_follow_the_handshake_at_once_arrive(void **state)
{
    (void)state;
    enum { TOGETHER = 8, ROUNDS = 150 };
    static struct side s[TOGETHER][2];
    char text[16];
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < TOGETHER; i++) {
            int fds[2];
            pair_sockets(fds);
            side_begin(&s[i][0], server, fds[0], true, "");
            side_begin(&s[i][1], client, fds[1], false, "alpha.example");
        }
        for (int i = 0; i < TOGETHER; i++) {
            /* Without a pause: the server is in its handshake still. */
            while (!s[i][1].finished)
                tls_collect(&s[i][1].inbox);
            assert_int_equal(write(s[i][1].fd, "first words", 11), 11);
        }
        for (int i = 0; i < TOGETHER; i++) {
            side_wait(&s[i][0]);
            assert_int_equal(recv(s[i][0].fd, text, 11, MSG_WAITALL), 11);
            side_wait(&s[i][1]);
            end_both(s[i]);
        }
    }
}

static size_t count_fds(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static void a_thousand_connects_leak_nothing(void **state)
{
    (void)state;
    size_t before = count_fds();
    struct side s[2];
    for (int i = 0; i < 1000; i++) {
        pair_shake(server, client, "alpha.example", s);
        assert_true(s[0].fd >= 0 && s[1].fd >= 0);
        end_both(s);
    }
    for (unsigned i = 0; i < 2000 && count_fds() > before; i++)
        pair_sleep_ms(5);
    assert_int_equal(count_fds(), before);
    struct tls_status status;
    tls_status(server, &status);
    assert_int_equal(status.handshakes, 1000);
    assert_int_equal(status.connections, 0);
}

static void strangers_who_say_nothing_keep_nobody_out(void **state)
{
    (void)state;
    enum { COUNT = TLS_CONNECTIONS_MAX };
    struct rlimit room = {.rlim_cur = 4 * COUNT, .rlim_max = 4 * COUNT};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    room.rlim_max = before.rlim_max;
    if (before.rlim_max < room.rlim_cur || setrlimit(RLIMIT_NOFILE, &room) != 0)
        skip(); /* too few descriptors here */
    static struct side silent[COUNT];
    static int ends[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        int fds[2];
        pair_sockets(fds);
        ends[i] = fds[1];
        side_begin(&silent[i], server, fds[0], true, "");
    }
    struct side s[2] = {{.fd = -1}, {.fd = -1}};
    /* Once the pump has seen that one of them is silent. */
    for (unsigned i = 0; i < 100 && s[0].fd < 0; i++) {
        pair_sleep_ms(10);
        pair_shake(server, client, "alpha.example", s);
        if (s[0].fd < 0)
            end_both(s);
    }
    assert_true(s[0].fd >= 0 && s[1].fd >= 0);
    end_both(s);
    size_t sent_away = 0;
    for (size_t i = 0; i < COUNT; i++) {
        close(ends[i]);
        side_wait(&silent[i]);
        sent_away += strstr(silent[i].why, "too many") != NULL;
        side_end(&silent[i]);
    }
    assert_true(sent_away > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(both_sides_see_a_stream_and_the_others_name),
        CASE(names_count_as_the_rules_of_the_web_say),
        CASE(a_client_goes_on_only_with_the_name_that_it_dialed),
        CASE(a_client_without_a_good_certificate_is_refused),
        CASE(a_server_of_a_foreign_ca_is_refused_by_the_client),
        CASE(without_mutual_a_client_needs_no_certificate),
        CASE(plain_text_and_noise_are_no_tls),
        CASE(who_hangs_up_or_says_nothing_is_let_go),
        CASE(handshakes_nobody_waits_for_leave_nothing_behind),
        CASE(words_that_follow_the_handshake_at_once_arrive),
        CASE(a_thousand_connects_leak_nothing),
        CASE(strangers_who_say_nothing_keep_nobody_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
