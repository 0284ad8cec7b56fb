/* completion: scripts for the three shells, written from the table. */
#include "ctl/run.h"

#include <stdio.h>
#include <string.h>

static bool is_file(const struct flag *f)
{
    return f->value != NULL && strcmp(f->value, "FILE") == 0;
}

/* "table|json", not "ID|NAME": words to choose from, in a flag's value or a
 * command's first argument. */
static bool is_choice(const char *text)
{
    return text != NULL && text[0] >= 'a' && text[0] <= 'z' &&
           strchr(text, '|') != NULL;
}

/* The words of a choice, with blanks between. */
static void put_choice(const char *text)
{
    for (; *text != '\0' && *text != ' '; text++)
        putchar(*text == '|' ? ' ' : *text);
}

/* Words between @open and the end: the verbs of @noun. */
static void put_verbs(const char *noun)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].noun, noun) == 0)
            printf(" %s", commands[i].verb != NULL ? commands[i].verb : "");
}

static bool has_verbs(const char *noun)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].noun, noun) == 0)
            return commands[i].verb != NULL;
    return false;
}

/* The choice behind @noun; NULL if it has verbs or other arguments. */
static const char *choice_of(const char *noun)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(commands[i].noun, noun) == 0 && commands[i].verb == NULL &&
            is_choice(commands[i].arguments))
            return commands[i].arguments;
    return NULL;
}

/* --- bash ----------------------------------------------------------------- */

static void bash_flags_of(const struct command *c)
{
    printf("    \"%s%s%s\") flags=\"", c->noun, c->verb != NULL ? " " : "",
           c->verb != NULL ? c->verb : "");
    for (size_t i = FLAG_GLOBAL_COUNT; i < FLAG_COUNT; i++)
        if (command_takes(c, (enum flag_id)i))
            printf("--%s ", flags[i].name);
    puts("\" ;;");
}

/* What may stand behind a flag. */
static void bash_value_of(const struct flag *f)
{
    if (!is_file(f) && !is_choice(f->value))
        return;
    printf("    --%s", f->name);
    if (f->letter != 0)
        printf("|-%c", f->letter);
    fputs(") COMPREPLY=($(compgen ", stdout);
    if (is_file(f)) {
        fputs("-f", stdout);
    } else {
        fputs("-W '", stdout);
        put_choice(f->value);
        putchar('\'');
    }
    puts(" -- \"$cur\")); return ;;");
}

/* The first word behind @noun: a verb, or a choice; then files. */
static void bash_words_of(const char *noun)
{
    const char *choice = choice_of(noun);
    if (choice == NULL && !has_verbs(noun))
        return;
    printf("    %s) [[ -z $verb ]] && COMPREPLY=($(compgen -W \"", noun);
    if (choice != NULL)
        put_choice(choice);
    else
        put_verbs(noun);
    puts("\" -- \"$cur\")) || COMPREPLY=($(compgen -f -- \"$cur\")) ;;");
}

static void bash(void)
{
    fputs("# bash completion of holdfastctl: holdfastctl completion bash\n"
          "_holdfastctl() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} "
          "prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local noun= verb= word flags= i skip=0\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        word=${COMP_WORDS[i]}\n"
          "        if ((skip)); then skip=0; continue; fi\n"
          "        case $word in\n        ",
          stdout);
    bool first = true;
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (flags[i].value == NULL)
            continue;
        printf("%s--%s", first ? "" : "|", flags[i].name);
        first = false;
        if (flags[i].letter != 0)
            printf("|-%c", flags[i].letter);
    }
    fputs(") skip=1 ;;\n        -*) ;;\n"
          "        *) if [[ -z $noun ]]; then noun=$word;\n"
          "           elif [[ -z $verb ]]; then verb=$word; fi ;;\n"
          "        esac\n    done\n"
          "    case $prev in\n",
          stdout);
    for (size_t i = 0; i < FLAG_COUNT; i++)
        bash_value_of(&flags[i]);
    fputs("    esac\n"
          "    case \"$noun${verb:+ $verb}\" in\n",
          stdout);
    for (size_t i = 0; i < command_count; i++)
        bash_flags_of(&commands[i]);
    fputs("    esac\n    if [[ $cur == -* ]]; then\n        flags+=\"", stdout);
    for (size_t i = 0; i < FLAG_GLOBAL_COUNT; i++)
        printf("--%s ", flags[i].name);
    fputs("\"\n        COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n"
          "        return\n    fi\n"
          "    case $noun in\n    '') COMPREPLY=($(compgen -W \"",
          stdout);
    for (size_t i = 0; i < noun_count; i++)
        printf("%s ", nouns[i].name);
    fputs("\" -- \"$cur\")) ;;\n", stdout);
    for (size_t i = 0; i < noun_count; i++)
        bash_words_of(nouns[i].name);
    fputs("    esac\n}\n"
          "complete -F _holdfastctl holdfastctl\n",
          stdout);
}

/* --- zsh and fish --------------------------------------------------------- */

/* @text for single quotes, with what _arguments and _describe give a meaning
 * escaped. */
static void quoted(const char *text, const char *special)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
            continue;
        }
        if (strchr(special, *text) != NULL)
            putchar('\\');
        putchar(*text);
    }
}

static void zsh_flags(const struct command *c, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (c != NULL && !command_takes(c, (enum flag_id)i))
            continue;
        printf(" '--%s%s[", flags[i].name, flags[i].value != NULL ? "=" : "");
        quoted(flags[i].help, "[]:\\");
        fputc(']', stdout);
        if (flags[i].value != NULL) {
            printf(":%s:", flags[i].name);
            if (is_file(&flags[i]))
                fputs("_files", stdout);
            if (is_choice(flags[i].value)) {
                putchar('(');
                put_choice(flags[i].value);
                putchar(')');
            }
        }
        fputc('\'', stdout);
    }
}

static void zsh_verbs(const char *noun)
{
    printf("    %s) verbs=(", noun);
    for (size_t i = 0; i < command_count; i++) {
        if (strcmp(commands[i].noun, noun) != 0)
            continue;
        printf(" '%s:", commands[i].verb);
        quoted(commands[i].summary, ":\\");
        fputc('\'', stdout);
    }
    fputs(" ) ;;\n", stdout);
}

static void zsh(void)
{
    fputs("#compdef holdfastctl\n# holdfastctl completion zsh\n"
          "_holdfastctl() {\n"
          "  local -a nouns verbs own\n  local state line\n  nouns=(",
          stdout);
    for (size_t i = 0; i < noun_count; i++) {
        printf(" '%s:", nouns[i].name);
        quoted(nouns[i].summary, ":\\");
        fputc('\'', stdout);
    }
    fputs(" )\n  case \"${words[(r)", stdout);
    for (size_t i = 0; i < noun_count; i++)
        printf("%s%s", i > 0 ? "|" : "(", nouns[i].name);
    fputs(")]}\" in\n", stdout);
    for (size_t i = 0; i < noun_count; i++) {
        const char *choice = choice_of(nouns[i].name);
        if (has_verbs(nouns[i].name)) {
            zsh_verbs(nouns[i].name);
        } else if (choice != NULL) {
            printf("    %s) verbs=(", nouns[i].name);
            put_choice(choice);
            puts(") ;;");
        }
    }
    fputs("  esac\n  own=(", stdout);
    zsh_flags(NULL, FLAG_GLOBAL_COUNT, FLAG_COUNT);
    fputs(" )\n  _arguments -C", stdout);
    zsh_flags(NULL, 0, FLAG_GLOBAL_COUNT);
    fputs(" $own '1:command:->noun' '2:verb:->verb' '*:file:_files'\n"
          "  case $state in\n    noun) _describe command nouns ;;\n"
          "    verb) if (( $#verbs )); then _describe verb verbs; "
          "else _files; fi ;;\n  esac\n}\n"
          "_holdfastctl \"$@\"\n",
          stdout);
}

static void fish_flag(const struct command *c, enum flag_id flag)
{
    fputs("complete -c holdfastctl", stdout);
    if (c != NULL)
        printf(" -n '__fish_seen_subcommand_from %s%s%s%s'", c->noun,
               c->verb != NULL ? "; and __fish_seen_subcommand_from " : "",
               c->verb != NULL ? c->verb : "", "");
    printf(" -l %s", flags[flag].name);
    if (flags[flag].letter != 0)
        printf(" -s %c", flags[flag].letter);
    if (is_choice(flags[flag].value)) {
        fputs(" -x -a '", stdout);
        put_choice(flags[flag].value);
        putchar('\'');
    } else if (flags[flag].value != NULL) {
        fputs(is_file(&flags[flag]) ? " -r -F" : " -x", stdout);
    }
    fputs(" -d '", stdout);
    quoted(flags[flag].help, "");
    puts("'");
}

static void fish(void)
{
    fputs("# holdfastctl completion fish\nset -l nouns", stdout);
    for (size_t i = 0; i < noun_count; i++)
        printf(" %s", nouns[i].name);
    puts("");
    for (size_t i = 0; i < noun_count; i++) {
        printf(
            "complete -c holdfastctl -f -n \"not __fish_seen_subcommand_from "
            "$nouns\" -a %s -d '",
            nouns[i].name);
        quoted(nouns[i].summary, "");
        puts("'");
    }
    for (size_t i = 0; i < command_count; i++) {
        const struct command *c = &commands[i];
        if (c->verb != NULL) {
            printf("complete -c holdfastctl -f -n '"
                   "__fish_seen_subcommand_from %s; and not "
                   "__fish_seen_subcommand_from",
                   c->noun);
            put_verbs(c->noun);
            printf("' -a %s -d '", c->verb);
            quoted(c->summary, "");
            puts("'");
        }
        if (choice_of(c->noun) != NULL) {
            printf("complete -c holdfastctl -f -n "
                   "'__fish_seen_subcommand_from %s; and not "
                   "__fish_seen_subcommand_from ",
                   c->noun);
            put_choice(c->arguments);
            fputs("' -a '", stdout);
            put_choice(c->arguments);
            puts("'");
        }
        for (size_t j = FLAG_GLOBAL_COUNT; j < FLAG_COUNT; j++)
            if (command_takes(c, (enum flag_id)j))
                fish_flag(c, (enum flag_id)j);
    }
    for (size_t i = 0; i < FLAG_GLOBAL_COUNT; i++)
        fish_flag(NULL, (enum flag_id)i);
}

int run_completion(struct ctl *c, struct errmsg *e)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++) {
        if (strcmp(c->arguments[0], shells[i].name) == 0) {
            shells[i].print();
            return 0;
        }
    }
    return errmsg_set(e, ERR_INVALID,
                      "completion %s: bash, zsh or fish is "
                      "wanted",
                      c->arguments[0]);
}
