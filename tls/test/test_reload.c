/* Certificate files that change under a running pump. */
#include "tls/test/pair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct pair p;
static struct tls *server, *client;

static const struct test_wish ALPHA = {.san = "DNS:alpha.example"};

static int set_up(void **state)
{
    (void)state;
    pair_init(&p);
    pair_cert(&p, &p.ca, "alpha", &ALPHA);
    pair_cert(&p, &p.ca, "beta", &ALPHA);
    server = pair_start(&p, "alpha", true);
    client = pair_start(&p, "beta", true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tls_stop(server);
    tls_stop(client);
    pair_deinit(&p);
    return 0;
}

static bool shakes(void)
{
    struct side s[2];
    pair_shake(server, client, "alpha.example", s);
    bool good = s[0].fd >= 0 && s[1].fd >= 0;
    side_end(&s[0]);
    side_end(&s[1]);
    return good;
}

/* Waits for what the pump does by itself every TLS_RELOAD_MS. */
static void await_not_after(struct tls *t, uint64_t not_this_s)
{
    struct tls_status status;
    for (unsigned i = 0; i < 1000; i++) {
        tls_status(t, &status);
        if (status.not_after_s != not_this_s && status.reload_error[0] == '\0')
            return;
        pair_sleep_ms(10);
    }
    fail_msg("not reloaded: %s", status.reload_error);
}

static void await_error(struct tls *t, const char *expected)
{
    struct tls_status status;
    for (unsigned i = 0; i < 1000; i++) {
        tls_reload(t);
        tls_status(t, &status);
        if (strstr(status.reload_error, expected) != NULL)
            return;
        pair_sleep_ms(10);
    }
    fail_msg("\"%s\" does not say \"%s\"", status.reload_error, expected);
}

static uint64_t not_after(struct tls *t)
{
    struct tls_status status;
    tls_status(t, &status);
    return status.not_after_s;
}

static void new_files_serve_new_connections_and_old_ones_go_on(void **state)
{
    (void)state;
    struct side s[2];
    char text[4];
    pair_shake(server, client, "alpha.example", s);
    uint64_t before = not_after(server);
    struct test_wish longer = ALPHA;
    longer.begins_s = -10;
    longer.ends_s = 5000;
    pair_cert(&p, &p.ca, "alpha", &longer);
    await_not_after(server, before);
    assert_true(shakes());
    assert_int_equal(write(s[0].fd, "old!", 4), 4);
    assert_int_equal(recv(s[1].fd, text, 4, MSG_WAITALL), 4);
    side_end(&s[0]);
    side_end(&s[1]);
}

static void two_cas_count_at_once_and_then_the_new_one_alone(void **state)
{
    (void)state;
    char ca[128];
    struct test_wish longer = ALPHA;
    longer.begins_s = -10;
    longer.ends_s = 5000;
    test_ca_write(pair_path(&p, "ca", "pem", ca), &p.ca, &p.foreign);
    uint64_t before = not_after(server);
    pair_cert(&p, &p.foreign, "alpha", &longer);
    await_not_after(server, before);
    tls_reload(client);
    pair_sleep_ms(300);
    assert_true(shakes()); /* the new one's server, the old one's client */
    test_ca_write(ca, &p.foreign, NULL);
    tls_reload(server);
    pair_sleep_ms(300);
    assert_false(shakes()); /* the client's is of the old CA still */
    before = not_after(client);
    longer.ends_s = 6000;
    pair_cert(&p, &p.foreign, "beta", &longer);
    await_not_after(client, before);
    assert_true(shakes());
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void what_cannot_be_loaded_leaves_the_old_in_use(void **state)
{
    (void)state;
    char cert[128], key[128], other[128], text[4096];
    pair_path(&p, "alpha", "pem", cert);
    pair_path(&p, "alpha", "key", key);
    FILE *file = fopen(cert, "r");
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    /* In the middle of a write. */
    char half[4096];
    snprintf(half, sizeof half, "%.*s", (int)(size / 2), text);
    write_text(cert, half);
    await_error(server, "alpha.pem");
    assert_true(shakes());
    /* The key of another. */
    write_text(cert, text);
    pair_cert(&p, &p.ca, "gamma", &ALPHA);
    assert_int_equal(rename(pair_path(&p, "gamma", "key", other), key), 0);
    await_error(server, "is not the key of the certificate");
    assert_true(shakes());
    /* One that has expired. */
    struct test_wish expired = ALPHA;
    expired.begins_s = -100;
    expired.ends_s = -10;
    pair_cert(&p, &p.ca, "alpha", &expired);
    await_error(server, "expired on");
    assert_true(shakes());
    /* And mended without anybody's help. */
    uint64_t before = not_after(server);
    struct test_wish longer = ALPHA;
    longer.begins_s = -10;
    longer.ends_s = 5000;
    pair_cert(&p, &p.ca, "alpha", &longer);
    await_not_after(server, before);
    assert_true(shakes());
}

static void a_link_that_is_turned_is_seen(void **state)
{
    (void)state;
    /* As Kubernetes does it: files are links through a link to a directory. */
    char path[128], target[256];
    const char *const kinds[] = {"pem", "key"};
    struct test_wish longer = ALPHA;
    longer.begins_s = -10;
    longer.ends_s = 5000;
    pair_cert(&p, &p.ca, "next", &longer);
    uint64_t before = not_after(server);
    for (size_t i = 0; i < 2; i++) {
        snprintf(target, sizeof target, "next.%s", kinds[i]);
        pair_path(&p, "turned", kinds[i], path);
        assert_int_equal(symlink(target, path), 0);
        char name[128];
        assert_int_equal(rename(path, pair_path(&p, "alpha", kinds[i], name)),
                         0);
    }
    await_not_after(server, before);
    assert_true(shakes());
}

static void files_that_are_wrong_from_the_start_are_refused(void **state)
{
    (void)state;
    struct tls *t;
    struct errmsg e;
    char path[128];
    struct test_wish expired = ALPHA;
    expired.begins_s = -100;
    expired.ends_s = -10;
    assert_int_equal(pair_try_start(&p, "nobody", true, &t, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "No such file"));
    pair_cert(&p, &p.ca, "expired", &expired);
    assert_int_equal(pair_try_start(&p, "expired", true, &t, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "expired on"));
    write_text(pair_path(&p, "expired", "pem", path), "no certificate\n");
    assert_int_equal(pair_try_start(&p, "expired", true, &t, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "there is no certificate in PEM in it"));
    write_text(pair_path(&p, "ca", "pem", path), "");
    assert_int_equal(pair_try_start(&p, "beta", true, &t, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "ca.pem"));
    assert_null(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        CASE(new_files_serve_new_connections_and_old_ones_go_on),
        CASE(two_cas_count_at_once_and_then_the_new_one_alone),
        CASE(what_cannot_be_loaded_leaves_the_old_in_use),
        CASE(a_link_that_is_turned_is_seen),
        CASE(files_that_are_wrong_from_the_start_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
