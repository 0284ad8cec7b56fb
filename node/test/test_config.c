#include "node/config.h"
#include "node/config_check.h"
#include "node/config_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- fixture ---------------------------------------------------------------
 */

static struct errmsg message;

static int read_config(struct node_config *c, const char *const *flags)
{
    char *argv[32] = {(char *)(uintptr_t) "holdfast-node"};
    int argc = 1;
    for (; flags[argc - 1] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)flags[argc - 1];
    message.text[0] = '\0';
    return node_config_read(c, argc, argv, &message);
}

#define READ(c, ...) read_config((c), (const char *const[]){__VA_ARGS__, NULL})

#define LOOPBACK                                                               \
    "--grpc-bind", "127.0.0.1:0", "--http-bind", "127.0.0.1:0", "--name", "a"

/* The message must name @part. */
static void assert_refused(int rv, const char *part)
{
    assert_int_equal(rv, ERR_INVALID);
    if (strstr(message.text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", message.text, part);
}

static void write_file(char path[32], const char *text)
{
    strcpy(path, "/tmp/holdfast-config-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static int clean_environment(void **state)
{
    (void)state;
    unsetenv("HOLDFAST_NAME");
    unsetenv("HOLDFAST_GATEWAY_SECRET");
    unsetenv("DEFGUARD_GATEWAY_SECRET");
    return 0;
}

/* --- cases ------------------------------------------------------------------
 */

static void defaults_are_those_of_the_contract(void **state)
{
    (void)state;
    struct node_config c;
    assert_int_equal(READ(&c, "--insecure"), 0);
    assert_string_equal(c.data_dir, "/var/lib/holdfast");
    assert_string_equal(c.grpc_bind, "0.0.0.0:50055");
    assert_string_equal(c.http_bind, "0.0.0.0:8000");
    assert_string_equal(c.peer_bind, "0.0.0.0:7600");
    assert_null(c.peer_address);
    assert_null(c.gateway_secret);
    assert_int_equal(c.peer_count, 0);
    assert_int_equal(c.election_timeout_ms, 500);
    assert_int_equal(c.heartbeat_ms, 50);
    assert_int_equal(c.retain_minute_s, 168 * 3600);
    assert_int_equal(c.retain_day_s, 87600 * 3600);
    assert_int_equal(c.retain_raw_bytes, 10ULL << 30);
    assert_true(strlen(c.name) > 0);
    node_config_deinit(&c);
}

static void a_flag_wins_over_its_variable_which_wins_over_the_file(void **state)
{
    (void)state;
    struct node_config c;
    char path[32];
    write_file(path, "name: from-file\nzone: z1\nretain_minute: 90m\n");
    setenv("HOLDFAST_NAME", "from-variable", 1);
    assert_int_equal(READ(&c, "--insecure", "--config", path), 0);
    assert_string_equal(c.name, "from-variable");
    assert_string_equal(c.zone, "z1");
    assert_int_equal(c.retain_minute_s, 5400);
    node_config_deinit(&c);
    assert_int_equal(
        READ(&c, "--insecure", "--config", path, "--name=from-flag"), 0);
    assert_string_equal(c.name, "from-flag");
    node_config_deinit(&c);
    unlink(path);
}

static void an_unknown_key_in_the_file_is_named_with_its_line(void **state)
{
    (void)state;
    struct node_config c;
    char path[32], expected[64];
    write_file(path, "name: a\n# remark\nnodename: b\n");
    assert_refused(READ(&c, "--config", path), "nodename");
    snprintf(expected, sizeof expected, "%s:3", path);
    assert_refused(READ(&c, "--config", path), expected);
    unlink(path);
}

static void a_bad_value_in_the_file_is_named_with_its_line(void **state)
{
    (void)state;
    struct node_config c;
    char path[32], expected[64];
    write_file(path, "insecure: true\nheartbeat: soon\n");
    snprintf(expected, sizeof expected, "%s:2: heartbeat", path);
    assert_refused(READ(&c, "--config", path), expected);
    unlink(path);
}

static void a_file_that_is_no_flat_map_is_refused(void **state)
{
    (void)state;
    struct node_config c;
    static const char *const texts[] = {"- a\n- b\n",     "just text\n",
                                        "name: [a, b]\n", "name: {a: b}\n",
                                        "name: \"open\n", "name: a\nname: b\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char path[32];
        write_file(path, texts[i]);
        assert_refused(READ(&c, "--config", path), path);
        unlink(path);
    }
    assert_refused(READ(&c, "--config", "/nonexistent/file"), "/nonexistent");
}

static void bad_flags_are_named(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, "--nodename", "a"), "--nodename");
    assert_refused(READ(&c, "name"), "name");
    assert_refused(READ(&c, "--name"), "--name");
    assert_refused(READ(&c, "--insecure", "--name", "a b"), "--name");
    assert_refused(READ(&c, "--grpc-bind", "localhost:1"), "--grpc-bind");
    assert_refused(READ(&c, "--grpc-bind", "127.0.0.1"), "--grpc-bind");
    assert_refused(READ(&c, "--grpc-bind", "127.0.0.1:70000"), "--grpc-bind");
    assert_refused(READ(&c, "--retain-minute", "5"), "--retain-minute");
    assert_refused(READ(&c, "--retain-raw-bytes", "10GB"), "10GB");
    assert_refused(READ(&c, "--log-level", "loud"), "--log-level");
    assert_refused(READ(&c, "--insecure=perhaps"), "--insecure");
    assert_refused(READ(&c, LOOPBACK, "--election-timeout", "100ms"),
                   "--election-timeout");
}

static void of_a_flag_given_twice_the_last_counts(void **state)
{
    (void)state;
    struct node_config c;
    assert_int_equal(READ(&c, "--insecure", "--name", "x", "--name", "y"), 0);
    assert_string_equal(c.name, "y");
    node_config_deinit(&c);
}

static void an_empty_secret_is_refused_wherever_it_comes_from(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, LOOPBACK, "--gateway-secret", ""),
                   "--gateway-secret");
    setenv("DEFGUARD_GATEWAY_SECRET", "", 1);
    assert_refused(READ(&c, LOOPBACK), "DEFGUARD_GATEWAY_SECRET");
    setenv("DEFGUARD_GATEWAY_SECRET", "theirs", 1);
    assert_int_equal(READ(&c, LOOPBACK), 0);
    assert_string_equal(c.gateway_secret, "theirs");
    node_config_deinit(&c);
    setenv("HOLDFAST_GATEWAY_SECRET", "ours", 1);
    assert_int_equal(READ(&c, LOOPBACK), 0);
    assert_string_equal(c.gateway_secret, "ours");
    node_config_deinit(&c);
}

static void without_tls_only_loopback_is_bound_unless_told(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, "--grpc-bind", "0.0.0.0:1"), "--insecure");
    assert_refused(READ(&c, "--grpc-bind", "127.0.0.1:1"), "--http-bind");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a=10.0.0.1:7600",
                        "--peer-address", "10.0.0.1:7600", "--peer-bind",
                        "127.0.0.1:7600"),
                   "--peer-address");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a=127.0.0.1:7600",
                        "--peer-address", "127.0.0.1:7600"),
                   "--peer-bind");
    assert_int_equal(READ(&c, "--grpc-bind", "[::1]:1", "--http-bind",
                          "127.0.0.2:1", "--name", "a"),
                     0);
    node_config_deinit(&c);
}

static void certificate_and_key_go_together(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, LOOPBACK, "--tls-cert", "x.pem"), "--tls-key");
    assert_refused(READ(&c, LOOPBACK, "--tls-key", "x.pem"), "--tls-cert");
}

static void with_tls_any_address_is_bound(void **state)
{
    (void)state;
    struct node_config c;
    assert_int_equal(READ(&c, "--grpc-bind", "0.0.0.0:1", "--http-bind",
                          "0.0.0.0:2", "--tls-cert", "x.pem", "--tls-key",
                          "y.pem"),
                     0);
    assert_string_equal(c.tls_cert, "x.pem");
    node_config_deinit(&c);
}

#define CLUSTER                                                                \
    LOOPBACK, "--initial-peers", "a=10.0.0.1:7600", "--peer-address",          \
        "10.0.0.1:7600"

static void peers_have_their_own_files_or_the_common_ones(void **state)
{
    (void)state;
    struct node_config c;
    struct tls_files files;
    assert_int_equal(READ(&c, CLUSTER, "--tls-ca", "ca", "--tls-cert", "cert",
                          "--tls-key", "key"),
                     0);
    assert_true(node_peer_tls(&c, &files));
    assert_string_equal(files.ca, "ca");
    assert_string_equal(files.key, "key");
    assert_true(files.mutual);
    node_config_deinit(&c);
    assert_int_equal(READ(&c, CLUSTER, "--tls-ca", "ca", "--peer-tls-cert",
                          "pcert", "--peer-tls-key", "pkey"),
                     0);
    assert_true(node_peer_tls(&c, &files));
    assert_string_equal(files.ca, "ca");
    assert_string_equal(files.cert, "pcert");
    node_config_deinit(&c);
    /* Gateways' TLS alone does not protect the peer port. */
    assert_refused(READ(&c, CLUSTER, "--tls-cert", "cert", "--tls-key", "key"),
                   "--peer-");
    assert_refused(READ(&c, CLUSTER, "--peer-tls-ca", "ca"), "--peer-tls-cert");
    assert_refused(
        READ(&c, CLUSTER, "--peer-tls-cert", "a", "--peer-tls-key", "b"),
        "--peer-tls-ca");
}

static void zones_are_names(void **state)
{
    (void)state;
    struct node_config c;
    char longest[ZONE_LENGTH_MAX + 2] = "";
    memset(longest, 'z', ZONE_LENGTH_MAX);
    assert_int_equal(READ(&c, LOOPBACK, "--zone", longest, "--leader-zones",
                          "eu-1,eu_2,eu.3"),
                     0);
    assert_string_equal(c.leader_zones, "eu-1,eu_2,eu.3");
    node_config_deinit(&c);
    longest[ZONE_LENGTH_MAX] = 'z';
    assert_refused(READ(&c, LOOPBACK, "--zone", longest), "--zone");
    assert_refused(READ(&c, LOOPBACK, "--zone", ""), "--zone");
    assert_refused(READ(&c, LOOPBACK, "--zone", "a b"), "--zone");
    assert_refused(READ(&c, LOOPBACK, "--leader-zones", longest),
                   "--leader-zones");
    assert_refused(READ(&c, LOOPBACK, "--leader-zones", "a,,b"),
                   "--leader-zones");
    assert_refused(READ(&c, LOOPBACK, "--leader-zones", "a,b,"),
                   "--leader-zones");
    assert_refused(READ(&c, LOOPBACK, "--leader-zones", "a;b"),
                   "--leader-zones");
}

static void initial_peers_are_parsed_and_completed(void **state)
{
    (void)state;
    struct node_config c;
    assert_int_equal(READ(&c, LOOPBACK, "--insecure", "--peer-address",
                          "n1.example", "--initial-peers",
                          "a=n1.example,b=n2.example:7700,c=[fd00::3]:1"),
                     0);
    assert_int_equal(c.peer_count, 3);
    assert_string_equal(c.peer_address, "n1.example:7600");
    assert_string_equal(c.peers[0].address, "n1.example:7600");
    assert_string_equal(c.peers[1].name, "b");
    assert_string_equal(c.peers[1].address, "n2.example:7700");
    assert_string_equal(c.peers[2].address, "[fd00::3]:1");
    node_config_deinit(&c);
}

static void initial_peers_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a"), "a");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a=x,a=y"), "twice");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a=x,b=x"), "twice");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers", "a=x,b=y"),
                   "--peer-address");
    assert_refused(
        READ(&c, LOOPBACK, "--initial-peers", "a=x,b=y", "--peer-address", "z"),
        "--initial-peers");
    assert_refused(READ(&c, LOOPBACK, "--initial-peers",
                        "a=a,b=b,c=c,d=d,e=e,f=f,g=g,h=h,i=i,j=j"),
                   "--initial-peers");
}

static void durations_and_sizes_overflow_into_an_error(void **state)
{
    (void)state;
    uint64_t value;
    assert_int_equal(duration_parse("1500ms", &value, NULL), 0);
    assert_int_equal(value, 1500);
    assert_int_equal(duration_parse("7d", &value, NULL), 0);
    assert_int_equal(value, 7ULL * 86400 * 1000);
    assert_int_equal(duration_parse("0", &value, NULL), 0);
    assert_int_equal(size_parse("64KiB", &value, NULL), 0);
    assert_int_equal(value, 65536);
    static const char *const bad[] = {"",
                                      "s",
                                      "-1s",
                                      "1 s",
                                      "1S",
                                      "1.5h",
                                      "18446744073709551615s",
                                      "99999999999999999999ms"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(duration_parse(bad[i], &value, NULL), ERR_INVALID);
    assert_int_equal(size_parse("18446744073709551615KiB", &value, NULL),
                     ERR_INVALID);
}

static void retention_that_settings_would_refuse_is_refused(void **state)
{
    (void)state;
    struct node_config c;
    assert_refused(READ(&c, LOOPBACK, "--retain-minute", "59m"),
                   "--retain-minute: must be at least 1h; 0 is for ever");
    assert_refused(
        READ(&c, LOOPBACK, "--retain-minute", "90m", "--retain-hour", "1h"),
        "--retain-hour: must be at least 24h; 0 is for ever");
    assert_refused(READ(&c, LOOPBACK, "--retain-hour", "72h", "--retain-day",
                        "48h", "--retain-minute", "1h"),
                   "--retain-day: must be at least as long as the finer "
                   "tier's 72h");
    assert_refused(READ(&c, LOOPBACK, "--retain-minute", "0"),
                   "--retain-hour: must be at least as long as the finer "
                   "tier's for ever");
    assert_refused(READ(&c, LOOPBACK, "--retain-day", "876001h"),
                   "--retain-day: must be at most 876000h");
    assert_int_equal(READ(&c, LOOPBACK, "--retain-minute", "1h",
                          "--retain-hour", "24h", "--retain-day", "0"),
                     0);
    node_config_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_those_of_the_contract,
                               clean_environment),
        cmocka_unit_test_setup_teardown(
            a_flag_wins_over_its_variable_which_wins_over_the_file,
            clean_environment, clean_environment),
        cmocka_unit_test(an_unknown_key_in_the_file_is_named_with_its_line),
        cmocka_unit_test(a_bad_value_in_the_file_is_named_with_its_line),
        cmocka_unit_test(a_file_that_is_no_flat_map_is_refused),
        cmocka_unit_test(bad_flags_are_named),
        cmocka_unit_test(of_a_flag_given_twice_the_last_counts),
        cmocka_unit_test_setup_teardown(
            an_empty_secret_is_refused_wherever_it_comes_from,
            clean_environment, clean_environment),
        cmocka_unit_test(without_tls_only_loopback_is_bound_unless_told),
        cmocka_unit_test(certificate_and_key_go_together),
        cmocka_unit_test(with_tls_any_address_is_bound),
        cmocka_unit_test(peers_have_their_own_files_or_the_common_ones),
        cmocka_unit_test(zones_are_names),
        cmocka_unit_test(retention_that_settings_would_refuse_is_refused),
        cmocka_unit_test(initial_peers_are_parsed_and_completed),
        cmocka_unit_test(initial_peers_that_cannot_be_are_refused),
        cmocka_unit_test(durations_and_sizes_overflow_into_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
