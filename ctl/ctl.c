#include "ctl/ctl.h"

#include "ctl/text.h"

#include <stdlib.h>

int ctl_confirm(const struct ctl *c, struct errmsg *e, const char *format, ...)
{
    char question[256], answer[16];
    if (ctl_has(c, FLAG_YES))
        return 0;
    if (!is_terminal(stdin) || !is_terminal(stderr))
        return errmsg_set(e, ERR_INVALID,
                          "--yes is wanted where there is no terminal to ask "
                          "on; nothing was changed");
    va_list args;
    va_start(args, format);
    vsnprintf(question, sizeof question, format, args);
    va_end(args);
    text_put(stderr, question);
    fputs(" [y/N] ", stderr);
    fflush(stderr);
    if (fgets(answer, sizeof answer, stdin) != NULL &&
        (answer[0] == 'y' || answer[0] == 'Y'))
        return 0;
    return errmsg_set(e, ERR_DENIED, "nothing was changed");
}

int ctl_print_json(json_t *value, struct errmsg *e)
{
    char *text = value == NULL
                     ? NULL
                     : json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
    json_decref(value);
    if (text == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    puts(text);
    free(text);
    return 0;
}
