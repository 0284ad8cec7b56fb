/* The configuration file: one flat YAML map whose keys are the flag names, with
 * "-" or "_". Only the walk is here; what a key means is config.c's. */
#pragma once

#include "base/err.h"

/* @line is where the key stands. A negative return ends the walk. */
typedef int config_file_fn(void *arg, const char *key, const char *value,
                           unsigned line, struct errmsg *e);

/* ERR_INVALID or ERR_IO; messages begin with "<path>:<line>: ". */
NODISCARD int config_file_read(const char *path, config_file_fn *fn, void *arg,
                               struct errmsg *e);
