#include "gateway/config.h"
#include "gateway/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct gateway_config config;
static struct errmsg error;

static const char *const variables[] = {
    "HOLDFAST_TOKEN",        "DEFGUARD_TOKEN",    "HOLDFAST_STATS_PERIOD",
    "DEFGUARD_STATS_PERIOD", "DEFGUARD_GRPC_URL", "DEFGUARD_USERSPACE",
    "HOLDFAST_OBSERVE",
};

static int clean(void **state)
{
    (void)state;
    gateway_config_deinit(&config);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    return 0;
}

/* Splits @line at spaces; the program's name is added. */
static int read_line(const char *line)
{
    static char copy[1024];
    char *argv[32] = {copy}, *rest = copy;
    int argc = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word; (word = strtok_r(rest, " ", &rest)) != NULL;)
        argv[argc++] = word;
    argv[argc] = NULL;
    gateway_config_deinit(&config);
    error.text[0] = '\0';
    return gateway_config_read(&config, argc, argv, &error);
}

#define ENOUGH "--observe -u -t secret -g http://a:1 "

static void the_defaults_are_those_of_defguards_gateway(void **state)
{
    char host[256];
    (void)state;
    assert_int_equal(read_line(ENOUGH), 0);
    assert_string_equal(config.ifname, "wg0");
    assert_true(config.stats_period_ms == 30000);
    assert_int_equal(config.log_level, LOG_INFO);
    assert_int_equal(gethostname(host, sizeof host), 0);
    assert_string_equal(config.hostname, host);
    strcat(host, "/wg0");
    assert_string_equal(config.gateway_id, host);
}

static void a_list_of_urls_becomes_nodes(void **state)
{
    (void)state;
    assert_int_equal(read_line("--observe -u -t secret --grpc-url "
                               "http://a:1,b.example:50055,https://[::1]:3/"),
                     0);
    assert_int_equal(config.node_count, 3);
    assert_string_equal(config.nodes[0].address, "a:1");
    assert_string_equal(config.nodes[1].address, "b.example:50055");
    assert_string_equal(config.nodes[2].address, "[::1]:3");
    assert_false(config.nodes[0].tls);
    assert_false(config.nodes[1].tls);
    assert_true(config.nodes[2].tls);
}

static void a_flag_wins_over_our_variable_and_that_over_defguards(void **state)
{
    (void)state;
    setenv("DEFGUARD_STATS_PERIOD", "60", 1);
    assert_int_equal(read_line(ENOUGH), 0);
    assert_true(config.stats_period_ms == 60000);
    setenv("HOLDFAST_STATS_PERIOD", "10", 1);
    assert_int_equal(read_line(ENOUGH), 0);
    assert_true(config.stats_period_ms == 10000);
    assert_int_equal(read_line(ENOUGH "-p 0.5"), 0);
    assert_true(config.stats_period_ms == 500);
}

static void everything_may_come_from_the_environment(void **state)
{
    (void)state;
    setenv("DEFGUARD_TOKEN", "secret", 1);
    setenv("DEFGUARD_GRPC_URL", "http://a:1", 1);
    setenv("DEFGUARD_USERSPACE", "true", 1);
    setenv("HOLDFAST_OBSERVE", "1", 1);
    assert_int_equal(read_line(""), 0);
    assert_string_equal(config.token, "secret");
    setenv("DEFGUARD_TOKEN", "", 1); /* empty is not set */
    assert_int_equal(read_line(""), ERR_INVALID);
}

static void the_identity_holds_the_interface_unless_it_is_given(void **state)
{
    (void)state;
    assert_int_equal(read_line(ENOUGH "--name north -i wg7"), 0);
    assert_string_equal(config.gateway_id, "north/wg7");
    assert_int_equal(read_line(ENOUGH "--name north --gateway-id g1"), 0);
    assert_string_equal(config.gateway_id, "g1");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *named;
    } cases[] = {
        {"-u -t x -g http://a:1", "--observe"},
        {"--observe -t x -g http://a:1", "--userspace"},
        {"--observe -u -g http://a:1", "--token"},
        {"--observe -u -t x", "--grpc-url"},
        {"--observe -u -t x -g ftp://a:1", "https://host:port"},
        {"--observe -u -t x -g https://a", "https://host:port"},
        {ENOUGH "--grpc-ca ca.pem", "https://"},
        {"--observe -u -t x -g https://a:1 --tls-cert c.pem", "--tls-key"},
        {"--observe -u -t x -g a", "host:port"},
        {"--observe -u -t x -g http://a:70000", "host:port"},
        {"--observe -u -t x -g http://a:1/path", "host:port"},
        {"--observe -u -t x -g ,", "--grpc-url"},
        {ENOUGH "-p 0", "--stats-period"},
        {ENOUGH "-p nan", "--stats-period"},
        {ENOUGH "-p 30s", "--stats-period"},
        {ENOUGH "-i a-name-that-is-too-long", "--ifname"},
        {ENOUGH "-i ../x", "--ifname"},
        {ENOUGH "-l loud", "--log-level"},
        {ENOUGH "--spool-bytes 1MB", "--spool-bytes 1MB"},
        {ENOUGH "--spool-bytes 1023KiB", "--spool-bytes"},
        {ENOUGH "--spool-bytes 5GiB", "--spool-bytes"},
        {ENOUGH "--spool-bytes -1GiB", "--spool-bytes"},
        {ENOUGH "--spool-bytes 99999999999999999999999", "--spool-bytes"},
        {ENOUGH "--frobnicate", "--frobnicate"},
        {ENOUGH "-p", "-p"},
        {ENOUGH "extra", "extra"},
        {ENOUGH "--gateway-id caf\xc3\xa9", "--gateway-id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_line(cases[i].line), ERR_INVALID);
        if (strstr(error.text, cases[i].named) == NULL)
            fail_msg("%s: %s", cases[i].line, error.text);
    }
}

static void a_machine_hash_tells_machines_and_hosts_apart(void **state)
{
    char path[] = "/tmp/holdfast-machine-XXXXXX";
    uint8_t by_id[MACHINE_HASH_SIZE], again[MACHINE_HASH_SIZE];
    uint8_t by_host[MACHINE_HASH_SIZE], other[MACHINE_HASH_SIZE];
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123\n", 5), 5);
    close(fd);
    assert_int_equal(machine_hash(path, "a", by_id), 0);
    assert_int_equal(machine_hash(path, "b", again), 0);
    assert_memory_equal(by_id, again, sizeof by_id);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(machine_hash(path, "a", by_host), 0);
    assert_int_equal(machine_hash(path, "b", other), 0);
    assert_memory_not_equal(by_host, other, sizeof by_host);
    assert_memory_not_equal(by_id, by_host, sizeof by_host);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, clean, clean)
    const struct CMUnitTest tests[] = {
        CASE(the_defaults_are_those_of_defguards_gateway),
        CASE(a_list_of_urls_becomes_nodes),
        CASE(a_flag_wins_over_our_variable_and_that_over_defguards),
        CASE(everything_may_come_from_the_environment),
        CASE(the_identity_holds_the_interface_unless_it_is_given),
        CASE(what_is_wrong_is_named),
        CASE(a_machine_hash_tells_machines_and_hosts_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
