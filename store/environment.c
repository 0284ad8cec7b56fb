#define _DEFAULT_SOURCE /* flock */
#include "store/environment.h"

#include "store/lmdb_error.h"
#include "store/page_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    DATABASES_MAX = 16, /* with room for the reserved ones */
    READERS_MAX = 512,
    LOCK_FILE_SIZE = 64 * 1024, /* more than so many readers need */
    MAP_UNIT = 1024 * 1024,     /* a multiple of any page */
};

static const uint64_t map_bytes_least = (uint64_t)64 << 30;
static const uint64_t map_bytes_most = (uint64_t)16 << 40;
static const uint8_t meta_key_bytes[2] = {'s', 't'};
const struct bytes meta_key = {meta_key_bytes, sizeof meta_key_bytes};

/* The entry of a new directory is durable only when its parent is synced. */
static int sync_parent(const char *path, struct errmsg *e)
{
    char *parent = strdup(path);
    if (parent == NULL)
        return errmsg_set(e, ERR_NOMEM, "opening %s: out of memory", path);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/')
        parent[--length] = '\0';
    char *slash = strrchr(parent, '/');
    const char *name = slash == NULL ? "." : slash == parent ? "/" : parent;
    if (slash != NULL && slash != parent)
        *slash = '\0';
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;
    int reason = errno;
    if (fd >= 0)
        close(fd);
    free(parent);
    if (failed)
        return errmsg_set(e, ERR_IO, "syncing the parent of %s: %s", path,
                          strerror(reason));
    return 0;
}

static int open_directory(struct environment *env, struct errmsg *e)
{
    if (mkdir(env->path, 0700) == 0) {
        int rc = sync_parent(env->path, e);
        if (rc != 0)
            return rc;
    } else if (errno != EEXIST) {
        return errmsg_set(e, ERR_IO, "creating %s: %s", env->path,
                          strerror(errno));
    }
    env->directory = open(env->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (env->directory < 0)
        return errmsg_set(e, ERR_IO, "opening %s: %s", env->path,
                          strerror(errno));
    if (flock(env->directory, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return errmsg_set(e, ERR_DENIED,
                              "%s is in use by another process; stop it first",
                              env->path);
        return errmsg_set(e, ERR_IO, "locking %s: %s", env->path,
                          strerror(errno));
    }
    return 0;
}

/* The file of LMDB's reader table is mapped and written: with a hole in it a
 * full disk is a SIGBUS. */
static int make_lock_file(const struct environment *env, struct errmsg *e)
{
    int fd =
        openat(env->directory, "lock.mdb", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(e, ERR_IO, "opening %s/lock.mdb: %s", env->path,
                          strerror(errno));
    int failed = posix_fallocate(fd, 0, LOCK_FILE_SIZE);
    close(fd);
    return failed == 0
               ? 0
               : lmdb_error(failed, "allocating lock.mdb in", env->path, e);
}

static bool address_space_has(uint64_t bytes)
{
    void *at = mmap(NULL, (size_t)bytes, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at != MAP_FAILED && munmap(at, (size_t)bytes) == 0;
}

/* The disk is to be full before the map is: raft/space.c watches the disk, and
 * a full map stops every replica for good. Twice the file system, because it
 * may grow or compress; less where addresses are short (39 bits, a limit). */
static uint64_t default_map_bytes(const char *path)
{
    struct statvfs fs;
    uint64_t size = map_bytes_least;
    if (statvfs(path, &fs) == 0 && fs.f_frsize > 0)
        size = fs.f_blocks < map_bytes_most / 2 / fs.f_frsize
                   ? (uint64_t)fs.f_blocks * fs.f_frsize * 2
                   : map_bytes_most;
    while (size > map_bytes_least && !address_space_has(size))
        size /= 2;
    size -= size % MAP_UNIT;
    return size > map_bytes_least ? size : map_bytes_least;
}

static int open_map(struct environment *env, uint64_t map_bytes,
                    struct errmsg *e)
{
    size_t size =
        (size_t)(map_bytes != 0 ? map_bytes : default_map_bytes(env->path));
    int dead;
    int rc = mdb_env_create(&env->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env->env, size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(env->env, DATABASES_MAX);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(env->env, READERS_MAX);
    /* Full sync: one commit a minute, and no power loss can break the file
     * (docs/format.md, "Sync mode"). Read transactions move between threads. */
    if (rc == 0)
        rc = mdb_env_open(env->env, env->path, MDB_NOTLS, 0600);
    if (rc == 0)
        rc = mdb_reader_check(env->env, &dead);
    return rc == 0 ? 0 : lmdb_error(rc, "opening the files in", env->path, e);
}

static int open_databases(struct environment *env, MDB_txn *txn)
{
    struct {
        const char *name;
        MDB_dbi *dbi;
    } databases[] = {
        {"meta", &env->meta},
        {"blk_min", &env->blocks[TIER_MINUTE]},
        {"blk_hour", &env->blocks[TIER_HOUR]},
        {"blk_day", &env->blocks[TIER_DAY]},
        {"tot", &env->totals},
        {"ck", &env->checkpoint},
        {"ep", &env->addresses},
        {"roster", &env->roster},
    };
    for (size_t i = 0; i < sizeof databases / sizeof *databases; i++) {
        int rc =
            mdb_dbi_open(txn, databases[i].name, MDB_CREATE, databases[i].dbi);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* A new file gets its first meta record together with its databases; what a
 * newer version wrote is left as it is. */
static int begin_file(struct environment *env, MDB_txn *txn, struct errmsg *e)
{
    int rc = open_databases(env, txn);
    if (rc != 0)
        return lmdb_error(rc, "opening the store in", env->path, e);
    struct meta meta;
    MDB_val key = val_of(meta_key.data, meta_key.size), value;
    rc = mdb_get(txn, env->meta, &key, &value);
    if (rc == 0) {
        rc = meta_get(bytes_of_val(&value), &meta, e);
        return rc == 0 ? 0 : errmsg_wrap(e, rc, "%s", env->path);
    }
    if (rc == MDB_NOTFOUND) {
        uint8_t record[META_SIZE];
        meta_put(record, &(struct meta){0});
        value = val_of(record, sizeof record);
        rc = mdb_put(txn, env->meta, &key, &value, MDB_NOOVERWRITE);
    }
    if (rc != 0)
        return lmdb_error(rc, "opening the store in", env->path, e);
    return 0;
}

static int open_file(struct environment *env, struct errmsg *e)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(env->env, NULL, 0, &txn);
    if (rc != 0)
        return lmdb_error(rc, "opening the store in", env->path, e);
    rc = begin_file(env, txn, e);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return lmdb_error(rc, "opening the store in", env->path, e);
    if (fsync(env->directory) != 0)
        return errmsg_set(e, ERR_IO, "syncing %s: %s", env->path,
                          strerror(errno));
    return 0;
}

int environment_open_bare(struct environment *env, const char *path,
                          uint64_t map_bytes, struct errmsg *e)
{
    *env = (struct environment){.directory = -1};
    env->path = strdup(path);
    if (env->path == NULL)
        return errmsg_set(e, ERR_NOMEM, "opening %s: out of memory", path);
    int rc = open_directory(env, e);
    if (rc == 0)
        rc = page_check(path, PAGE_CHECK_WHOLE_BYTES_MAX, e);
    if (rc == 0)
        rc = make_lock_file(env, e);
    if (rc == 0)
        rc = open_map(env, map_bytes, e);
    if (rc != 0)
        environment_close(env);
    return rc;
}

int environment_open(struct environment *env, const char *path,
                     uint64_t map_bytes, struct errmsg *e)
{
    int rc = environment_open_bare(env, path, map_bytes, e);
    if (rc != 0)
        return rc;
    rc = open_file(env, e);
    if (rc != 0)
        environment_close(env);
    return rc;
}

void environment_close(struct environment *env)
{
    if (env->env != NULL)
        mdb_env_close(env->env);
    if (env->directory >= 0)
        close(env->directory);
    free(env->path);
    *env = (struct environment){.directory = -1};
}

int environment_read(const struct environment *env, MDB_txn **txn,
                     struct meta *meta, struct errmsg *e)
{
    *txn = NULL;
    int rc = mdb_txn_begin(env->env, NULL, MDB_RDONLY, txn);
    if (rc != 0)
        return lmdb_error(rc, "reading", env->path, e);
    MDB_val key = val_of(meta_key.data, meta_key.size), value;
    rc = mdb_get(*txn, env->meta, &key, &value);
    if (rc == MDB_NOTFOUND)
        rc = errmsg_set(e, ERR_CORRUPT, "%s: no meta record", env->path);
    else if (rc != 0)
        rc = lmdb_error(rc, "reading", env->path, e);
    else if ((rc = meta_get(bytes_of_val(&value), meta, e)) != 0)
        rc = errmsg_wrap(e, rc, "%s", env->path);
    if (rc != 0) {
        mdb_txn_abort(*txn);
        *txn = NULL;
    }
    return rc;
}

void environment_size(const struct environment *env, uint64_t *used,
                      uint64_t *map)
{
    MDB_envinfo info;
    MDB_stat stat;
    *used = *map = 0;
    if (mdb_env_info(env->env, &info) != 0 ||
        mdb_env_stat(env->env, &stat) != 0)
        return;
    *used = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
    *map = info.me_mapsize;
}
