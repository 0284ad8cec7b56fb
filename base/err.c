#include "base/err.h"

#include <stdio.h>
#include <string.h>

const char *err_text(int code)
{
    switch (code) {
    case 0:
        return "ok";
#define ERR_CASE(name, value, text)                                            \
    case name:                                                                 \
        return text;
        ERR_MAP(ERR_CASE)
#undef ERR_CASE
    default:
        return "unknown error";
    }
}

int errmsg_set(struct errmsg *e, int code, const char *format, ...)
{
    if (e == NULL)
        return code;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return code;
}

int errmsg_wrap(struct errmsg *e, int code, const char *format, ...)
{
    if (e == NULL)
        return code;
    struct errmsg inner = *e;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof e->text)
        return code;
    /* Cut to what is left: gcc refuses a truncation that it can foresee. */
    size_t room = sizeof e->text - (size_t)length;
    if (room > sizeof ": ")
        snprintf(e->text + length, room, ": %.*s", (int)(room - sizeof ": "),
                 inner.text);
    return code;
}
