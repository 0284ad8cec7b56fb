/* The files of the spool on disk: what is cut, what is refused, what goes. */
#include "gateway/spool_dir.h"

#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MAX = 4 * 1024 * 1024 };

static const uint8_t machine[MACHINE_HASH_SIZE] = "machine";
static char path[64];
static struct spool_dir dir;
static struct errmsg error;
static char told[4096]; /* of all records that were read */

static int fresh(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/holdfast-spool-XXXXXX");
    error.text[0] = '\0';
    return mkdtemp(path) == NULL ||
           spool_dir_open(&dir, path, MAX, "gw", machine, &error) != 0;
}

static int clean(void **state)
{
    (void)state;
    spool_dir_close(&dir);
    return durable_remove(path, &error);
}

static int tell(void *arg, struct bytes payload, struct errmsg *e)
{
    size_t at = strlen(told);
    (void)arg;
    (void)e;
    snprintf(told + at, sizeof told - at, "%.*s ",
             payload.size > 20 ? 1 : (int)payload.size,
             (const char *)payload.data);
    return 0;
}

/* As after a restart. *session as spool_dir_read says. */
static int reopen(uint64_t *session)
{
    spool_dir_close(&dir);
    told[0] = '\0';
    *session = 0;
    int rv = spool_dir_open(&dir, path, MAX, "gw", machine, &error);
    return rv == 0 ? spool_dir_read(&dir, tell, NULL, session, &error) : rv;
}

static void add(uint64_t session, uint64_t first, const char *text)
{
    assert_int_equal(
        spool_dir_append(&dir, session, first, bytes_of_string(text), &error),
        0);
}

/* A record that fills half a segment. */
static int add_large(uint64_t session, uint64_t first)
{
    static uint8_t large[MAX / 16 / 2];
    memset(large, 'L', sizeof large);
    return spool_dir_append(&dir, session, first,
                            (struct bytes){large, sizeof large}, &error);
}

static size_t files(glob_t *found)
{
    char pattern[96];
    snprintf(pattern, sizeof pattern, "%s/*.spool", path);
    return glob(pattern, 0, NULL, found) == 0 ? found->gl_pathc : 0;
}

static size_t file_count(void)
{
    glob_t found;
    size_t count = files(&found);
    if (count > 0)
        globfree(&found);
    return count;
}

/* The oldest (0) or a later file. */
static int open_file(size_t at)
{
    glob_t found;
    assert_true(files(&found) > at);
    int fd = open(found.gl_pathv[at], O_RDWR);
    assert_true(fd >= 0);
    globfree(&found);
    return fd;
}

static void flip_byte(size_t at, off_t offset)
{
    int fd = open_file(at);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, offset), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
    close(fd);
}

static off_t file_size(size_t at)
{
    int fd = open_file(at);
    off_t size = lseek(fd, 0, SEEK_END);
    close(fd);
    return size;
}

static void what_was_added_is_there_after_a_restart(void **state)
{
    uint64_t session;
    (void)state;
    assert_int_equal(reopen(&session), 0);
    assert_true(session == 0);
    add(7, 1, "one");
    add(7, 2, "two");
    assert_int_equal(reopen(&session), 0);
    assert_true(session == 7);
    assert_string_equal(told, "one two ");
    add(7, 3, "three"); /* in a file of its own */
    assert_int_equal(file_count(), 2);
    assert_int_equal(reopen(&session), 0);
    assert_string_equal(told, "one two three ");
}

static void a_new_session_takes_the_place_of_the_old(void **state)
{
    uint64_t session;
    (void)state;
    add(7, 1, "old");
    add(9, 1, "new");
    assert_int_equal(file_count(), 1);
    assert_int_equal(reopen(&session), 0);
    assert_true(session == 9);
    assert_string_equal(told, "new ");
}

static void what_is_acknowledged_goes_by_whole_files(void **state)
{
    uint64_t session;
    (void)state;
    for (uint64_t n = 1; n <= 9; n++)
        assert_int_equal(add_large(7, n), 0);
    size_t count = file_count();
    assert_true(count >= 3);
    spool_dir_acknowledge(&dir, 1);
    assert_int_equal(file_count(), count);
    spool_dir_acknowledge(&dir, 3);
    assert_true(file_count() < count);
    spool_dir_acknowledge(&dir, 9);
    assert_int_equal(file_count(), 1); /* which is written to */
    assert_true(dir.bytes == (uint64_t)file_size(0));
    assert_int_equal(reopen(&session), 0);
    assert_true(session == 7);
}

static void no_more_is_kept_than_allowed(void **state)
{
    uint64_t n = 1;
    (void)state;
    int rv = 0;
    while (rv == 0 && n < 100)
        rv = add_large(7, n++);
    assert_int_equal(rv, ERR_LIMIT);
    assert_non_null(strstr(error.text, "--spool-bytes"));
    assert_true(dir.bytes <= MAX && dir.bytes > MAX / 2);
    assert_int_equal(add_large(8, 1), 0); /* in place of the other */
    assert_int_equal(file_count(), 1);
    assert_true(dir.bytes < MAX / 2);
}

static void a_torn_tail_is_cut_at_every_length(void **state)
{
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    off_t whole = file_size(0);
    add(7, 2, "two");
    for (off_t size = file_size(0) - 1; size >= whole; size--) {
        int fd = open_file(0);
        assert_int_equal(ftruncate(fd, size), 0);
        close(fd);
        assert_int_equal(reopen(&session), 0);
        assert_true(session == 7);
        assert_string_equal(told, "one ");
        assert_true(file_size(0) == whole);
    }
    /* What a file system may show of blocks that were never written. */
    int fd = open_file(0);
    assert_int_equal(ftruncate(fd, whole + 4096), 0);
    close(fd);
    assert_int_equal(reopen(&session), 0);
    assert_string_equal(told, "one ");
    add(7, 2, "again");
    assert_int_equal(reopen(&session), 0);
    assert_string_equal(told, "one again ");
}

static void a_file_that_was_never_synced_is_nothing(void **state)
{
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    assert_int_equal(reopen(&session), 0);
    add(7, 2, "two");
    for (off_t size = SPOOL_FILE_HEADER_SIZE; size >= 0; size -= 16) {
        int fd = open_file(1);
        assert_int_equal(ftruncate(fd, size), 0);
        close(fd);
        assert_int_equal(reopen(&session), 0);
        assert_string_equal(told, "one ");
    }
    add(7, 2, "again");
    assert_int_equal(reopen(&session), 0);
    assert_string_equal(told, "one again ");
}

static void damage_before_the_tail_is_told_with_its_place(void **state)
{
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    off_t at = file_size(0) - 1; /* in the first payload */
    add(7, 2, "two");
    add(7, 3, "three");
    flip_byte(0, at);
    assert_int_equal(reopen(&session), ERR_CORRUPT);
    assert_non_null(strstr(error.text, "damaged at byte 32"));
    assert_int_equal(spool_dir_void(&dir, &error), 0);
    assert_int_equal(reopen(&session), 0);
    assert_true(session == 0);
}

static void every_damaged_byte_of_an_older_file_is_noticed(void **state)
{
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    assert_int_equal(reopen(&session), 0);
    add(7, 2, "two");
    for (off_t at = 0; at < file_size(0); at++) {
        flip_byte(0, at);
        int rv = reopen(&session);
        /* The last record of a file could be a torn tail, whose number would be
         * missing: only the reader of the numbers can tell. */
        if (rv == 0)
            assert_string_equal(told, "two ");
        else
            assert_true(rv == ERR_CORRUPT || rv == ERR_NEWER);
        clean(NULL);
        fresh(NULL);
        add(7, 1, "one");
        assert_int_equal(reopen(&session), 0);
        add(7, 2, "two");
    }
}

static void a_record_of_another_file_is_not_taken_for_one(void **state)
{
    uint64_t session;
    uint8_t record[64];
    (void)state;
    add(7, 1, "one");
    int fd = open_file(0);
    ssize_t size = pread(fd, record, sizeof record, SPOOL_FILE_HEADER_SIZE);
    close(fd);
    assert_true(size > 0);
    add(8, 1, "new");
    fd = open_file(0);
    assert_int_equal(pwrite(fd, record, (size_t)size, file_size(0)), size);
    close(fd);
    assert_int_equal(reopen(&session), 0);
    assert_string_equal(told, "new ");
}

static void a_damaged_note_makes_a_new_session(void **state)
{
    char note[96];
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    snprintf(note, sizeof note, "%s/session", path);
    for (off_t at = 0; at < 50; at++) {
        int fd = open(note, O_RDWR);
        uint8_t byte;
        if (pread(fd, &byte, 1, at) != 1) {
            close(fd);
            break;
        }
        byte ^= 0x20;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        int rv = reopen(&session);
        if (rv == 0)
            assert_true(session == 0);
        else /* its version number */
            assert_int_equal(rv, ERR_NEWER);
        clean(NULL);
        fresh(NULL);
        add(7, 1, "one");
        snprintf(note, sizeof note, "%s/session", path);
    }
}

static void two_agents_do_not_share_a_directory(void **state)
{
    struct spool_dir other;
    (void)state;
    assert_int_equal(spool_dir_open(&other, path, MAX, "gw", machine, &error),
                     ERR_EXISTS);
    assert_non_null(strstr(error.text, "used by another agent"));
    spool_dir_close(&other);
}

static void another_gateways_directory_is_refused(void **state)
{
    (void)state;
    add(7, 1, "one");
    spool_dir_close(&dir);
    assert_int_equal(spool_dir_open(&dir, path, MAX, "other", machine, &error),
                     ERR_FOREIGN);
    assert_non_null(strstr(error.text, "\"gw\""));
}

static void a_copy_on_another_machine_begins_anew(void **state)
{
    static const uint8_t elsewhere[MACHINE_HASH_SIZE] = "elsewhere";
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    spool_dir_close(&dir);
    assert_int_equal(spool_dir_open(&dir, path, MAX, "gw", elsewhere, &error),
                     0);
    assert_int_equal(spool_dir_read(&dir, tell, NULL, &session, &error), 0);
    assert_true(session == 0);
    assert_int_equal(file_count(), 0);
}

static void a_directory_that_cannot_be_made_is_named(void **state)
{
    struct spool_dir other;
    (void)state;
    assert_int_equal(
        spool_dir_open(&other, "/dev/null/spool", MAX, "gw", machine, &error),
        ERR_IO);
    assert_non_null(strstr(error.text, "--spool-dir: create /dev/null/spool"));
    spool_dir_close(&other);
}

static void what_others_put_there_stays(void **state)
{
    char stray[96];
    uint64_t session;
    (void)state;
    add(7, 1, "one");
    snprintf(stray, sizeof stray, "%s/notes.txt", path);
    int fd = open(stray, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(reopen(&session), 0);
    assert_true(durable_exists(stray));
}

static void put_file(const char *name)
{
    char file[96];
    snprintf(file, sizeof file, "%s/%s", path, name);
    int fd = open(file, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void remove_file(const char *name)
{
    char file[96];
    snprintf(file, sizeof file, "%s/%s", path, name);
    assert_int_equal(unlink(file), 0);
}

static void a_directory_of_others_is_refused_and_not_touched(void **state)
{
    static const char *const names[] = {"raft", "notes.txt",
                                        "0000000000000007-1.spool"};
    char file[96];
    uint64_t session;
    (void)state;
    snprintf(file, sizeof file, "%s/lock", path);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        spool_dir_close(&dir);
        remove_file("lock");
        put_file(names[i]);
        put_file("session"); /* no note of ours */
        assert_int_equal(reopen(&session), ERR_FOREIGN);
        assert_non_null(strstr(error.text, names[i]));
        assert_false(durable_exists(file));
        remove_file(names[i]);
        remove_file("session");
        assert_int_equal(reopen(&session), 0);
    }
}

static void what_an_agent_left_before_its_first_record_is_ours(void **state)
{
    uint64_t session;
    (void)state;
    put_file("session.tmp");
    put_file("session");
    assert_int_equal(reopen(&session), 0); /* with the lock */
    remove_file("session");
    put_file("0000000000000007-0000000000000001.spool");
    put_file("notes.txt");
    assert_int_equal(reopen(&session), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fresh, clean)
    const struct CMUnitTest tests[] = {
        CASE(what_was_added_is_there_after_a_restart),
        CASE(a_new_session_takes_the_place_of_the_old),
        CASE(what_is_acknowledged_goes_by_whole_files),
        CASE(no_more_is_kept_than_allowed),
        CASE(a_torn_tail_is_cut_at_every_length),
        CASE(a_file_that_was_never_synced_is_nothing),
        CASE(damage_before_the_tail_is_told_with_its_place),
        CASE(every_damaged_byte_of_an_older_file_is_noticed),
        CASE(a_record_of_another_file_is_not_taken_for_one),
        CASE(a_damaged_note_makes_a_new_session),
        CASE(two_agents_do_not_share_a_directory),
        CASE(another_gateways_directory_is_refused),
        CASE(a_copy_on_another_machine_begins_anew),
        CASE(a_directory_that_cannot_be_made_is_named),
        CASE(what_others_put_there_stays),
        CASE(a_directory_of_others_is_refused_and_not_touched),
        CASE(what_an_agent_left_before_its_first_record_is_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
