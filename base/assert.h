/* ASSERT states an invariant of our own code and stays in release builds: a
 * process whose state is not what we believe must not go on writing it down.
 * Wrong input is never an ASSERT; it is an ERR_* with a message. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define ASSERT(condition)                                                      \
    ((condition) ? (void)0 : assert_fail(#condition, __FILE__, __LINE__))

_Noreturn static inline void assert_fail(const char *condition,
                                         const char *file, int line)
{
    fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, condition);
    abort();
}
