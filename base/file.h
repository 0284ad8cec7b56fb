/* Small text files that others write and replace while we run: certificates.
 * A mark tells whether a path still leads to what was read, through symbolic
 * links too, as Kubernetes swaps its mounted secrets. Any thread. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* What a path led to; all zero = nothing. */
struct file_mark {
    uint64_t device, inode, size;
    int64_t changed_ns;
};

struct file_mark file_mark_take(const char *path);
bool file_mark_equal(const struct file_mark *a, const struct file_mark *b);

enum { FILE_TEXT_SIZE_MAX = 1024 * 1024 };

/* The whole file, NUL-terminated, from malloc. ERR_NOTFOUND, ERR_DENIED,
 * ERR_INVALID (empty, larger than FILE_TEXT_SIZE_MAX or with a NUL byte),
 * ERR_NOMEM, ERR_IO; the message names the file. */
NODISCARD int file_read_text(const char *path, char **out, struct errmsg *e);
