/* LMDB's error codes in our words: the one place that knows them. */
#pragma once

#include "base/err.h"

/* @rc is not 0. ERR_NOSPACE (disk or map full), ERR_CORRUPT (not a file of
 * LMDB, damaged), ERR_NEWER (another version of LMDB), ERR_NOMEM, ERR_LIMIT
 * (too many readers), ERR_IO. The message is "<what was done> <path>: <why,
 * and what to do>". */
NODISCARD int lmdb_error(int rc, const char *doing, const char *path,
                         struct errmsg *e);
