/* Raft directories that lost something: the end of the log cut at any byte, a
 * segment, a vote, a snapshot. What a start finds is a prefix of what was
 * written, or it refuses and names the place; it never votes with less than it
 * promised by. */
#define _GNU_SOURCE /* nftw */
#include "raft/disk_log.h"
#include "raft/repl.h"
#include "raft/test/cluster.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { RECORDS = 40, HEAD_SIZE = 64 * 1024, PATH_SIZE = 512 };

static struct cluster c;

static void submit_many(size_t count)
{
    for (uint64_t n = 1; n <= count; n++)
        assert_int_equal(cluster_submit_soon(&c, 0, n, 50 + n, NULL), 0);
}

/* --- files ---------------------------------------------------------------- */

static size_t read_file(const char *path, uint8_t *out, size_t size)
{
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, out, size);
    close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void write_file(const char *path, const uint8_t *data, size_t size,
                       off_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    assert_int_equal(ftruncate(fd, length), 0);
    close(fd);
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

/* Copies the files of a flat directory, sparsely: only what begins them is not
 * zero in a segment that was just begun. */
static char segment[PATH_SIZE]; /* the one that was written */

static void copy_directory(const char *from, const char *to)
{
    static uint8_t data[HEAD_SIZE];
    DIR *dir = opendir(from);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        /* Of the open segments only the one that was written. */
        if (entry->d_name[0] == '.' ||
            (strncmp(entry->d_name, "open-", 5) == 0 &&
             strcmp(entry->d_name, strrchr(segment, '/') + 1) != 0))
            continue;
        char source[PATH_SIZE], target[PATH_SIZE];
        snprintf(source, sizeof source, "%.300s/%.200s", from, entry->d_name);
        snprintf(target, sizeof target, "%.300s/%.200s", to, entry->d_name);
        struct stat st;
        assert_int_equal(stat(source, &st), 0);
        write_file(target, data, read_file(source, data, sizeof data),
                   st.st_size);
    }
    closedir(dir);
}

/* The last file, by the numbers in its name, of those that begin with @prefix
 * and end with a digit; false: none. */
static bool last_file(const char *directory, const char *prefix,
                      char out[PATH_SIZE])
{
    char best[256] = "";
    DIR *dir = opendir(directory);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t length = strlen(entry->d_name);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            strchr("0123456789", entry->d_name[length - 1]) != NULL &&
            (length > strlen(best) ||
             (length == strlen(best) && strcmp(entry->d_name, best) > 0)))
            strcpy(best, entry->d_name);
    }
    closedir(dir);
    snprintf(out, PATH_SIZE, "%.300s/%.200s", directory, best);
    return best[0] != '\0';
}

static void raft_dir(char out[PATH_SIZE])
{
    snprintf(out, PATH_SIZE, "%s/raft", c.nodes[0].dir);
}

/* --- the end of the log --------------------------------------------------- */

/* A node that was killed: its segments are open. */
static void make_killed(void)
{
    cluster_init(&c, 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        cluster_start(&c, 0);
        cluster_leader(&c);
        submit_many(RECORDS);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static struct disk_log whole;
static char killed[PATH_SIZE]; /* its raft directory */
static uint8_t head[HEAD_SIZE];
static size_t used;  /* of the head */
static off_t closed; /* size of the segment once libraft has closed it */

/* What a start makes of the segment @data: how many entries, a prefix. */
static size_t entries_of(const uint8_t *data, off_t length)
{
    char dir[] = "/tmp/holdfast-torn-XXXXXX";
    assert_non_null(mkdtemp(dir));
    copy_directory(killed, dir);
    char file[PATH_SIZE];
    snprintf(file, sizeof file, "%.60s%.200s", dir, strrchr(segment, '/'));
    write_file(file, data, length < HEAD_SIZE ? (size_t)length : HEAD_SIZE,
               length);
    struct disk_log log;
    struct errmsg e = {""};
    int rv = disk_log_read(dir, &log, &e);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (rv != 0) {
        assert_true(e.text[0] != '\0');
        return 0;
    }
    assert_true(log.count <= whole.count);
    for (size_t i = 0; i < log.count; i++) {
        const struct raft_entry *is = &log.entries[i], *was = &whole.entries[i];
        assert_int_equal(is->term, was->term);
        assert_int_equal(is->buf.len, was->buf.len);
        assert_memory_equal(is->buf.base, was->buf.base, is->buf.len);
    }
    size_t count = log.count;
    disk_log_deinit(&log);
    return count;
}

static int set_up_killed(void **state)
{
    (void)state;
    make_killed();
    raft_dir(killed);
    if (!last_file(killed, "open-1", segment))
        return -1;
    assert_int_equal(read_file(segment, head, sizeof head), sizeof head);
    for (used = sizeof head; used > 0 && head[used - 1] == 0;)
        used--;
    char dir[] = "/tmp/holdfast-torn-XXXXXX";
    assert_non_null(mkdtemp(dir));
    copy_directory(killed, dir);
    struct errmsg e;
    int rv = disk_log_read(dir, &whole, &e);
    char file[PATH_SIZE];
    struct stat st;
    assert_true(last_file(dir, "0", file));
    assert_int_equal(stat(file, &st), 0);
    closed = st.st_size;
    assert_true(closed >= (off_t)used && closed < HEAD_SIZE);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return rv != 0 || whole.count < RECORDS || used < 4096 ? -1 : 0;
}

static int tear_down_killed(void **state)
{
    (void)state;
    disk_log_deinit(&whole);
    cluster_deinit(&c);
    return 0;
}

static void a_tail_torn_at_any_byte_leaves_a_prefix(void **state)
{
    (void)state;
    static uint8_t data[HEAD_SIZE];
    size_t before = 0;
    for (size_t cut = 0; cut <= used; cut += 29) {
        memcpy(data, head, cut);
        memset(data + cut, 0, sizeof data - cut);
        size_t count = entries_of(data, 8 << 20);
        /* Only what the torn write held may go. */
        assert_true(count >= before);
        before = count;
    }
    assert_true(entries_of(head, 8 << 20) == whole.count);
}

static void a_segment_cut_short_leaves_a_prefix_or_is_refused(void **state)
{
    (void)state;
    for (size_t cut = 1; cut <= used; cut += 61)
        (void)entries_of(head, (off_t)cut);
}

/* Killed at a start, between the cut and the new name. */
static void a_segment_that_was_about_to_be_closed_is_whole(void **state)
{
    (void)state;
    assert_true(entries_of(head, closed) == whole.count);
    assert_int_equal(entries_of(head, closed - 8), 0);
    assert_int_equal(entries_of(head, closed + 8), 0);
}

static void rubbish_in_the_tail_leaves_a_prefix(void **state)
{
    (void)state;
    static uint8_t data[HEAD_SIZE];
    for (size_t at = 8; at < used; at += 59) {
        memcpy(data, head, sizeof data);
        for (size_t i = at; i < at + 40; i++)
            data[i] = (uint8_t)(data[i] * 31 + 17);
        assert_true(entries_of(data, 8 << 20) < whole.count);
    }
}

/* --- what a node refuses to start with ------------------------------------ */

static void start_all(void)
{
    for (size_t i = 0; i < c.count; i++)
        cluster_start(&c, i);
    cluster_leader(&c);
}

static bool has_snapshot(void)
{
    char dir[PATH_SIZE], path[PATH_SIZE];
    raft_dir(dir);
    return last_file(dir, "snapshot-", path);
}

static void make_stopped(size_t nodes)
{
    cluster_init(&c, nodes);
    c.log_entries_max = 16;
    c.tail_entries = 16;
    start_all();
    submit_many(RECORDS);
    /* It is written beside the commands: a busy disk may be behind. */
    WAIT_FOR(has_snapshot(), 30000);
    for (size_t i = 0; i < c.count; i++)
        cluster_stop(&c, i);
}

static int set_up_stopped(void **state)
{
    (void)state;
    make_stopped(1);
    return 0;
}

/* One node alone never votes. */
static int set_up_three(void **state)
{
    (void)state;
    make_stopped(3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    cluster_deinit(&c);
    return 0;
}

static void refuses(const char *word)
{
    struct errmsg e;
    int rv = cluster_try_start(&c, 0, &e);
    if (rv == 0 || strstr(e.text, word) == NULL ||
        strstr(e.text, "rejoin") == NULL)
        print_message("%d: %s\n", rv, e.text);
    assert_true(rv == ERR_CORRUPT || rv == ERR_IO);
    assert_non_null(strstr(e.text, word));
    assert_non_null(strstr(e.text, c.nodes[0].dir));
    assert_non_null(strstr(e.text, "rejoin"));
    assert_null(c.nodes[0].repl);
    /* It changed nothing: the same answer again. */
    assert_int_equal(cluster_try_start(&c, 0, &e), rv);
}

static void change(const char *path, size_t at, size_t size)
{
    static uint8_t data[HEAD_SIZE];
    size_t length = read_file(path, data, sizeof data);
    if (size < length)
        length = size;
    if (at < length)
        data[at] ^= 0x11;
    write_file(path, data, length, (off_t)length);
}

static uint64_t version_of(const char *path)
{
    uint8_t data[32];
    assert_int_equal(read_file(path, data, sizeof data), 32);
    return le64_get(data + 8);
}

/* The vote file that was written last, or before it. */
static void vote_file(bool newest, char out[PATH_SIZE])
{
    char dir[PATH_SIZE - 16], one[PATH_SIZE], two[PATH_SIZE];
    snprintf(dir, sizeof dir, "%s/raft", c.nodes[0].dir);
    snprintf(one, sizeof one, "%.300s/metadata1", dir);
    snprintf(two, sizeof two, "%.300s/metadata2", dir);
    bool first = (version_of(one) > version_of(two)) == newest;
    strcpy(out, first ? one : two);
}

static void a_vote_file_that_was_lost_is_missed(void **state)
{
    (void)state;
    for (int newest = 0; newest < 2; newest++) {
        char path[PATH_SIZE];
        uint8_t kept[32];
        vote_file(newest, path);
        assert_int_equal(read_file(path, kept, sizeof kept), 32);
        assert_int_equal(unlink(path), 0);
        refuses("metadata");
        for (size_t size = 0; size < 32; size += 5) {
            write_file(path, kept, size, (off_t)size);
            refuses("metadata");
        }
        write_file(path, kept, 32, 33);
        refuses("metadata");
        /* Format, version. */
        for (size_t at = 0; at < 16; at += 3) {
            write_file(path, kept, 32, 32);
            change(path, at, 32);
            refuses("metadata");
        }
        write_file(path, kept, 32, 32);
    }
    start_all();
}

static void without_any_vote_file_the_log_betrays_it(void **state)
{
    (void)state;
    char path[PATH_SIZE];
    vote_file(true, path);
    assert_int_equal(unlink(path), 0);
    path[strlen(path) - 1] ^= '1' ^ '2';
    assert_int_equal(unlink(path), 0);
    refuses("metadata");
}

static void a_log_that_lost_its_end_is_refused(void **state)
{
    (void)state;
    char dir[PATH_SIZE], path[PATH_SIZE];
    raft_dir(dir);
    assert_true(last_file(dir, "0000", path));
    assert_int_equal(unlink(path), 0);
    refuses("its end was lost");
}

static void a_damaged_segment_is_refused(void **state)
{
    (void)state;
    char dir[PATH_SIZE], path[PATH_SIZE];
    raft_dir(dir);
    assert_true(last_file(dir, "0000", path));
    change(path, 40, SIZE_MAX);
    refuses("raft");
    change(path, 40, 100);
    refuses("raft");
    /* libraft's automatic recovery would have moved it out of the way. */
    assert_int_equal(access(path, F_OK), 0);
}

static void a_damaged_snapshot_is_refused(void **state)
{
    (void)state;
    char dir[PATH_SIZE], path[PATH_SIZE];
    raft_dir(dir);
    assert_true(last_file(dir, "snapshot-", path));
    strcat(path, ".meta");
    for (size_t at = 0; at < 72; at += 4) {
        change(path, at, SIZE_MAX);
        refuses(".meta");
        change(path, at, SIZE_MAX);
    }
    for (size_t size = 48; size > 0; size -= 12) {
        change(path, SIZE_MAX, size);
        refuses(".meta");
    }
}

static void a_manifest_of_rubbish_is_refused(void **state)
{
    (void)state;
    char dir[PATH_SIZE], path[PATH_SIZE];
    raft_dir(dir);
    assert_true(last_file(dir, "snapshot-", path));
    change(path, 3, SIZE_MAX);
    struct errmsg e = {""};
    assert_true(cluster_try_start(&c, 0, &e) < 0);
    assert_non_null(strstr(e.text, c.nodes[0].dir));
    assert_int_not_equal(atomic_load(&c.nodes[0].fatal_code), 0);
}

#define STOPPED(test)                                                          \
    cmocka_unit_test_setup_teardown(test, set_up_stopped, tear_down)
#define THREE(test)                                                            \
    cmocka_unit_test_setup_teardown(test, set_up_three, tear_down)
#define KILLED(test)                                                           \
    cmocka_unit_test_setup_teardown(test, set_up_killed, tear_down_killed)

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* Before this process has threads: these fork. */
        KILLED(a_tail_torn_at_any_byte_leaves_a_prefix),
        KILLED(a_segment_cut_short_leaves_a_prefix_or_is_refused),
        KILLED(a_segment_that_was_about_to_be_closed_is_whole),
        KILLED(rubbish_in_the_tail_leaves_a_prefix),
        THREE(a_vote_file_that_was_lost_is_missed),
        THREE(without_any_vote_file_the_log_betrays_it),
        STOPPED(a_log_that_lost_its_end_is_refused),
        STOPPED(a_damaged_segment_is_refused),
        STOPPED(a_damaged_snapshot_is_refused),
        STOPPED(a_manifest_of_rubbish_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
