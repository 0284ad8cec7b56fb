#include "store/lmdb_error.h"

#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <sys/statvfs.h>

/* LMDB calls a write that was cut short an EIO. The end of the disk does that,
 * and leaves less than one of its writes. */
enum { CUT_BYTES_MAX = 1024 * 1024 };

static bool disk_is_full(const char *path)
{
    struct statvfs fs;
    return statvfs(path, &fs) == 0 &&
           (unsigned long long)fs.f_bavail * fs.f_frsize < CUT_BYTES_MAX;
}

int lmdb_error(int rc, const char *doing, const char *path, struct errmsg *e)
{
    if (rc == EIO && disk_is_full(path))
        rc = ENOSPC;
    switch (rc) {
    case ENOSPC:
    case EDQUOT:
        return errmsg_set(e, ERR_NOSPACE,
                          "%s %s: the disk is full; free space and restart",
                          doing, path);
    case MDB_MAP_FULL:
        return errmsg_set(e, ERR_NOSPACE,
                          "%s %s: the map is full; restart, which makes one "
                          "of twice the file system",
                          doing, path);
    case MDB_INVALID:
        return errmsg_set(e, ERR_CORRUPT,
                          "%s %s: not a database of LMDB; move it away", doing,
                          path);
    case MDB_VERSION_MISMATCH:
        return errmsg_set(e, ERR_NEWER,
                          "%s %s: written by another version of LMDB", doing,
                          path);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_PANIC:
    case MDB_BAD_VALSIZE:
    case MDB_INCOMPATIBLE:
        return errmsg_set(e, ERR_CORRUPT,
                          "%s %s: damaged (%s); remove this node's data and "
                          "let it join again",
                          doing, path, mdb_strerror(rc));
    case MDB_READERS_FULL:
        return errmsg_set(e, ERR_LIMIT, "%s %s: too many readers at once",
                          doing, path);
    case ENOMEM:
        return errmsg_set(e, ERR_NOMEM, "%s %s: out of memory", doing, path);
    case EACCES:
    case EPERM:
    case EROFS:
        return errmsg_set(e, ERR_IO,
                          "%s %s: %s; make it writable for this user", doing,
                          path, mdb_strerror(rc));
    default:
        return errmsg_set(e, ERR_IO, "%s %s: %s", doing, path,
                          mdb_strerror(rc));
    }
}
