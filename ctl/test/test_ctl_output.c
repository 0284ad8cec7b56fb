/* Tables, units, and the judgements that are numbers. */
#include "ctl/certificates.h"
#include "ctl/check_disk.h"
#include "ctl/check_net.h"
#include "ctl/grid.h"
#include "ctl/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void read_all(FILE *file, char *out, size_t size)
{
    rewind(file);
    size_t n = fread(out, 1, size - 1, file);
    out[n] = '\0';
    fclose(file);
}

static void columns_align_by_display_width(void **state)
{
    static const struct column columns[] = {
        {"NAME", NULL, false}, {"EMPTY", NULL, false}, {"N", NULL, true}};
    char text[256];
    struct grid t;
    struct errmsg e;
    (void)state;
    grid_init(&t, columns, 3);
    const char *const names[] = {"z\xc3\xbcrich", "\xe4\xb8\x9c\xe4\xba\xac",
                                 "e\033[m"};
    for (size_t i = 0; i < 3; i++) {
        grid_put(&t, names[i]);
        grid_put(&t, "");
        grid_printf(&t, "%zu", i == 1 ? (size_t)100 : i);
    }
    FILE *out = tmpfile();
    assert_int_equal(grid_print(&t, out, &e), 0);
    grid_deinit(&t);
    read_all(out, text, sizeof text);
    assert_string_equal(text, "NAME      N\n"
                              "z\xc3\xbcrich    0\n"
                              "\xe4\xb8\x9c\xe4\xba\xac    100\n"
                              "e?[m      2\n");
}

static void an_empty_table_prints_nothing(void **state)
{
    static const struct column columns[] = {{"A", NULL, false}};
    char text[64];
    struct grid t;
    struct errmsg e;
    (void)state;
    grid_init(&t, columns, 1);
    FILE *out = tmpfile();
    assert_int_equal(grid_print(&t, out, &e), 0);
    grid_deinit(&t);
    read_all(out, text, sizeof text);
    assert_string_equal(text, "");
}

static void text_wraps_between_words(void **state)
{
    char text[256];
    (void)state;
    FILE *out = tmpfile();
    text_wrap(out,
              "0123456789 0123456789 0123456789 0123456789 0123456789 "
              "0123456789 0123456789 end",
              4, 2);
    read_all(out, text, sizeof text);
    assert_string_equal(text, "0123456789 0123456789 0123456789 0123456789 "
                              "0123456789 0123456789\n  0123456789 end\n");
}

static void units_are_short(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {1023, "1023 B"},
                 {1024, "1.0 KiB"},
                 {1024 * 1024 - 1, "1.0 MiB"},
                 {5ull << 40, "5.0 TiB"}};
    static const struct {
        double ms;
        const char *text;
    } times[] = {{0.04, "<0.1 ms"}, {0.06, "0.1 ms"}, {9.94, "9.9 ms"},
                 {9.96, "10 ms"},   {999.6, "1.0 s"}, {119e3, "119.0 s"},
                 {150e3, "2 min"},  {7.2e6, "2 h"},   {3 * 86400e3, "3 d"}};
    char text[UNIT_TEXT_SIZE];
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bytes_format(sizes[i].bytes, text);
        assert_string_equal(text, sizes[i].text);
    }
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        duration_format(times[i].ms, text);
        assert_string_equal(text, times[i].text);
    }
}

static void durations_want_a_unit(void **state)
{
    uint64_t ms;
    (void)state;
    assert_true(duration_parse("500ms", &ms));
    assert_int_equal(ms, 500);
    assert_true(duration_parse("2m", &ms));
    assert_int_equal(ms, 120000);
    static const char *const wrong[] = {"",    "5",   "s",    "0s",
                                        "-1s", "1 s", "1.5s", "99999999s"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(duration_parse(wrong[i], &ms));
}

static void times_are_unix_seconds_or_utc(void **state)
{
    static const struct {
        const char *text;
        uint64_t s;
    } times[] = {
        {"0", 0},
        {"1764374400", 1764374400},
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:00:00Z", 951825600},
        {"2000-03-01T00:00:00Z", 951868800},
        {"2026-11-22T23:59:59Z", 1795391999},
        {"2100-03-01T00:00:00Z", 4107542400},
    };
    static const char *const wrong[] = {"",
                                        "now",
                                        "2026-11-22",
                                        "-1",
                                        "2026-13-01T00:00:00Z",
                                        "2026-11-22T00:00:00"};
    uint64_t s;
    (void)state;
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_true(time_text_parse(times[i].text, &s));
        assert_int_equal(s, times[i].s);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(time_text_parse(wrong[i], &s));
}

static void a_disk_is_judged_by_its_slowest_writes(void **state)
{
    uint64_t ns[1000];
    struct latency l;
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        ns[i] = (1000 - i) * 1000; /* 1 us to 1 ms, in no order */
    latency_make(ns, 1000, &l);
    assert_int_equal((int)(l.p50_ms * 1000), 501);
    assert_int_equal((int)(l.p99_ms * 1000), 991);
    assert_int_equal((int)(l.max_ms * 1000), 1000);
    assert_int_equal(disk_judge(&l), DISK_GOOD);
    for (size_t i = 0; i < 20; i++)
        ns[i] = 20 * 1000000;
    latency_make(ns, 1000, &l);
    assert_int_equal(disk_judge(&l), DISK_DOUBTFUL);
    ns[0] = 600 * 1000000ull;
    latency_make(ns, 1000, &l);
    assert_int_equal(disk_judge(&l), DISK_SLOW);
}

static void timeouts_follow_the_longest_round_trip(void **state)
{
    static const struct {
        uint64_t rtt_us;
        unsigned heartbeat_ms, election_ms;
    } cases[] = {{0, 50, 500},     {800, 50, 500},   {50000, 50, 500},
                 {50001, 60, 600}, {83200, 90, 900}, {250000, 250, 2500}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned heartbeat_ms, election_ms;
        timeouts_recommend(cases[i].rtt_us, &heartbeat_ms, &election_ms);
        assert_int_equal(heartbeat_ms, cases[i].heartbeat_ms);
        assert_int_equal(election_ms, cases[i].election_ms);
    }
}

static void add_certificate(void *arg, const char *name, double not_after_s)
{
    char *text = arg;
    size_t length = strlen(text);
    snprintf(text + length, 200 - length, "%s=%.0f ", name, not_after_s);
}

static void certificates_are_found_among_metrics(void **state)
{
    char text[200] = "";
    (void)state;
    certificates_read(
        "# HELP holdfast_tls_cert_not_after_seconds x\n"
        "holdfast_tls_cert_not_after_seconds{cert=\"grpc\"} 1.8e9\n"
        "holdfast_tls_cert_not_after_seconds{cert=\"peer\"} 1700000000\n"
        "holdfast_tls_cert_not_after_seconds{cert=\"cut\n"
        "holdfast_tls_cert_not_after_seconds{cert=\"none\"} x\n"
        "holdfast_raft_term 3",
        add_certificate, text);
    assert_string_equal(text, "grpc=1800000000 peer=1700000000 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_align_by_display_width),
        cmocka_unit_test(an_empty_table_prints_nothing),
        cmocka_unit_test(text_wraps_between_words),
        cmocka_unit_test(units_are_short),
        cmocka_unit_test(durations_want_a_unit),
        cmocka_unit_test(times_are_unix_seconds_or_utc),
        cmocka_unit_test(a_disk_is_judged_by_its_slowest_writes),
        cmocka_unit_test(timeouts_follow_the_longest_round_trip),
        cmocka_unit_test(certificates_are_found_among_metrics),
    };
    text_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
