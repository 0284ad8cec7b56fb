/* The data directory: made if missing, and held by one process at a time. */
#pragma once

#include "base/err.h"

/* Makes @path and its parents and locks it; *lock_fd is held until the process
 * ends. ERR_INVALID: no such directory can be had; ERR_EXISTS: another process
 * has it. */
NODISCARD int data_dir_take(const char *path, int *lock_fd, struct errmsg *e);
