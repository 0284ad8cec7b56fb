/* argv and the environment into a struct ctl, by the table of commands. Flags
 * may stand anywhere: a name means the same with every command. */
#pragma once

#include "ctl/ctl.h"

enum parsed { PARSED_RUN, PARSED_HELP, PARSED_VERSION };

/* 0 and what to do: run c->command; or show help, of c->command or, if that is
 * NULL, of the noun *@noun or, if that is NULL too, of all. ERR_INVALID: the
 * message says what is wrong and where to read on. */
NODISCARD int arguments_parse(struct ctl *c, int argc, char **argv,
                              enum parsed *todo, const char **noun,
                              struct errmsg *e);

/* The endpoints, token and limits of the flags into c->client. */
NODISCARD int arguments_connect(struct ctl *c, struct errmsg *e);
