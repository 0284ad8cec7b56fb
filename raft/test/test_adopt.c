/* A data directory is taken over whole, whenever the process is killed. */
#define _GNU_SOURCE /* mkdtemp */
#include "raft/adopt.h"

#include "base/durable.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char dir[64];
static struct errmsg e;

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/holdfast-adopt-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    return durable_remove(dir, &e);
}

static void path_of(char out[DURABLE_PATH_SIZE], const char *name)
{
    assert_int_equal(durable_path(out, dir, name, &e), 0);
}

static void make_directory(const char *name)
{
    char path[DURABLE_PATH_SIZE];
    path_of(path, name);
    assert_int_equal(durable_make_directory(path, &e), 0);
}

static void put(const char *name, const char *text)
{
    char path[DURABLE_PATH_SIZE];
    path_of(path, name);
    assert_int_equal(durable_write(path, text, strlen(text), &e), 0);
}

static bool is_there(const char *name)
{
    char path[DURABLE_PATH_SIZE];
    path_of(path, name);
    return durable_exists(path);
}

static bool holds(const char *name, const char *text)
{
    char path[DURABLE_PATH_SIZE], got[64] = "";
    path_of(path, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    size_t size = fread(got, 1, sizeof got - 1, f);
    fclose(f);
    return size == strlen(text) && memcmp(got, text, size) == 0;
}

static void make_own(void)
{
    make_directory("raft");
    make_directory("store");
    put("raft/metadata1", "old log");
    put("store/data.mdb", "old store");
    put("identity", "old identity");
    put("admin-token", "token");
}

static void make_next(bool complete)
{
    make_directory("next");
    make_directory("next/raft");
    make_directory("next/store");
    put("next/raft/metadata1", "new log");
    put("next/store/data.mdb", "new store");
    put("next/identity", "new identity");
    put("next/copy", "what it was made of");
    put("fetch", "a note");
    if (complete)
        put("next/complete", "");
}

static void check_own(const char *age)
{
    char text[32];
    snprintf(text, sizeof text, "%s log", age);
    assert_true(holds("raft/metadata1", text));
    snprintf(text, sizeof text, "%s store", age);
    assert_true(holds("store/data.mdb", text));
    snprintf(text, sizeof text, "%s identity", age);
    assert_true(holds("identity", text));
    assert_true(holds("admin-token", "token"));
}

static bool count_down(void *arg)
{
    int *left = arg;
    return (*left)-- > 0;
}

static void
a_kill_between_any_two_steps_is_finished_by_the_next_start(void **state)
{
    (void)state;
    int steps = 0;
    for (int rv = ERR_CLOSED; rv != 0; steps++) {
        make_own();
        make_next(true);
        int left = steps;
        rv = adopt_step_by_step(dir, count_down, &left, &e);
        assert_true(rv == 0 || rv == ERR_CLOSED);
        /* The old data is thrown away only when all of the new is ours. */
        if (!is_there("fetch"))
            check_own("new");
        assert_int_equal(repl_adopt(dir, &e), 0);
        check_own("new");
        assert_false(is_there("next"));
        assert_false(is_there("fetch"));
        /* And again, as every start does. */
        assert_int_equal(repl_adopt(dir, &e), 0);
        check_own("new");
        assert_int_equal(durable_remove(dir, &e), 0);
        assert_int_equal(durable_make_directory(dir, &e), 0);
    }
    assert_true(steps > 8);
}

static void a_kill_may_come_again_and_again(void **state)
{
    (void)state;
    make_own();
    make_next(true);
    int rv = ERR_CLOSED;
    for (int i = 0; i < 20 && rv != 0; i++) {
        int left = 1;
        rv = adopt_step_by_step(dir, count_down, &left, &e);
    }
    assert_int_equal(rv, 0);
    check_own("new");
    assert_false(is_there("next"));
}

static void a_fresh_directory_takes_all(void **state)
{
    (void)state;
    put("admin-token", "token");
    make_next(true);
    assert_int_equal(repl_adopt(dir, &e), 0);
    check_own("new");
}

static void what_is_not_complete_is_not_taken(void **state)
{
    (void)state;
    make_own();
    make_next(false);
    assert_int_equal(repl_adopt(dir, &e), 0);
    check_own("old");
    assert_true(holds("next/store/data.mdb", "new store")); /* goes on */
    char path[DURABLE_PATH_SIZE];
    path_of(path, "fetch");
    assert_int_equal(durable_remove(path, &e), 0);
    assert_int_equal(repl_adopt(dir, &e), 0);
    check_own("old");
    assert_false(is_there("next")); /* nobody wants it any more */
}

static void an_ordinary_start_finds_nothing_to_do(void **state)
{
    (void)state;
    make_own();
    assert_int_equal(repl_adopt(dir, &e), 0);
    check_own("old");
    assert_int_equal(repl_adopt("/tmp/holdfast-not-there", &e), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_kill_between_any_two_steps_is_finished_by_the_next_start),
        CASE(a_kill_may_come_again_and_again),
        CASE(a_fresh_directory_takes_all),
        CASE(what_is_not_complete_is_not_taken),
        CASE(an_ordinary_start_finds_nothing_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
