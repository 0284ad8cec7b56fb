#include "node/data_dir.h"

#include <dirent.h>
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

/* What a node may find before it has an identity: nothing, its own traces, or
 * the root of a fresh file system. */
static bool is_expected(const char *name)
{
    static const char *const names[] = {".",
                                        "..",
                                        "lost+found",
                                        "lock",
                                        "raft",
                                        "store",
                                        "admin-token",
                                        "admin-token.new",
                                        "admin-token.request",
                                        "next",
                                        "fetch",
                                        "fetch.tmp",
                                        "copies"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return strncmp(name, "identity", strlen("identity")) == 0;
}

/* Nobody's data is to be mixed with ours because of a wrong path. */
static int refuse_strange(const char *path, struct errmsg *e)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return errmsg_set(e, ERR_INVALID, "--data-dir: %.150s: %s", path,
                          strerror(errno));
    bool has_identity = faccessat(dirfd(dir), "identity", F_OK, 0) == 0;
    char strange[64] = "";
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (!has_identity && !is_expected(entry->d_name))
            snprintf(strange, sizeof strange, "%.60s", entry->d_name);
    closedir(dir);
    if (strange[0] == '\0')
        return 0;
    return errmsg_set(e, ERR_INVALID,
                      "--data-dir: %.150s holds other files (%s) and no node's "
                      "data: give a directory of its own",
                      path, strange);
}

int data_dir_take(const char *path, int *lock_fd, struct errmsg *e)
{
    int rv = make_with_parents(path, e);
    if (rv == 0)
        rv = refuse_strange(path, e);
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
