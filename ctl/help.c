#include "ctl/help.h"

#include "ctl/text.h"

#include <string.h>

static void put_verbs(FILE *out, const char *noun)
{
    int width = 0;
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].noun, noun) == 0 && commands[i].verb != NULL)
            width += fprintf(out, "%s ", commands[i].verb);
    fprintf(out, "%*s", 33 - width, "");
}

static void put_flag(FILE *out, const struct flag *f)
{
    char name[48];
    snprintf(name, sizeof name, "%c%c%s--%s%s%s", f->letter != 0 ? '-' : ' ',
             f->letter != 0 ? f->letter : ' ', f->letter != 0 ? ", " : "  ",
             f->name, f->value != NULL ? " " : "",
             f->value != NULL ? f->value : "");
    fprintf(out, "  %-29s %s", name, f->help);
    if (f->fallback != NULL)
        fprintf(out, " (%s)", f->fallback);
    fputc('\n', out);
}

void help_all(FILE *out)
{
    fputs("usage: holdfastctl [FLAG ...] COMMAND [ARGUMENT ...]\n", out);
    for (size_t i = 0; i < noun_count; i++) {
        fprintf(out, "  %-11s", nouns[i].name);
        put_verbs(out, nouns[i].name);
        fprintf(out, "%s\n", nouns[i].summary);
    }
    fputs(
        "\nNew here? holdfastctl doctor --cluster: is all well, what to do?\n"
        "COMMAND --help explains one, with an example. With every command:\n"
        "  --endpoints URL,...  (or HOLDFASTCTL_ENDPOINTS; "
        "http://127.0.0.1:8000)\n"
        "  --token-file FILE    admin token (or HOLDFASTCTL_TOKEN)\n"
        "  --cacert FILE   --timeout 25s   -w json  for scripts   --version\n"
        "Exit code 0: done, or healthy. 1: failed, or not healthy. 2: usage.\n",
        out);
}

void help_noun(FILE *out, const char *noun)
{
    fprintf(out, "usage: holdfastctl %s COMMAND\n\n", noun);
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        char name[64];
        if (strcmp(c->noun, noun) != 0)
            continue;
        snprintf(name, sizeof name, "%s %s", c->verb, c->arguments);
        fprintf(out, "  %-24s %s\n", name, c->summary);
    }
    fprintf(out, "\nholdfastctl %s COMMAND --help explains one.\n", noun);
}

void help_command(FILE *out, const struct command *c)
{
    fprintf(out, "usage: holdfastctl %s%s%s%s%s%s\n\n", c->noun,
            c->verb != NULL ? " " : "", c->verb != NULL ? c->verb : "",
            c->arguments[0] != '\0' ? " " : "", c->arguments,
            c->flags != 0 ? " [FLAG ...]" : "");
    /* The summary as a sentence. */
    fprintf(
        out, "  %c%s%s\n",
        c->summary[0] >= 'a' && c->summary[0] <= 'z' ? c->summary[0] - 'a' + 'A'
                                                     : c->summary[0],
        c->summary + 1, c->summary[strlen(c->summary) - 1] == '?' ? "" : ".");
    if (c->about[0] != '\0') {
        fputs("  ", out);
        text_wrap(out, c->about, 2, 2);
    }
    fprintf(out, "\nexample:\n  holdfastctl %s\n", c->example);
    if (c->flags != 0)
        fputs("\nflags:\n", out);
    for (size_t i = FLAG_GLOBAL_COUNT; i < FLAG_COUNT; i++)
        if (command_takes(c, (enum flag_id)i))
            put_flag(out, &flags[i]);
    fputs("\nwith every command:\n", out);
    for (size_t i = 0; i < FLAG_GLOBAL_COUNT; i++)
        put_flag(out, &flags[i]);
}
