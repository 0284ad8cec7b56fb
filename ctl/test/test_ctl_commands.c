/* The table of commands, and what is parsed by it. */
#include "ctl/arguments.h"
#include "ctl/help.h"
#include "ctl/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { WORDS_MAX = 20, SCREEN_LINES = 24, SCREEN_COLUMNS = 80 };

/* A command line, split at blanks, and what became of it. */
struct line {
    char text[256];
    char *argv[WORDS_MAX];
    int argc;
    struct ctl ctl;
    struct errmsg e;
    enum parsed todo;
    const char *noun;
};

static int parse(struct line *l, const char *text)
{
    char *rest = l->text, *word;
    *l = (struct line){0};
    snprintf(l->text, sizeof l->text, "holdfastctl %s", text);
    while ((word = strtok_r(rest, " ", &rest)) != NULL)
        l->argv[l->argc++] = word;
    return arguments_parse(&l->ctl, l->argc, l->argv, &l->todo, &l->noun,
                           &l->e);
}

static void every_row_is_complete_and_its_example_runs_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        struct line l;
        char text[256];
        bool noun_known = false;
        for (size_t j = 0; j < noun_count; j++)
            noun_known = noun_known || strcmp(nouns[j].name, c->noun) == 0;
        assert_true(noun_known);
        assert_non_null(c->run);
        assert_in_range(strlen(c->summary), 1, 50);
        assert_int_equal(c->arguments_max > 0, c->arguments[0] != '\0');
        /* A shell's substitution is one word to it. */
        snprintf(text, sizeof text, "%s", c->example);
        char *from = strstr(text, "\"$("), *to;
        if (from != NULL && (to = strstr(from, ")\"")) != NULL)
            memmove(from, to + 1, strlen(to + 1) + 1);
        if (parse(&l, text) != 0)
            fail_msg("%s: %s", c->example, l.e.text);
        assert_ptr_equal(l.ctl.command, c);
    }
}

static void every_noun_has_a_command(void **state)
{
    (void)state;
    for (size_t i = 0; i < noun_count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < command_count; j++)
            found += strcmp(commands[j].noun, nouns[i].name) == 0;
        assert_true(found > 0);
    }
}

static void flags_may_stand_anywhere(void **state)
{
    struct line l;
    (void)state;
    assert_int_equal(parse(&l, "-w json endpoint --cluster status --endpoints "
                               "http://a:1"),
                     0);
    assert_string_equal(l.ctl.command->verb, "status");
    assert_int_equal(l.ctl.output, OUTPUT_JSON);
    assert_string_equal(l.ctl.values[FLAG_ENDPOINTS], "http://a:1");
    assert_true(ctl_has(&l.ctl, FLAG_CLUSTER));
    assert_int_equal(l.ctl.argument_count, 0);
    assert_int_equal(parse(&l, "member remove --yes c"), 0);
    assert_int_equal(l.ctl.argument_count, 1);
    assert_string_equal(l.ctl.arguments[0], "c");
}

static void wrong_usage_is_named(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"", "a command is wanted"},
        {"endpnt status", "endpnt: no such command"},
        {"help endpnt", "endpnt: no such command"},
        {"endpoint", "one of status, health, hash is wanted"},
        {"endpoint foo", "endpoint foo: one of status"},
        {"member remove", "usage: holdfastctl member remove NAME"},
        {"member remove a b", "usage: holdfastctl member remove NAME"},
        {"endpoint status --undo", "--undo: not a flag of endpoint status"},
        {"endpoint status --clustr", "--clustr: no such flag"},
        {"doctor -z", "-z: no such flag"},
        {"doctor --timeout", "--timeout: a value is wanted: --timeout TIME"},
        {"drain --undo=x", "--undo: takes no value"},
        {"doctor -w xml", "-w xml: table or json is wanted"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct line l;
        assert_int_equal(parse(&l, cases[i].line), ERR_INVALID);
        if (strstr(l.e.text, cases[i].says) == NULL)
            fail_msg("'%s' says: %s", cases[i].line, l.e.text);
    }
}

static void help_is_found_for_all_a_noun_and_a_command(void **state)
{
    static const char *const all[] = {"--help", "help"};
    static const char *const noun[] = {"endpoint -h", "help endpoint"};
    static const char *const command[] = {"member remove --help",
                                          "help member remove"};
    struct line l;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(parse(&l, all[i]), 0);
        assert_int_equal(l.todo, PARSED_HELP);
        assert_null(l.noun);
        assert_int_equal(parse(&l, noun[i]), 0);
        assert_int_equal(l.todo, PARSED_HELP);
        assert_string_equal(l.noun, "endpoint");
        assert_null(l.ctl.command);
        assert_int_equal(parse(&l, command[i]), 0);
        assert_int_equal(l.todo, PARSED_HELP);
        assert_string_equal(l.ctl.command->verb, "remove");
    }
}

/* Lines of what @print writes, none of them wider than a screen. */
static size_t lines_of(FILE *written)
{
    char line[512];
    size_t count = 0;
    rewind(written);
    while (fgets(line, sizeof line, written) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (text_width(line) > SCREEN_COLUMNS)
            fail_msg("%zu columns: %s", text_width(line), line);
        count++;
    }
    fclose(written);
    return count;
}

static void help_fits_a_screen(void **state)
{
    (void)state;
    FILE *out = tmpfile();
    help_all(out);
    assert_in_range(lines_of(out), 10, SCREEN_LINES);
    for (size_t i = 0; i < command_count; i++) {
        out = tmpfile();
        help_command(out, &commands[i]);
        assert_in_range(lines_of(out), 10, 2 * SCREEN_LINES);
        out = tmpfile();
        if (commands[i].verb != NULL)
            help_noun(out, commands[i].noun);
        assert_in_range(lines_of(out), 0, SCREEN_LINES);
    }
}

static void endpoints_are_checked(void **state)
{
    static const char *const wrong[] = {
        "", ",", "http://", "http://a/b", "http://user@a:1", "a:1,http://b?x"};
    struct client c = {0};
    struct errmsg e = {0};
    (void)state;
    assert_int_equal(
        client_set_endpoints(
            &c, "a:8000, https://[::1]:8001/,10.0.0.7/,[::1],https://b", &e),
        0);
    assert_int_equal(c.endpoint_count, 5);
    assert_string_equal(c.endpoints[0], "http://a:8000");
    assert_string_equal(c.endpoints[1], "https://[::1]:8001");
    assert_string_equal(c.endpoints[2], "http://10.0.0.7:8000");
    assert_string_equal(c.endpoints[3], "http://[::1]:8000");
    assert_string_equal(c.endpoints[4], "https://b");
    client_deinit(&c);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(client_set_endpoints(&c, wrong[i], &e), ERR_INVALID);
        client_deinit(&c);
    }
}

static void path_segments_are_escaped(void **state)
{
    char out[20];
    (void)state;
    assert_true(path_escape("a b/\xc3\xa9", out, sizeof out));
    assert_string_equal(out, "a%20b%2F%C3%A9");
    assert_false(path_escape("0123456789/0123456", out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_complete_and_its_example_runs_it),
        cmocka_unit_test(every_noun_has_a_command),
        cmocka_unit_test(flags_may_stand_anywhere),
        cmocka_unit_test(wrong_usage_is_named),
        cmocka_unit_test(help_is_found_for_all_a_noun_and_a_command),
        cmocka_unit_test(help_fits_a_screen),
        cmocka_unit_test(endpoints_are_checked),
        cmocka_unit_test(path_segments_are_escaped),
    };
    /* A user's settings are not this test's. */
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (flags[i].variable != NULL)
            unsetenv(flags[i].variable);
    text_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
