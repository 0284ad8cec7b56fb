/* What the recovery tools read of a stopped node's raft directory. */
#include "raft/disk_log.h"
#include "raft/test/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void read_log(const struct cluster *c, size_t i, struct disk_log *log)
{
    char path[128];
    struct errmsg e = {""};
    snprintf(path, sizeof path, "%s/raft", c->nodes[i].dir);
    int rv = disk_log_read(path, log, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
}

static void fill(struct cluster *c, uint64_t count)
{
    struct outcome outcome;
    size_t leader = cluster_leader(c);
    for (uint64_t n = 0; n < count; n++)
        assert_int_equal(cluster_submit(c, leader, n, 100, 5000, &outcome), 0);
    cluster_converge(c, count);
}

static void a_stopped_log_tells_its_entries_and_members(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    for (size_t i = 0; i < 3; i++)
        cluster_start(&c, i);
    fill(&c, 10);
    for (size_t i = 0; i < 3; i++)
        cluster_stop(&c, i);
    for (size_t i = 0; i < 3; i++) {
        struct disk_log log;
        read_log(&c, i, &log);
        assert_int_equal(log.member_count, 3);
        size_t commands = 0;
        for (size_t k = 0; k < log.count; k++)
            commands += disk_log_command(&log, k).size > 0;
        assert_true(commands >= 1);
        assert_true(log.last_index >= log.count);
        assert_true(log.term >= log.last_term && log.last_term > 0);
        for (size_t k = 0; k < 3; k++)
            assert_non_null(strstr(log.members[k].address, "127.0.0.1:"));
        disk_log_deinit(&log);
    }
    cluster_deinit(&c);
}

static void behind_a_snapshot_the_members_are_still_known(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    c.log_entries_max = 16;
    c.tail_entries = 16;
    for (size_t i = 0; i < 3; i++)
        cluster_start(&c, i);
    fill(&c, 200);
    for (size_t i = 0; i < 3; i++)
        cluster_stop(&c, i);
    struct disk_log log;
    read_log(&c, 0, &log);
    assert_true(log.snapshot_index > 0);
    assert_true(log.last_index >= log.snapshot_index);
    assert_int_equal(log.member_count, 3);
    disk_log_deinit(&log);
    cluster_deinit(&c);
}

static void a_damaged_segment_is_an_error_with_its_directory(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 3);
    for (size_t i = 0; i < 3; i++)
        cluster_start(&c, i);
    fill(&c, 50);
    for (size_t i = 0; i < 3; i++)
        cluster_stop(&c, i);
    cluster_damage_log(&c, 1);
    char path[128];
    struct errmsg e = {""};
    struct disk_log log;
    snprintf(path, sizeof path, "%s/raft", c.nodes[1].dir);
    assert_int_equal(disk_log_read(path, &log, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, path));
    cluster_deinit(&c);
}

static void no_directory_is_invalid(void **state)
{
    (void)state;
    struct errmsg e = {""};
    struct disk_log log;
    assert_int_equal(disk_log_read("/nonexistent/raft", &log, &e), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_log_tells_its_entries_and_members),
        cmocka_unit_test(behind_a_snapshot_the_members_are_still_known),
        cmocka_unit_test(a_damaged_segment_is_an_error_with_its_directory),
        cmocka_unit_test(no_directory_is_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
