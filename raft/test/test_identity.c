#define _GNU_SOURCE /* nftw */
#include "raft/identity.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];
static struct errmsg e;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/holdfast-identity-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void path_of(char *out, size_t size, const char *name)
{
    snprintf(out, size, "%s/%s", dir, name);
}

static void write_file(const char *name, const void *data, size_t size)
{
    char path[256];
    path_of(path, sizeof path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    close(fd);
}

static size_t read_file(const char *name, uint8_t *out, size_t room)
{
    char path[256];
    path_of(path, sizeof path, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, out, room);
    close(fd);
    return (size_t)n;
}

static void a_fresh_directory_gets_an_id_and_keeps_it(void **state)
{
    (void)state;
    struct identity first, second;
    assert_int_equal(identity_open(dir, &first, &e), 0);
    assert_int_not_equal(first.raft_id, 0);
    assert_false(identity_is_bootstrapped(&first));
    assert_int_equal(identity_open(dir, &second, &e), 0);
    assert_int_equal(first.raft_id, second.raft_id);
}

static void a_bootstrapped_directory_is_found_as_it_was(void **state)
{
    (void)state;
    struct identity id, again;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    memset(id.cluster_id, 7, sizeof id.cluster_id);
    write_file("raft/metadata1", "x", 1);
    assert_int_equal(identity_save(dir, &id, &e), 0);
    assert_int_equal(identity_open(dir, &again, &e), 0);
    assert_memory_equal(&id, &again, sizeof id);
    assert_true(identity_is_bootstrapped(&again));
}

static void a_cut_bootstrap_is_wiped_and_done_again_under_its_id(void **state)
{
    (void)state;
    struct identity id, again;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    write_file("raft/metadata1", "x", 1);
    write_file("raft/open-1", "x", 1);
    assert_int_equal(identity_open(dir, &again, &e), 0);
    assert_int_equal(id.raft_id, again.raft_id);
    char path[256];
    path_of(path, sizeof path, "raft/open-1");
    assert_int_equal(access(path, F_OK), -1);
}

static void a_cluster_id_without_a_log_is_damage(void **state)
{
    (void)state;
    struct identity id;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    memset(id.cluster_id, 7, sizeof id.cluster_id);
    assert_int_equal(identity_save(dir, &id, &e), 0);
    assert_int_equal(identity_open(dir, &id, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "wipe"));
}

static void a_log_without_an_identity_is_damage(void **state)
{
    (void)state;
    struct identity id;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    write_file("raft/metadata1", "x", 1);
    char path[256];
    path_of(path, sizeof path, "identity");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(identity_open(dir, &id, &e), ERR_CORRUPT);
    assert_non_null(strstr(e.text, "identity"));
}

static void every_flipped_byte_and_every_cut_is_seen(void **state)
{
    (void)state;
    struct identity id, again;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    uint8_t good[64], bad[64];
    size_t size = read_file("identity", good, sizeof good);
    assert_int_equal(size, IDENTITY_SIZE);
    for (size_t i = 0; i < size; i++) {
        memcpy(bad, good, size);
        bad[i] ^= 0x10;
        write_file("identity", bad, size);
        assert_true(identity_open(dir, &again, &e) < 0);
        write_file("identity", good, i);
        assert_int_equal(identity_open(dir, &again, &e), ERR_CORRUPT);
    }
    write_file("identity", good, size);
    assert_int_equal(identity_open(dir, &again, &e), 0);
    assert_int_equal(again.raft_id, id.raft_id);
}

static void a_newer_format_is_named_as_such(void **state)
{
    (void)state;
    struct identity id;
    assert_int_equal(identity_open(dir, &id, &e), 0);
    uint8_t data[64];
    size_t size = read_file("identity", data, sizeof data);
    data[8] = 2;
    write_file("identity", data, size);
    assert_int_equal(identity_open(dir, &id, &e), ERR_NEWER);
    assert_non_null(strstr(e.text, "newer version"));
}

static void a_directory_is_locked_once(void **state)
{
    (void)state;
    int first, second;
    assert_int_equal(identity_lock(dir, &first, &e), 0);
    assert_int_equal(identity_lock(dir, &second, &e), ERR_IO);
    close(first);
    assert_int_equal(identity_lock(dir, &second, &e), 0);
    close(second);
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_fresh_directory_gets_an_id_and_keeps_it),
        CASE(a_bootstrapped_directory_is_found_as_it_was),
        CASE(a_cut_bootstrap_is_wiped_and_done_again_under_its_id),
        CASE(a_cluster_id_without_a_log_is_damage),
        CASE(a_log_without_an_identity_is_damage),
        CASE(every_flipped_byte_and_every_cut_is_seen),
        CASE(a_newer_format_is_named_as_such),
        CASE(a_directory_is_locked_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
