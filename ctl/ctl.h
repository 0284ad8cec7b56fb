/* One run of holdfastctl: what was asked for, and how to reach the nodes. */
#pragma once

#include "ctl/client.h"
#include "ctl/command.h"

enum output { OUTPUT_TABLE, OUTPUT_JSON };

struct ctl {
    const struct command *command;
    const char *values[FLAG_COUNT]; /* borrowed from argv or the environment;
                                       a switch that is set is "true" */
    char *const *arguments;         /* borrowed from argv */
    size_t argument_count;
    enum output output;
    struct client client;
};

static inline bool ctl_has(const struct ctl *c, enum flag_id flag)
{
    return c->values[flag] != NULL;
}

/* Before what cannot be undone: 0 with --yes, or when the question is answered
 * with "y" on the terminal. ERR_DENIED: it was not. ERR_INVALID: nobody could
 * answer (a script), so --yes is wanted. */
NODISCARD int ctl_confirm(const struct ctl *c, struct errmsg *e,
                          const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prints @value on stdout as the -w json form of a command. Consumes it; NULL
 * stands for "out of memory". */
NODISCARD int ctl_print_json(json_t *value, struct errmsg *e);
