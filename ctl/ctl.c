#include "ctl/ctl.h"

#include "ctl/text.h"

#include <stdlib.h>

bool ctl_confirmed(const struct ctl *c, const char *format, ...)
{
    char question[256], answer[16];
    if (ctl_has(c, FLAG_YES) || !is_terminal(stdin) || !is_terminal(stderr))
        return true;
    va_list args;
    va_start(args, format);
    vsnprintf(question, sizeof question, format, args);
    va_end(args);
    text_put(stderr, question);
    fputs(" [y/N] ", stderr);
    fflush(stderr);
    return fgets(answer, sizeof answer, stdin) != NULL &&
           (answer[0] == 'y' || answer[0] == 'Y');
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
