/* What becomes of a cluster after the worst: a backup is restored, a survivor
 * goes on alone. */
#include "raft/recover.h"

#include "base/durable.h"
#include "raft/identity.h"
#include "raft/seed.h"
#include "raft/test/lone.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct lone n;

static int set_up(void **state)
{
    (void)state;
    lone_init(&n);
    lone_start(&n, n.data);
    lone_await_lead(&n);
    lone_found(&n);
    lone_add_location(&n, "north");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    int failed = atomic_load(&n.fatal_code);
    lone_deinit(&n);
    return failed;
}

static void in_dir(char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", n.dir, name);
}

/* A backup of what is flushed. */
static void back_up(const char *path)
{
    struct copy_info info;
    struct errmsg e = {""};
    char store[128];
    lone_stop(&n);
    in_dir(store, "data/store");
    assert_int_equal(
        store_open(&(struct store_options){.path = store}, &n.store, &e), 0);
    assert_int_equal(store_copy(n.store, path, NULL, NULL, &info, &e), 0);
    assert_true(info.applied_index > 0);
    lone_stop(&n);
}

static struct recover_options options_for(const char *dir)
{
    return (struct recover_options){
        .data_dir = dir, .name = "n1", .address = "localhost:0"};
}

static struct recover_report inspect(const char *dir)
{
    struct recover_report report;
    struct errmsg e = {""};
    int rv = recover_inspect(dir, &report, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
    return report;
}

static void restore_ok(const char *dir, const char *copy)
{
    struct errmsg e = {""};
    struct recover_options options = options_for(dir);
    int rv = recover_restore(&options, copy, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
}

static void a_directory_in_use_is_not_looked_into(void **state)
{
    (void)state;
    struct recover_report report;
    struct errmsg e = {""};
    assert_int_equal(recover_inspect(n.data, &report, &e), ERR_IO);
    assert_non_null(strstr(e.text, "in use"));
}

static void a_stopped_directory_says_what_it_holds(void **state)
{
    (void)state;
    struct repl_status status;
    repl_status(n.repl, &status);
    lone_stop(&n);
    struct recover_report report = inspect(n.data);
    assert_true(report.bootstrapped);
    assert_true(report.raft_id == status.raft_id);
    assert_memory_equal(report.cluster_id, status.cluster_id, CLUSTER_ID_SIZE);
    assert_int_equal(report.locations, 1);
    assert_int_equal(report.member_count, 1);
    assert_true(report.last_index >= report.applied_index);
    assert_true(report.applied_index > 0 && report.term > 0);
}

static void a_restored_backup_is_a_new_cluster_with_the_same_state(void **state)
{
    (void)state;
    char copy[128], dir[128];
    struct recover_report before = (lone_stop(&n), inspect(n.data));
    in_dir(copy, "backup");
    in_dir(dir, "restored");
    back_up(copy);
    restore_ok(dir, copy);
    struct recover_report after = inspect(dir);
    assert_memory_not_equal(after.cluster_id, before.cluster_id,
                            CLUSTER_ID_SIZE);
    assert_true(after.raft_id != before.raft_id);
    assert_int_equal(after.applied_index, before.applied_index);
    assert_int_equal(after.locations, 1);
    assert_string_equal(after.members[0].address, "n1=localhost:0");

    lone_start(&n, dir);
    lone_await_lead(&n);
    lone_add_location(&n, "south");
    /* Indexes and terms only grow, so that nothing old looks new. */
    struct repl_status status; /* a copy, some ms old */
    for (unsigned i = 0; i < 1000; i++) {
        repl_status(n.repl, &status);
        if (status.commit_index > before.applied_index)
            break;
        poll(NULL, 0, 5);
    }
    assert_true(status.commit_index > before.applied_index);
    lone_stop(&n);
    after = inspect(dir);
    assert_int_equal(after.locations, 2);
    assert_true(after.term > before.term);
    /* And once more from its own log. */
    lone_start(&n, dir);
    lone_await_lead(&n);
    lone_add_location(&n, "east");
}

static void a_backup_is_restored_into_an_empty_directory_only(void **state)
{
    (void)state;
    char copy[128];
    struct errmsg e = {""};
    in_dir(copy, "backup");
    back_up(copy);
    struct recover_options options = options_for(n.data);
    assert_int_equal(recover_restore(&options, copy, &e), ERR_EXISTS);
    assert_non_null(strstr(e.text, "not empty"));
    assert_int_equal(inspect(n.data).locations, 1);
}

static void a_file_that_is_no_backup_leaves_nothing(void **state)
{
    (void)state;
    char copy[128], dir[128];
    struct errmsg e = {""};
    in_dir(copy, "backup");
    in_dir(dir, "restored");
    int fd = open(copy, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "no backup", 9), 9);
    close(fd);
    struct recover_options options = options_for(dir);
    assert_true(recover_restore(&options, copy, &e) < 0);
    assert_non_null(strstr(e.text, copy));
    struct stat st;
    assert_int_equal(stat(dir, &st), -1);
}

static void a_restore_that_was_cut_leaves_no_node(void **state)
{
    (void)state;
    char copy[128], dir[128], identity[160];
    struct recover_report report;
    struct errmsg e = {""};
    in_dir(copy, "backup");
    in_dir(dir, "restored");
    back_up(copy);
    restore_ok(dir, copy);
    /* Killed before the last step. */
    snprintf(identity, sizeof identity, "%s/identity", dir);
    assert_int_equal(unlink(identity), 0);
    assert_int_equal(recover_inspect(dir, &report, &e), ERR_INVALID);
    struct store *store;
    char path[160];
    snprintf(path, sizeof path, "%s/store", dir);
    assert_int_equal(
        store_open(&(struct store_options){.path = path}, &store, &e), 0);
    struct repl_options options = {.name = "n1",
                                   .data_dir = dir,
                                   .election_timeout_ms = 500,
                                   .heartbeat_ms = 50,
                                   .store = store};
    struct repl *repl;
    assert_int_equal(repl_start(&options, &repl, &e), ERR_CORRUPT);
    store_close(store);
}

/* --- a survivor ------------------------------------------------------------
 */

static int force(const char *dir, struct errmsg *e)
{
    struct recover_options options = options_for(dir);
    return recover_force_new_cluster(&options, e);
}

static void a_survivor_goes_on_alone_with_everything_it_had(void **state)
{
    (void)state;
    lone_stop(&n);
    struct recover_report before = inspect(n.data);
    struct errmsg e = {""};
    int rv = force(n.data, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
    struct recover_report after = inspect(n.data);
    assert_memory_not_equal(after.cluster_id, before.cluster_id,
                            CLUSTER_ID_SIZE);
    assert_int_equal(after.locations, 1);
    assert_true(after.applied_index >= before.applied_index);
    lone_start(&n, n.data);
    lone_await_lead(&n);
    lone_add_location(&n, "south");
    lone_stop(&n);
    assert_int_equal(inspect(n.data).locations, 2);
}

/* Closed as a kill would: the store is not flushed, the log has more. */
static void what_is_in_the_log_only_is_not_lost(void **state)
{
    (void)state;
    char saved[128], store[128], command[400];
    in_dir(saved, "saved");
    in_dir(store, "data/store");
    lone_stop(&n);
    /* An old store beside the newer log. */
    snprintf(command, sizeof command, "cp -r %s %s", store, saved);
    assert_int_equal(system(command), 0);
    lone_start(&n, n.data);
    lone_await_lead(&n);
    lone_add_location(&n, "south");
    lone_stop(&n);
    snprintf(command, sizeof command, "rm -r %s && mv %s %s", store, saved,
             store);
    assert_int_equal(system(command), 0);
    assert_int_equal(inspect(n.data).locations, 1);
    struct errmsg e = {""};
    assert_int_equal(force(n.data, &e), 0);
    assert_int_equal(inspect(n.data).locations, 2);
}

static void a_forced_cluster_can_be_forced_again(void **state)
{
    (void)state;
    struct errmsg e = {""};
    lone_stop(&n);
    assert_int_equal(force(n.data, &e), 0);
    assert_int_equal(force(n.data, &e), 0);
    assert_int_equal(inspect(n.data).locations, 1);
}

static void put_seed(const struct seed *seed)
{
    char raft[128];
    struct errmsg e = {""};
    in_dir(raft, "data/raft");
    assert_int_equal(durable_remove(raft, &e), 0);
    assert_int_equal(durable_make_directory(raft, &e), 0);
    assert_int_equal(seed_write(raft, seed, &e), 0);
}

/* For the stopped node: a raft directory that begins @after indexes behind the
 * last command that its store has, for a store that has applied @applied. */
static struct seed seed_behind_store(uint64_t after, uint64_t applied)
{
    struct errmsg e = {""};
    struct identity own;
    struct recover_report report = inspect(n.data);
    assert_int_equal(identity_read(n.data, &own, &e), 0);
    struct seed seed = {
        .index = report.applied_index + after,
        .applied_index = report.applied_index + applied,
        .term = report.term,
        .current_term = report.term,
        .configuration_index = 1,
        .member_count = 1,
        .members = {{.id = own.raft_id,
                     .address = "n1=localhost:0",
                     .role = 1}},
    };
    memcpy(seed.cluster_id, own.cluster_id, CLUSTER_ID_SIZE);
    return seed;
}

/* What a node fetches when it joins often ends in entries that are no commands,
 * as the one that let it in. */
static void a_survivor_that_has_just_joined_is_not_behind(void **state)
{
    (void)state;
    char saved[128], store[128], command[400];
    struct errmsg e = {""};
    in_dir(saved, "saved");
    in_dir(store, "data/store");
    lone_stop(&n);
    struct seed seed = seed_behind_store(2, 0);
    put_seed(&seed);
    snprintf(command, sizeof command, "cp -r %s %s", store, saved);
    assert_int_equal(system(command), 0);
    atomic_store(&n.leads, false);
    lone_start(&n, n.data);
    lone_await_lead(&n);
    lone_add_location(&n, "south");
    lone_stop(&n);
    /* Killed before its first flush. */
    snprintf(command, sizeof command, "rm -r %s && mv %s %s", store, saved,
             store);
    assert_int_equal(system(command), 0);
    assert_int_equal(inspect(n.data).locations, 1);
    int rv = force(n.data, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
    assert_int_equal(inspect(n.data).locations, 2);
}

static void a_survivor_without_an_entry_behind_its_seed_is_whole(void **state)
{
    (void)state;
    struct errmsg e = {""};
    lone_stop(&n);
    struct seed seed = seed_behind_store(2, 0);
    put_seed(&seed);
    assert_int_equal(force(n.data, &e), 0);
    assert_int_equal(inspect(n.data).locations, 1);
}

static void a_survivor_whose_store_lacks_commands_is_refused(void **state)
{
    (void)state;
    struct errmsg e = {""};
    lone_stop(&n);
    struct seed seed = seed_behind_store(2, 1);
    put_seed(&seed);
    assert_int_equal(force(n.data, &e), ERR_BEHIND);
    assert_non_null(strstr(e.text, "take another survivor"));
}

/* A store that was flushed once more before it was copied: what it holds behind
 * the seed is committed, no trace of a log that lost its end. */
static void a_store_ahead_of_its_seed_is_no_lost_log(void **state)
{
    (void)state;
    lone_stop(&n);
    struct seed seed = seed_behind_store(0, 0);
    assert_true(seed.index > 1);
    seed.index--;
    put_seed(&seed);
    atomic_store(&n.leads, false);
    lone_start(&n, n.data);
    lone_await_lead(&n);
}

static void a_copy_that_had_come_is_not_thrown_away(void **state)
{
    (void)state;
    char from[128], to[128];
    struct errmsg e = {""};
    struct identity own;
    lone_stop(&n);
    in_dir(to, "data/next");
    assert_int_equal(mkdir(to, 0700), 0);
    assert_int_equal(identity_read(n.data, &own, &e), 0);
    assert_int_equal(identity_save(to, &own, &e), 0);
    in_dir(from, "data/store");
    in_dir(to, "data/next/store");
    assert_int_equal(rename(from, to), 0);
    in_dir(from, "data/raft");
    in_dir(to, "data/next/raft");
    assert_int_equal(rename(from, to), 0);
    in_dir(to, "data/next/complete");
    assert_int_equal(durable_write(to, NULL, 0, &e), 0);
    int rv = force(n.data, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
    assert_int_equal(inspect(n.data).locations, 1);
}

static void an_empty_directory_is_nothing_to_recover(void **state)
{
    (void)state;
    char dir[128];
    struct errmsg e = {""};
    in_dir(dir, "nothing");
    assert_int_equal(force(dir, &e), ERR_INVALID);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(force(dir, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "no node's data directory"));
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_directory_in_use_is_not_looked_into),
        CASE(a_stopped_directory_says_what_it_holds),
        CASE(a_restored_backup_is_a_new_cluster_with_the_same_state),
        CASE(a_backup_is_restored_into_an_empty_directory_only),
        CASE(a_file_that_is_no_backup_leaves_nothing),
        CASE(a_restore_that_was_cut_leaves_no_node),
        CASE(a_survivor_goes_on_alone_with_everything_it_had),
        CASE(what_is_in_the_log_only_is_not_lost),
        CASE(a_forced_cluster_can_be_forced_again),
        CASE(a_survivor_that_has_just_joined_is_not_behind),
        CASE(a_survivor_without_an_entry_behind_its_seed_is_whole),
        CASE(a_survivor_whose_store_lacks_commands_is_refused),
        CASE(a_store_ahead_of_its_seed_is_no_lost_log),
        CASE(a_copy_that_had_come_is_not_thrown_away),
        CASE(an_empty_directory_is_nothing_to_recover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
