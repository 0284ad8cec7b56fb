#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka wants these four first */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char folder[] = "/tmp/holdfast-file-XXXXXX";

static const char *at(const char *name)
{
    static char path[2][128];
    static unsigned turn;
    char *out = path[turn++ % 2];
    snprintf(out, sizeof path[0], "%s/%s", folder, name);
    return out;
}

static void put(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {"a", "b", "link", "big", "pipe"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(at(names[i]));
    return rmdir(folder);
}

static void a_text_is_read_whole(void **state)
{
    char *text = NULL;
    struct errmsg e;
    (void)state;
    put("a", "one\ntwo\n", 8);
    assert_int_equal(file_read_text(at("a"), &text, &e), 0);
    assert_string_equal(text, "one\ntwo\n");
    free(text);
}

static void what_is_no_text_is_refused_by_name(void **state)
{
    char *text = NULL;
    struct errmsg e;
    (void)state;
    assert_int_equal(file_read_text(at("none"), &text, &e), ERR_NOTFOUND);
    assert_non_null(strstr(e.text, "/none"));
    put("a", "", 0);
    assert_int_equal(file_read_text(at("a"), &text, &e), ERR_INVALID);
    assert_non_null(strstr(e.text, "empty"));
    put("a", "x\0y", 3);
    assert_int_equal(file_read_text(at("a"), &text, &e), ERR_INVALID);
    assert_int_equal(file_read_text(folder, &text, &e), ERR_IO);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_int_equal(file_read_text(at("pipe"), &text, &e), ERR_INVALID);
    assert_null(text);
}

static void the_limit_is_exact(void **state)
{
    static char big[FILE_TEXT_SIZE_MAX + 1];
    char *text = NULL;
    struct errmsg e;
    (void)state;
    memset(big, 'x', sizeof big);
    put("big", big, FILE_TEXT_SIZE_MAX);
    assert_int_equal(file_read_text(at("big"), &text, &e), 0);
    assert_int_equal(strlen(text), FILE_TEXT_SIZE_MAX);
    free(text);
    put("big", big, FILE_TEXT_SIZE_MAX + 1);
    assert_int_equal(file_read_text(at("big"), &text, &e), ERR_INVALID);
}

static void a_mark_changes_when_the_file_is_replaced(void **state)
{
    (void)state;
    put("a", "1", 1);
    put("b", "1", 1);
    assert_int_equal(symlink(at("a"), at("link")), 0);
    struct file_mark none = file_mark_take(at("none"));
    struct file_mark first = file_mark_take(at("link"));
    struct file_mark again = file_mark_take(at("a"));
    assert_true(file_mark_equal(&first, &again));
    assert_false(file_mark_equal(&first, &none));
    /* As Kubernetes does it: the link leads elsewhere, both files stay. */
    unlink(at("link"));
    assert_int_equal(symlink(at("b"), at("link")), 0);
    again = file_mark_take(at("link"));
    assert_false(file_mark_equal(&first, &again));
    put("b", "22", 2);
    first = file_mark_take(at("link"));
    assert_false(file_mark_equal(&first, &again));
    unlink(at("b"));
    again = file_mark_take(at("link"));
    assert_true(file_mark_equal(&again, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_read_whole),
        cmocka_unit_test(what_is_no_text_is_refused_by_name),
        cmocka_unit_test(the_limit_is_exact),
        cmocka_unit_test(a_mark_changes_when_the_file_is_replaced),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
