#define _GNU_SOURCE /* getrandom, flock */
#include "raft/identity.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "base/bytes.h"

enum { PATH_SIZE = 4096 };

static const char MAGIC[8] = "HFIDENT";

static int load(const char *path, struct identity *out, bool *found,
                struct errmsg *e);
static int take_new_id(const char *data_dir, struct identity *out,
                       struct errmsg *e);
static int count_files(const char *dir, size_t *count, struct errmsg *e);
static int wipe_files(const char *dir, struct errmsg *e);
static int make_directory(const char *path, struct errmsg *e);
static int path_of(char *out, const char *dir, const char *name,
                   struct errmsg *e);

static int io_error(struct errmsg *e, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
    return errmsg_set(e, code, "%s %s: %s", what, path, strerror(errno));
}

bool identity_is_bootstrapped(const struct identity *id)
{
    static const uint8_t none[CLUSTER_ID_SIZE];
    return memcmp(id->cluster_id, none, sizeof none) != 0;
}

int identity_open(const char *data_dir, struct identity *out, struct errmsg *e)
{
    char file[PATH_SIZE], raft_dir[PATH_SIZE];
    int rv = path_of(file, data_dir, "identity", e);
    if (rv == 0)
        rv = path_of(raft_dir, data_dir, "raft", e);
    if (rv == 0)
        rv = make_directory(data_dir, e);
    if (rv == 0)
        rv = make_directory(raft_dir, e);
    bool found = false;
    size_t files = 0;
    if (rv == 0)
        rv = load(file, out, &found, e);
    if (rv == 0)
        rv = count_files(raft_dir, &files, e);
    if (rv != 0)
        return rv;
    if (!found && files > 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s is missing but %s holds a log: give the file "
                          "back, or wipe %s and rejoin as a new node",
                          file, raft_dir, data_dir);
    if (!found)
        return take_new_id(data_dir, out, e);
    if (identity_is_bootstrapped(out) && files == 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s belongs to a cluster but %s is empty: wipe %s "
                          "and rejoin as a new node",
                          file, raft_dir, data_dir);
    /* A bootstrap was cut: its log cannot be bootstrapped again, so it goes.
     * The id stays, since nothing was ever voted or stored under it (that
     * starts after the cluster id is durable), and the others may have founded
     * the cluster with it already. */
    if (!identity_is_bootstrapped(out) && files > 0)
        rv = wipe_files(raft_dir, e);
    return rv;
}

int identity_read(const char *data_dir, struct identity *out, struct errmsg *e)
{
    char file[PATH_SIZE];
    bool found = false;
    int rv = path_of(file, data_dir, "identity", e);
    if (rv == 0)
        rv = load(file, out, &found, e);
    if (rv == 0 && !found)
        rv = errmsg_set(e, ERR_NOTFOUND, "%s: not there", file);
    return rv;
}

static int sync_directory(const char *path, struct errmsg *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return io_error(e, "open", path);
    int rv = fsync(fd) == 0 ? 0 : io_error(e, "sync", path);
    close(fd);
    return rv;
}

static int write_whole(const char *path, const uint8_t *data, size_t size,
                       struct errmsg *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return io_error(e, "create", path);
    int rv = 0;
    ssize_t n = write(fd, data, size);
    if (n < 0)
        rv = io_error(e, "write", path);
    else if ((size_t)n != size)
        rv = errmsg_set(e, ERR_NOSPACE, "write %s: cut short", path);
    else if (fsync(fd) != 0)
        rv = io_error(e, "sync", path);
    close(fd);
    return rv;
}

int identity_save(const char *data_dir, const struct identity *id,
                  struct errmsg *e)
{
    char path[PATH_SIZE], temporary[PATH_SIZE];
    int rv = path_of(path, data_dir, "identity", e);
    if (rv == 0)
        rv = path_of(temporary, data_dir, "identity.tmp", e);
    if (rv != 0)
        return rv;
    uint8_t data[IDENTITY_SIZE] = {0};
    memcpy(data, MAGIC, sizeof MAGIC);
    le32_put(data + 8, IDENTITY_FORMAT);
    le64_put(data + 16, id->raft_id);
    memcpy(data + 24, id->cluster_id, CLUSTER_ID_SIZE);
    le64_put(data + 40, XXH3_64bits(data, 40));
    rv = write_whole(temporary, data, sizeof data, e);
    if (rv == 0 && rename(temporary, path) != 0)
        rv = io_error(e, "rename to", path);
    return rv == 0 ? sync_directory(data_dir, e) : rv;
}

int identity_lock(const char *data_dir, int *fd, struct errmsg *e)
{
    char path[PATH_SIZE];
    int rv = path_of(path, data_dir, "lock", e);
    if (rv == 0)
        rv = make_directory(data_dir, e);
    if (rv != 0)
        return rv;
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0)
        return io_error(e, "open", path);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        close(lock);
        return errmsg_set(e, ERR_IO,
                          "%s is in use by another process: stop that one, or "
                          "take another --data-dir",
                          data_dir);
    }
    *fd = lock;
    return 0;
}

static int decode(const char *path, const uint8_t *data, size_t size,
                  struct identity *out, struct errmsg *e)
{
    if (size < 12 || memcmp(data, MAGIC, sizeof MAGIC) != 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s is not an identity file: restore it, or wipe the "
                          "data directory and rejoin as a new node",
                          path);
    uint32_t format = le32_get(data + 8);
    if (format > IDENTITY_FORMAT)
        return errmsg_set(e, ERR_NEWER,
                          "%s has format %u, this version reads up to %d: "
                          "start a newer version",
                          path, format, IDENTITY_FORMAT);
    if (size != IDENTITY_SIZE || format != IDENTITY_FORMAT ||
        le64_get(data + 40) != XXH3_64bits(data, 40) ||
        le64_get(data + 16) == 0)
        return errmsg_set(e, ERR_CORRUPT,
                          "%s is damaged: restore it, or wipe the data "
                          "directory and rejoin as a new node",
                          path);
    out->raft_id = le64_get(data + 16);
    memcpy(out->cluster_id, data + 24, CLUSTER_ID_SIZE);
    return 0;
}

static int load(const char *path, struct identity *out, bool *found,
                struct errmsg *e)
{
    *out = (struct identity){0};
    *found = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : io_error(e, "open", path);
    uint8_t data[IDENTITY_SIZE + 1];
    ssize_t n = read(fd, data, sizeof data);
    int rv = n < 0 ? io_error(e, "read", path)
                   : decode(path, data, (size_t)n, out, e);
    close(fd);
    *found = rv == 0;
    return rv;
}

static int take_new_id(const char *data_dir, struct identity *out,
                       struct errmsg *e)
{
    *out = (struct identity){0};
    while (out->raft_id == 0)
        if (getrandom(&out->raft_id, sizeof out->raft_id, 0) < 0 &&
            errno != EINTR)
            return io_error(e, "random number for", data_dir);
    return identity_save(data_dir, out, e);
}

static int count_files(const char *path, size_t *count, struct errmsg *e)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return io_error(e, "open", path);
    *count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.')
            (*count)++;
    closedir(dir);
    return 0;
}

static int wipe_files(const char *path, struct errmsg *e)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return io_error(e, "open", path);
    int rv = 0;
    for (struct dirent *entry; rv == 0 && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            rv = io_error(e, "wipe", path);
    closedir(dir);
    return rv == 0 ? sync_directory(path, e) : rv;
}

static int make_directory(const char *path, struct errmsg *e)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return io_error(e, "create", path);
    return 0;
}

static int path_of(char *out, const char *dir, const char *name,
                   struct errmsg *e)
{
    int length = snprintf(out, PATH_SIZE, "%s/%s", dir, name);
    if (length < 0 || length >= PATH_SIZE)
        return errmsg_set(e, ERR_INVALID, "data directory: path is too long");
    return 0;
}
