#define _GNU_SOURCE /* nftw */
#include "base/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REMOVE_DESCRIPTORS = 16 };

static int failed(const char *what, const char *path, struct errmsg *e)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
    return errmsg_set(e, code, "%s %.180s: %s", what, path, strerror(errno));
}

int durable_path(char out[DURABLE_PATH_SIZE], const char *dir, const char *name,
                 struct errmsg *e)
{
    int length = snprintf(out, DURABLE_PATH_SIZE, "%s/%s", dir, name);
    if (length < 0 || length >= DURABLE_PATH_SIZE)
        return errmsg_set(e, ERR_INVALID, "%.150s…: the path is too long", dir);
    return 0;
}

bool durable_exists(const char *path)
{
    struct stat s;
    return lstat(path, &s) == 0 || errno != ENOENT;
}

int durable_make_directory(const char *path, struct errmsg *e)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return failed("create", path, e);
    return 0;
}

int durable_sync(const char *directory, struct errmsg *e)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return failed("open", directory, e);
    int rv = fsync(fd) == 0 ? 0 : failed("sync", directory, e);
    close(fd);
    return rv;
}

static int write_synced(const char *path, const uint8_t *data, size_t size,
                        struct errmsg *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed("create", path, e);
    int rv = 0;
    while (rv == 0 && size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR)
            rv = failed("write", path, e);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    if (rv == 0 && fsync(fd) != 0)
        rv = failed("sync", path, e);
    close(fd);
    return rv;
}

static int sync_parent(const char *path, struct errmsg *e)
{
    char parent[DURABLE_PATH_SIZE];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return durable_sync(slash == NULL ? "." : "/", e);
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    return durable_sync(parent, e);
}

int durable_write(const char *path, const void *data, size_t size,
                  struct errmsg *e)
{
    char temporary[DURABLE_PATH_SIZE];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp", path);
    if (length < 0 || length >= DURABLE_PATH_SIZE)
        return errmsg_set(e, ERR_INVALID, "%.150s…: the path is too long",
                          path);
    int rv = write_synced(temporary, data, size, e);
    if (rv == 0 && rename(temporary, path) != 0)
        rv = failed("rename to", path, e);
    return rv == 0 ? sync_parent(path, e) : rv;
}

static int remove_one(const char *path, const struct stat *s, int kind,
                      struct FTW *place)
{
    (void)s;
    (void)kind;
    (void)place;
    return remove(path);
}

int durable_remove(const char *path, struct errmsg *e)
{
    if (nftw(path, remove_one, REMOVE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS) != 0 &&
        errno != ENOENT)
        return failed("remove", path, e);
    return 0;
}
