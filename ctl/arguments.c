#include "ctl/arguments.h"

#include "ctl/text.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_LENGTH_MAX = 4096, OPTION_BASE = 1000 };

/* Where the first leader leaves it on its own host. */
static const char default_token_file[] = "/var/lib/holdfast/admin-token";

/* --- flags ---------------------------------------------------------------- */

static void read_environment(struct ctl *c)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (flags[i].variable == NULL)
            continue;
        const char *value = getenv(flags[i].variable);
        if (value != NULL && value[0] != '\0')
            c->values[i] = value;
    }
}

static void build_options(struct option *options, char *letters)
{
    size_t n = 0;
    for (int i = 0; i < FLAG_COUNT; i++) {
        const struct flag *f = &flags[i];
        options[i] = (struct option){
            f->name, f->value == NULL ? no_argument : required_argument, NULL,
            OPTION_BASE + i};
        if (f->letter == 0)
            continue;
        letters[n++] = f->letter;
        if (f->value != NULL)
            letters[n++] = ':';
    }
    letters[n] = '\0';
    options[FLAG_COUNT] = (struct option){NULL, 0, NULL, 0};
}

static int flag_of(int option)
{
    if (option >= OPTION_BASE)
        return option - OPTION_BASE;
    for (int i = 0; i < FLAG_COUNT; i++)
        if (flags[i].letter != 0 && flags[i].letter == option)
            return i;
    return -1;
}

static int refuse_flag(char **argv, struct errmsg *e)
{
    if (optopt >= OPTION_BASE) {
        const struct flag *f = &flags[optopt - OPTION_BASE];
        return errmsg_set(e, ERR_INVALID,
                          f->value != NULL ? "--%s: a value is wanted: --%s %s"
                                           : "--%s: takes no value",
                          f->name, f->name, f->value);
    }
    char letter[] = {'-', (char)optopt, '\0'};
    return errmsg_set(e, ERR_INVALID,
                      "%s: no such flag, or its value is missing; see "
                      "holdfastctl --help",
                      optopt != 0 ? letter : argv[optind - 1]);
}

static int read_flags(struct ctl *c, int argc, char **argv, bool *given,
                      struct errmsg *e)
{
    struct option options[FLAG_COUNT + 1];
    char letters[2 * FLAG_COUNT + 1];
    build_options(options, letters);
    opterr = 0;
    optind = 0; /* glibc: begin anew, also after another call */
    for (;;) {
        int option = getopt_long(argc, argv, letters, options, NULL);
        if (option == -1)
            return 0;
        int i = flag_of(option);
        if (i < 0)
            return refuse_flag(argv, e);
        given[i] = true;
        c->values[i] = flags[i].value == NULL ? "true" : optarg;
    }
}

/* --- commands ------------------------------------------------------------- */

static const struct command *find(const char *noun, const char *verb)
{
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        if (strcmp(c->noun, noun) != 0)
            continue;
        if (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0))
            return c;
    }
    return NULL;
}

static const char *known_noun(const char *text)
{
    for (size_t i = 0; i < noun_count; i++)
        if (strcmp(nouns[i].name, text) == 0)
            return nouns[i].name;
    return NULL;
}

static int unknown_verb(const char *noun, const char *verb, struct errmsg *e)
{
    char verbs[160] = "";
    for (size_t i = 0; i < command_count; i++) {
        size_t length = strlen(verbs);
        if (strcmp(commands[i].noun, noun) == 0)
            snprintf(verbs + length, sizeof verbs - length, "%s%s",
                     length > 0 ? ", " : "", commands[i].verb);
    }
    return errmsg_set(e, ERR_INVALID, "%s%s%s: one of %s is wanted", noun,
                      verb != NULL ? " " : "", verb != NULL ? verb : "", verbs);
}

static int check_use(const struct ctl *c, const bool *given, struct errmsg *e)
{
    const struct command *m = c->command;
    const char *verb = m->verb != NULL ? m->verb : "";
    const char *space = m->verb != NULL ? " " : "";
    for (size_t i = FLAG_GLOBAL_COUNT; i < FLAG_COUNT; i++)
        if (given[i] && !command_takes(m, (enum flag_id)i))
            return errmsg_set(e, ERR_INVALID,
                              "--%s: not a flag of %s%s%s; see holdfastctl "
                              "%s%s%s --help",
                              flags[i].name, m->noun, space, verb, m->noun,
                              space, verb);
    if (c->argument_count < m->arguments_min ||
        c->argument_count > m->arguments_max)
        return errmsg_set(e, ERR_INVALID,
                          "usage: holdfastctl %s%s%s%s%s\nfor example: "
                          "holdfastctl %s",
                          m->noun, space, verb,
                          m->arguments[0] != '\0' ? " " : "", m->arguments,
                          m->example);
    return 0;
}

static int find_command(struct ctl *c, char **words, size_t count,
                        const char **noun, struct errmsg *e)
{
    *noun = known_noun(words[0]);
    if (*noun == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "%s: no such command; see holdfastctl --help",
                          words[0]);
    const char *verb = count > 1 ? words[1] : NULL;
    c->command = find(words[0], verb);
    if (c->command == NULL)
        return verb == NULL && ctl_has(c, FLAG_HELP)
                   ? 0
                   : unknown_verb(words[0], verb, e);
    size_t named = c->command->verb != NULL ? 2 : 1;
    c->arguments = words + named;
    c->argument_count = count - named;
    return 0;
}

int arguments_parse(struct ctl *c, int argc, char **argv, enum parsed *todo,
                    const char **noun, struct errmsg *e)
{
    bool given[FLAG_COUNT] = {false};
    *todo = PARSED_RUN;
    *noun = NULL;
    read_environment(c);
    int rv = read_flags(c, argc, argv, given, e);
    if (rv != 0)
        return rv;
    if (ctl_has(c, FLAG_VERSION)) {
        *todo = PARSED_VERSION;
        return 0;
    }
    /* "help COMMAND" is "COMMAND --help". */
    if (optind < argc && strcmp(argv[optind], "help") == 0) {
        c->values[FLAG_HELP] = "true";
        optind++;
    }
    if (ctl_has(c, FLAG_HELP))
        *todo = PARSED_HELP;
    size_t count = (size_t)(argc - optind);
    if (count == 0)
        return *todo == PARSED_HELP
                   ? 0
                   : errmsg_set(e, ERR_INVALID,
                                "a command is wanted, such as doctor or "
                                "endpoint status; see holdfastctl --help");
    rv = find_command(c, argv + optind, count, noun, e);
    if (rv != 0 || *todo == PARSED_HELP)
        return rv;
    const char *output = c->values[FLAG_OUTPUT];
    if (output != NULL && strcmp(output, "json") == 0)
        c->output = OUTPUT_JSON;
    else if (output != NULL && strcmp(output, "table") != 0)
        return errmsg_set(e, ERR_INVALID, "-w %s: table or json is wanted",
                          output);
    return check_use(c, given, e);
}

/* --- reaching the nodes --------------------------------------------------- */

/* The first line of @path. */
static int read_token(const char *path, char **out, struct errmsg *e)
{
    char text[TOKEN_LENGTH_MAX + 2];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return errmsg_set(e, ERR_INVALID, "--token-file %s: %s", path,
                          strerror(errno));
    bool read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    if (read)
        text[strcspn(text, "\r\n")] = '\0';
    if (!read || text[0] == '\0')
        return errmsg_set(e, ERR_INVALID, "--token-file %s: is empty", path);
    *out = strdup(text);
    return *out != NULL ? 0 : errmsg_set(e, ERR_NOMEM, "out of memory");
}

static int check_token(const char *token, struct errmsg *e)
{
    for (const char *p = token; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            return errmsg_set(e, ERR_INVALID,
                              "the token has a character that no token has; "
                              "is the file the right one?");
    if (strlen(token) > TOKEN_LENGTH_MAX)
        return errmsg_set(e, ERR_INVALID, "the token is longer than %d",
                          TOKEN_LENGTH_MAX);
    return 0;
}

static int take_token(struct ctl *c, struct errmsg *e)
{
    const char *token = c->values[FLAG_TOKEN];
    const char *file = c->values[FLAG_TOKEN_FILE];
    int rv = 0;
    if (file != NULL) {
        rv = read_token(file, &c->client.token, e);
    } else if (token != NULL) {
        c->client.token = strdup(token);
        if (c->client.token == NULL)
            rv = errmsg_set(e, ERR_NOMEM, "out of memory");
    } else if (c->values[FLAG_ENDPOINTS] == NULL) {
        /* The node of this host, and who may read its files. */
        (void)read_token(default_token_file, &c->client.token, NULL);
    }
    if (rv == 0 && c->client.token != NULL)
        rv = check_token(c->client.token, e);
    return rv;
}

int arguments_connect(struct ctl *c, struct errmsg *e)
{
    const char *endpoints = c->values[FLAG_ENDPOINTS];
    const char *timeout = c->values[FLAG_TIMEOUT];
    const char *cacert = c->values[FLAG_CACERT];
    uint64_t ms;
    if (!duration_parse(
            timeout != NULL ? timeout : flags[FLAG_TIMEOUT].fallback, &ms) ||
        ms > 3600 * 1000)
        return errmsg_set(e, ERR_INVALID,
                          "--timeout %s: a duration such as 500ms, 10s or 1m "
                          "is wanted",
                          timeout);
    c->client.timeout_ms = (long)ms;
    if (cacert != NULL) {
        c->client.cacert = strdup(cacert);
        if (c->client.cacert == NULL)
            return errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    int rv = take_token(c, e);
    if (rv == 0)
        rv = client_set_endpoints(
            &c->client,
            endpoints != NULL ? endpoints : flags[FLAG_ENDPOINTS].fallback, e);
    return rv;
}
