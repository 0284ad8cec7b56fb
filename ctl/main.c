/* holdfastctl: the operator's tool. Parses by the table of commands, runs one,
 * says what went wrong on stderr. Exit codes: command.h. */
#include "ctl/arguments.h"
#include "ctl/help.h"
#include "ctl/text.h"

#include <curl/curl.h>
#include <stdio.h>

static int say(const struct errmsg *e, int rv)
{
    fputs("holdfastctl: ", stderr);
    /* The usage has two lines. */
    for (const char *p = e->text; *p != '\0';) {
        size_t length = strcspn(p, "\n");
        char line[sizeof e->text];
        snprintf(line, sizeof line, "%.*s", (int)length, p);
        text_put(stderr, line);
        fputc('\n', stderr);
        p += length + (p[length] == '\n');
    }
    return rv == ERR_INVALID ? CTL_USAGE : CTL_FAILED;
}

static int help(const struct ctl *c, const char *noun)
{
    if (c->command != NULL)
        help_command(stdout, c->command);
    else if (noun != NULL)
        help_noun(stdout, noun);
    else
        help_all(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct ctl c = {0};
    struct errmsg e = {0};
    enum parsed todo;
    const char *noun;
    text_init();
    int rv = arguments_parse(&c, argc, argv, &todo, &noun, &e);
    if (rv != 0)
        return say(&e, rv);
    if (todo == PARSED_HELP)
        return help(&c, noun);
    if (todo == PARSED_VERSION) {
        printf("holdfastctl %s\n", HOLDFAST_VERSION);
        return 0;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        rv = errmsg_set(&e, ERR_NOMEM, "libcurl does not start");
    if (rv == 0)
        rv = arguments_connect(&c, &e);
    if (rv == 0)
        rv = c.command->run(&c, &e);
    progress_clear();
    client_deinit(&c.client);
    curl_global_cleanup();
    if (rv < 0)
        rv = say(&e, rv);
    /* A full disk behind a redirection is a failure too. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("holdfastctl: standard output cannot be written\n", stderr);
        rv = rv != 0 ? rv : CTL_FAILED;
    }
    return rv;
}
