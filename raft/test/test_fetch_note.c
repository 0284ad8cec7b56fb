/* The note that a copy of the store is wanted. */
#define _GNU_SOURCE /* mkdtemp */
#include "raft/fetch_note.h"

#include "base/durable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[64];
static struct errmsg e;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/holdfast-note-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    return durable_remove(dir, &e);
}

static struct fetch_note example(void)
{
    struct fetch_note note = {.cluster_id = {0xab, 1, 2, 0xff},
                              .index = 1234567890123,
                              .member_count = 2,
                              .members = {"a=host.a:7600", "[::1]:7601"}};
    return note;
}

static void a_note_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct fetch_note note = example(), again;
    bool found = true;
    assert_int_equal(fetch_note_read(dir, &again, &found, &e), 0);
    assert_false(found);
    assert_int_equal(fetch_note_write(dir, &note, &e), 0);
    assert_int_equal(fetch_note_read(dir, &again, &found, &e), 0);
    assert_true(found);
    assert_memory_equal(&again, &note, sizeof note);
    note.index = 0;
    note.member_count = 1;
    memset(note.members[1], 0, sizeof note.members[1]);
    assert_int_equal(fetch_note_write(dir, &note, &e), 0);
    assert_int_equal(fetch_note_read(dir, &again, &found, &e), 0);
    assert_memory_equal(&again, &note, sizeof note);
}

static void check_damaged(const char *text)
{
    char path[DURABLE_PATH_SIZE];
    struct fetch_note note;
    bool found;
    assert_int_equal(durable_path(path, dir, "fetch", &e), 0);
    assert_int_equal(durable_write(path, text, strlen(text), &e), 0);
    assert_int_equal(fetch_note_read(dir, &note, &found, &e), ERR_CORRUPT);
    assert_false(found);
    assert_non_null(strstr(e.text, path));
}

#define ID "000102030405060708090a0b0c0d0e0f"

static void a_note_that_is_none_is_refused(void **state)
{
    (void)state;
    check_damaged("holdfast fetch 2\ncluster " ID "\nmember a=b:1\n");
    check_damaged("holdfast fetch 1\ncluster " ID "\n");
    check_damaged("holdfast fetch 1\nmember a=b:1\n");
    check_damaged("holdfast fetch 1\ncluster " ID "0\nmember a=b:1\n");
    check_damaged("holdfast fetch 1\ncluster 00\nmember a=b:1\n");
    check_damaged("holdfast fetch 1\ncluster " ID "\nmember a=b:1");
    check_damaged("holdfast fetch 1\ncluster " ID "\nindex x\nmember a=b:1\n");
    check_damaged("holdfast fetch 1\ncluster " ID "\nmember \n");
    check_damaged("holdfast fetch 1\ncluster " ID "\nwhat\nmember a=b:1\n");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_note_is_read_as_it_was_written),
        CASE(a_note_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
