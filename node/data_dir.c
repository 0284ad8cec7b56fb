#include "node/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_LENGTH_MAX = 4000 };

static int make_with_parents(const char *path, struct errmsg *e)
{
    char part[PATH_LENGTH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return errmsg_set(e, ERR_INVALID, "--data-dir: the path is too long");
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        mode_t mode = path[i] == '\0' ? 0700 : 0755;
        if (mkdir(part, mode) != 0 && errno != EEXIST)
            return errmsg_set(e, ERR_INVALID, "--data-dir: %.150s: %s", part,
                              strerror(errno));
    }
    return 0;
}

int data_dir_take(const char *path, int *lock_fd, struct errmsg *e)
{
    int rv = make_with_parents(path, e);
    if (rv != 0)
        return rv;
    char file[PATH_LENGTH_MAX + 8];
    snprintf(file, sizeof file, "%s/lock", path);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(e, ERR_INVALID, "--data-dir: %.150s: %s", file,
                          strerror(errno));
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_SETLK, &whole) != 0) {
        bool taken = errno == EACCES || errno == EAGAIN;
        rv = errmsg_set(
            e, taken ? ERR_EXISTS : ERR_IO, "--data-dir: %.150s: %s", path,
            taken ? "in use by another holdfast-node" : strerror(errno));
        close(fd);
        return rv;
    }
    *lock_fd = fd;
    return 0;
}
