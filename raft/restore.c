/* A data directory from a backup. See recover.h. */
#include "raft/refound.h"

#include "base/durable.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int refound_check_empty(const char *data_dir, struct errmsg *e)
{
    DIR *dir = opendir(data_dir);
    if (dir == NULL)
        return refound_io_error(e, "open", data_dir);
    int rv = 0;
    for (struct dirent *entry; rv == 0 && (entry = readdir(dir)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "lost+found") != 0)
            rv = errmsg_set(e, ERR_EXISTS,
                            "%.300s is not empty (%.60s): restore into a new "
                            "directory, or move the old one aside",
                            data_dir, entry->d_name);
    closedir(dir);
    return rv;
}

static int copy_bytes(int from, int to, const char *path, struct errmsg *e)
{
    enum { PIECE = 1024 * 1024 };
    uint8_t *piece = malloc(PIECE);
    if (piece == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = 0;
    for (;;) {
        ssize_t n = read(from, piece, PIECE);
        if (n < 0)
            rv = refound_io_error(e, "read", "the backup");
        if (n <= 0)
            break;
        ssize_t written = write(to, piece, (size_t)n);
        if (written == n)
            continue;
        if (written >= 0) /* cut short: the next one would say why */
            errno = ENOSPC;
        rv = refound_io_error(e, "write", path);
        break;
    }
    if (rv == 0 && fsync(to) != 0)
        rv = refound_io_error(e, "sync", path);
    free(piece);
    return rv;
}

int refound_copy_file(const char *from_path, const char *to_path,
                      struct errmsg *e)
{
    int from = open(from_path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return refound_io_error(e, "open", from_path);
    int to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rv = to < 0 ? refound_io_error(e, "create", to_path)
                    : copy_bytes(from, to, to_path, e);
    close(from);
    if (to >= 0)
        close(to);
    return rv;
}

int recover_restore(const struct recover_options *o, const char *copy,
                    struct errmsg *e)
{
    struct copy_info info;
    char store[DURABLE_PATH_SIZE], file[DURABLE_PATH_SIZE];
    int rv = store_copy_inspect(copy, &info, e);
    if (rv == 0 && info.applied_index == 0)
        rv = errmsg_set(e, ERR_INVALID, "%.300s holds nothing", copy);
    if (rv == 0)
        rv = durable_make_directory(o->data_dir, e);
    if (rv == 0)
        rv = refound_check_empty(o->data_dir, e);
    if (rv == 0)
        rv = durable_path(store, o->data_dir, "store", e);
    if (rv == 0)
        rv = durable_path(file, store, "data.mdb", e);
    if (rv == 0)
        rv = durable_make_directory(store, e);
    if (rv != 0)
        return rv;
    refound_tell(o, "copying %.200s (%llu bytes)", copy,
                 (unsigned long long)info.bytes);
    rv = refound_copy_file(copy, file, e);
    /* The identity comes last: a restore that was cut leaves no node. */
    return rv == 0 ? refound_around_store(o, o->data_dir, &info, e) : rv;
}
