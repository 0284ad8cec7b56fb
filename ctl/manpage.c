/* Writes the man page: the template (holdfastctl.1.in) with its @COMMANDS@ and
 * @FLAGS@ lines replaced by what the table of commands says. Run by the build:
 *     holdfastctl-manpage holdfastctl.1.in > holdfastctl.1 */
#include "ctl/command.h"

#include <stdio.h>
#include <string.h>

enum { LINE_LENGTH = 60 };

/* mdoc gives a meaning to a dot or quote in front and to the backslash; a new
 * sentence begins a new line. */
static void put_text(const char *text)
{
    size_t length = 0;
    for (; *text != '\0'; text++) {
        bool sentence = (*text == '.' || *text == '?') && text[1] == ' ' &&
                        text[2] >= 'A' && text[2] <= 'Z';
        if (length == 0 && (*text == '.' || *text == '\''))
            fputs("\\&", stdout);
        if (*text == ' ' && length > LINE_LENGTH) {
            putchar('\n');
            length = 0;
            continue;
        }
        length++;
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '"')
            fputs("\\(dq", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
        if (sentence) {
            putchar('\n');
            length = 0;
            text++;
        }
    }
    putchar('\n');
}

/* A line of the table as a sentence. */
static void put_sentence(const char *text)
{
    char sentence[128];
    bool ends = text[strlen(text) - 1] == '?';
    snprintf(sentence, sizeof sentence, "%s%s", text, ends ? "" : ".");
    if (sentence[0] >= 'a' && sentence[0] <= 'z')
        sentence[0] = (char)(sentence[0] - 'a' + 'A');
    put_text(sentence);
}

static void put_flag(const struct flag *f)
{
    printf(".It Fl ");
    if (f->letter != 0)
        printf("%c , Fl ", f->letter);
    printf("\\-%s", f->name);
    if (f->value != NULL)
        printf(" Ar %s", f->value);
    putchar('\n');
    put_sentence(f->help);
    if (f->fallback != NULL)
        printf("Default:\n.Li %s .\n", f->fallback);
    if (f->variable != NULL)
        printf("Environment:\n.Ev %s .\n", f->variable);
}

static void put_command(const struct command *c)
{
    printf(".It Cm %s", c->noun);
    if (c->verb != NULL)
        printf(" %s", c->verb);
    if (c->arguments[0] != '\0')
        printf(" Ar %s", c->arguments);
    for (size_t i = FLAG_GLOBAL_COUNT; i < FLAG_COUNT; i++) {
        if (!command_takes(c, (enum flag_id)i))
            continue;
        printf(" Op Fl \\-%s", flags[i].name);
        if (flags[i].value != NULL)
            printf(" Ar %s", flags[i].value);
    }
    putchar('\n');
    put_sentence(c->summary);
    if (c->about[0] != '\0') {
        fputs(".Pp\n", stdout);
        put_text(c->about);
    }
    fputs(".Pp\n.Dl holdfastctl ", stdout);
    put_text(c->example);
}

static void put_flags(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        put_flag(&flags[i]);
}

static void put_line(const char *line)
{
    if (strcmp(line, "@COMMANDS@\n") == 0)
        for (size_t i = 0; i < command_count; i++)
            put_command(&commands[i]);
    else if (strcmp(line, "@GLOBAL-FLAGS@\n") == 0)
        put_flags(0, FLAG_GLOBAL_COUNT);
    else if (strcmp(line, "@FLAGS@\n") == 0)
        put_flags(FLAG_GLOBAL_COUNT, FLAG_COUNT);
    else
        fputs(line, stdout);
}

int main(int argc, char **argv)
{
    char line[512];
    FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
    if (file == NULL) {
        fputs("usage: holdfastctl-manpage TEMPLATE\n", stderr);
        return 2;
    }
    while (fgets(line, sizeof line, file) != NULL)
        put_line(line);
    fclose(file);
    return fflush(stdout) == 0 ? 0 : 1;
}
