/* Error codes of every module: functions return 0 or a negative ERR_*.
 * The code is for programs; the message for people travels in a struct errmsg
 * that the caller owns, and is wrapped outward once per module boundary. */
#pragma once

#include <stdarg.h>

#define NODISCARD __attribute__((warn_unused_result))

#define ERR_MAP(X)                                                             \
    X(ERR_NOMEM, 1, "out of memory")                                           \
    X(ERR_INVALID, 2, "invalid input")                                         \
    X(ERR_NOTFOUND, 3, "not found")                                            \
    X(ERR_EXISTS, 4, "exists already")                                         \
    X(ERR_LIMIT, 5, "a limit is reached")                                      \
    X(ERR_IO, 6, "input/output error")                                         \
    X(ERR_NOSPACE, 7, "no space left")                                         \
    X(ERR_CORRUPT, 8, "data is damaged")                                       \
    X(ERR_FOREIGN, 9, "data of another cluster")                               \
    X(ERR_NEWER, 10, "written by a newer version")                             \
    X(ERR_AGAIN, 11, "not now, try again")                                     \
    X(ERR_UNKNOWN, 12, "outcome unknown")                                      \
    X(ERR_BEHIND, 13, "replica is behind")                                     \
    X(ERR_CLOSED, 14, "closed")                                                \
    X(ERR_DENIED, 15, "not allowed")                                           \
    X(ERR_TIMEOUT, 16, "timed out")

enum err_code {
#define ERR_ENUM(name, value, text) name = -(value),
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
};

/* The text of a code, "ok" for 0; never NULL. Static storage. */
const char *err_text(int code);

/* A message for people: what happened and what to do. */
struct errmsg {
    char text[256];
};

/* Formats the message and returns @code, so that a failure is one line:
 *     return errmsg_set(e, ERR_INVALID, "peer %u: key is %zu bytes", ...);
 * @e may be NULL. A message that is too long is cut. */
int errmsg_set(struct errmsg *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "<context>: " before the message that is there. Returns @code. */
int errmsg_wrap(struct errmsg *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
