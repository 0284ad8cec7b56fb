#define _GNU_SOURCE /* sync_file_range */
#include "base/bulk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int failed(const struct bulk_file *f, const char *what, struct errmsg *e)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
    return errmsg_set(e, code, "%s %.180s: %s", what, f->path, strerror(errno));
}

int bulk_file_open(struct bulk_file *f, const char *path, uint64_t offset,
                   struct errmsg *e)
{
    *f = (struct bulk_file){.path = path, .size = offset, .started = offset};
    f->fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return failed(f, "create", e);
    if (ftruncate(f->fd, (off_t)offset) != 0 ||
        lseek(f->fd, (off_t)offset, SEEK_SET) < 0) {
        int rv = failed(f, "cut", e);
        bulk_file_close(f);
        return rv;
    }
    return 0;
}

/* The last piece starts for the disk; the one before must be there by now and
 * need not be remembered. Hints: where they fail the sync at the end is only
 * slower. */
static void push_piece(struct bulk_file *f)
{
    off_t from = (off_t)f->started, length = (off_t)(f->size - f->started);
    sync_file_range(f->fd, from, length, SYNC_FILE_RANGE_WRITE);
    off_t before = from < BULK_PIECE_BYTES ? from : BULK_PIECE_BYTES;
    if (before > 0) {
        sync_file_range(f->fd, from - before, before,
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER);
        posix_fadvise(f->fd, from - before, before, POSIX_FADV_DONTNEED);
    }
    f->started = f->size;
}

int bulk_file_write(struct bulk_file *f, const void *data, size_t size,
                    struct errmsg *e)
{
    const char *at = data;
    while (size > 0) {
        ssize_t n = write(f->fd, at, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return failed(f, "write", e);
        at += n;
        size -= (size_t)n;
        f->size += (uint64_t)n;
    }
    if (f->size - f->started >= BULK_PIECE_BYTES)
        push_piece(f);
    return 0;
}

int bulk_file_sync(struct bulk_file *f, struct errmsg *e)
{
    return fsync(f->fd) == 0 ? 0 : failed(f, "sync", e);
}

void bulk_file_close(struct bulk_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}
