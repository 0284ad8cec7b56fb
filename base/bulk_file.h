/* A large file written beside a database whose small syncs must not wait for
 * it: what is written goes to the disk piece by piece and leaves the page cache
 * again, so that there is never a burst to sync. Blocking; no thread. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { BULK_PIECE_BYTES = 4 * 1024 * 1024 };

struct bulk_file {
    int fd;           /* owned; -1: closed */
    const char *path; /* borrowed, for messages */
    uint64_t size;    /* written so far */
    uint64_t started; /* bytes before are on their way to the disk */
};

/* Opens @path (0600) to write on behind its first @offset bytes; what it has
 * beyond is cut off. Offset 0: made anew. ERR_IO, ERR_NOSPACE. */
NODISCARD int bulk_file_open(struct bulk_file *f, const char *path,
                             uint64_t offset, struct errmsg *e);

NODISCARD int bulk_file_write(struct bulk_file *f, const void *data,
                              size_t size, struct errmsg *e);

/* Everything is on the disk when it returns 0 (but for the directory entry). */
NODISCARD int bulk_file_sync(struct bulk_file *f, struct errmsg *e);

void bulk_file_close(struct bulk_file *f);
