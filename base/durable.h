/* Changes of small files and directories that are there after a power loss once
 * the call has returned 0, and whole or not at all before. Blocking; no thread.
 * The messages name the path. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { DURABLE_PATH_SIZE = 4096 };

/* "<dir>/<name>" into @out. ERR_INVALID: too long. */
NODISCARD int durable_path(char out[DURABLE_PATH_SIZE], const char *dir,
                           const char *name, struct errmsg *e);

/* True also for what cannot be looked at. */
bool durable_exists(const char *path);

/* Mode 0700; one that is there is fine. Its entry is durable after
 * durable_sync of the parent. ERR_IO, ERR_NOSPACE. */
NODISCARD int durable_make_directory(const char *path, struct errmsg *e);

/* The entries of a directory. ERR_IO. */
NODISCARD int durable_sync(const char *directory, struct errmsg *e);

/* Mode 0600, in place of what was there, by way of "<path>.tmp". ERR_IO,
 * ERR_NOSPACE, ERR_INVALID. */
NODISCARD int durable_write(const char *path, const void *data, size_t size,
                            struct errmsg *e);

/* A file or a directory with all that is in it; what is not there is fine.
 * Whether it is gone after a power loss depends on the sync of the parent.
 * ERR_IO. */
NODISCARD int durable_remove(const char *path, struct errmsg *e);
