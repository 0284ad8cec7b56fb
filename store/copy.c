/* Copies of the store: for a node that cannot replay its way to the others, for
 * backups and for recovery. LMDB writes a compacted copy of one state into a
 * pipe, and this thread takes it from there to the disk at a pace that leaves
 * the raft log its share of it. */
#define _GNU_SOURCE /* pipe2 */
#include "base/bulk_file.h"
#include "store/lmdb_error.h"
#include "store/roster_spec.h"
#include "store/state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { PIPE_BYTES = 1024 * 1024 };

/* --- making --------------------------------------------------------------- */

/* LMDB's end of the pipe, on a thread of its own. */
struct pump {
    MDB_env *env; /* borrowed */
    int fd;       /* closed by the thread */
    int rc;       /* LMDB's, when it has ended */
};

static void *pump_main(void *arg)
{
    struct pump *p = arg;
    /* The reader may give up: an error is wanted then, no signal. LMDB's own
     * writing thread takes this mask over. */
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    p->rc = mdb_env_copyfd2(p->env, p->fd, MDB_CP_COMPACT);
    close(p->fd);
    return NULL;
}

struct wish {
    bool (*may_go_on)(void *arg, uint64_t bytes); /* may be NULL */
    void *arg;
};

/* Until the other end closes. */
static int drain(int from, struct bulk_file *to, XXH3_state_t *hash,
                 const struct wish *wish, struct errmsg *e)
{
    uint8_t *block = malloc(PIPE_BYTES);
    if (block == NULL)
        return errmsg_set(e, ERR_NOMEM, "copying the store: out of memory");
    int rv = 0;
    while (rv == 0) {
        ssize_t n = read(from, block, PIPE_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rv =
                errmsg_set(e, ERR_IO, "copying the store: %s", strerror(errno));
        if (n <= 0)
            break;
        XXH3_128bits_update(hash, block, (size_t)n);
        rv = bulk_file_write(to, block, (size_t)n, e);
        if (rv == 0 && wish->may_go_on != NULL &&
            !wish->may_go_on(wish->arg, to->size))
            rv = errmsg_set(e, ERR_CLOSED, "the copy of the store was ended");
    }
    free(block);
    return rv;
}

static int copy_to(struct store *s, struct bulk_file *file, XXH3_state_t *hash,
                   const struct wish *wish, struct errmsg *e)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errmsg_set(e, ERR_IO, "copying the store: pipe: %s",
                          strerror(errno));
    (void)fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES); /* only faster */
    struct pump pump = {.env = s->env.env, .fd = ends[1]};
    pthread_t thread;
    if (pthread_create(&thread, NULL, pump_main, &pump) != 0) {
        close(ends[0]);
        close(ends[1]);
        return errmsg_set(e, ERR_NOMEM, "copying the store: no thread");
    }
    int rv = drain(ends[0], file, hash, wish, e);
    close(ends[0]); /* ends LMDB's writing if it goes on */
    pthread_join(thread, NULL);
    if (rv == 0 && pump.rc != 0)
        rv = lmdb_error(pump.rc, "copying", s->env.path, e);
    return rv == 0 ? bulk_file_sync(file, e) : rv;
}

int store_copy(struct store *s, const char *path,
               bool (*may_go_on)(void *arg, uint64_t bytes), void *arg,
               struct copy_info *out, struct errmsg *e)
{
    struct bulk_file file;
    XXH3_state_t *hash = XXH3_createState();
    if (hash == NULL)
        return errmsg_set(e, ERR_NOMEM, "copying the store: out of memory");
    XXH3_128bits_reset(hash);
    int rv = bulk_file_open(&file, path, 0, e);
    if (rv == 0) {
        struct wish wish = {may_go_on, arg};
        rv = copy_to(s, &file, hash, &wish, e);
        bulk_file_close(&file);
        if (rv == 0)
            rv = store_copy_inspect(path, out, e);
        if (rv != 0)
            unlink(path);
    }
    if (rv == 0) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(hash));
        memcpy(out->hash, canonical.digest, sizeof out->hash);
    }
    XXH3_freeState(hash);
    return rv;
}

/* --- looking -------------------------------------------------------------- */

/* Pages behind the end of the file would be a SIGBUS when they are read. */
static int check_whole(MDB_env *env, const char *path, uint64_t bytes,
                       struct errmsg *e)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc = mdb_env_info(env, &info);
    if (rc == 0)
        rc = mdb_env_stat(env, &stat);
    if (rc != 0)
        return lmdb_error(rc, "reading", path, e);
    uint64_t needed = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
    if (needed > bytes)
        return errmsg_set(
            e, ERR_CORRUPT, "%.150s is cut short: %llu bytes of %llu", path,
            (unsigned long long)bytes, (unsigned long long)needed);
    return 0;
}

static int read_meta(MDB_env *env, const char *path, struct meta *meta,
                     struct errmsg *e)
{
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    MDB_val key = val_of(meta_key.data, meta_key.size), value;
    int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, "meta", 0, &dbi);
    if (rc == 0)
        rc = mdb_get(txn, dbi, &key, &value);
    if (rc == MDB_NOTFOUND)
        rc = errmsg_set(e, ERR_CORRUPT, "%.180s holds no store", path);
    else if (rc != 0)
        rc = lmdb_error(rc, "reading", path, e);
    else if ((rc = meta_get(bytes_of_val(&value), meta, e)) != 0)
        rc = errmsg_wrap(e, rc, "%.100s", path);
    mdb_txn_abort(txn);
    return rc;
}

int store_copy_inspect(const char *path, struct copy_info *out,
                       struct errmsg *e)
{
    struct stat file;
    if (stat(path, &file) != 0)
        return errmsg_set(e, errno == ENOENT ? ERR_NOTFOUND : ERR_IO,
                          "%.180s: %s", path, strerror(errno));
    MDB_env *env;
    int rc = mdb_env_create(&env);
    if (rc != 0)
        return lmdb_error(rc, "reading", path, e);
    rc = mdb_env_set_maxdbs(env, 1);
    /* No lock file beside it, and nothing is written. */
    if (rc == 0)
        rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK,
                          0600);
    struct meta meta;
    if (rc != 0)
        rc = lmdb_error(rc, "reading", path, e);
    else
        rc = check_whole(env, path, (uint64_t)file.st_size, e);
    if (rc == 0)
        rc = read_meta(env, path, &meta, e);
    mdb_env_close(env);
    if (rc != 0)
        return rc;
    *out = (struct copy_info){.applied_index = meta.applied_index,
                              .applied_term = meta.applied_term,
                              .log_time_ms = meta.log_time_ms,
                              .bytes = (uint64_t)file.st_size};
    memcpy(out->cluster_id, meta.cluster_id, CLUSTER_ID_SIZE);
    return 0;
}

/* --- another cluster's ---------------------------------------------------- */

static int rename_meta(struct environment *env, MDB_txn *txn,
                       const uint8_t *cluster_id, struct errmsg *e)
{
    struct meta meta;
    MDB_val key = val_of(meta_key.data, meta_key.size), value;
    int rc = mdb_get(txn, env->meta, &key, &value);
    if (rc != 0)
        return lmdb_error(rc, "renaming", env->path, e);
    rc = meta_get(bytes_of_val(&value), &meta, e);
    if (rc != 0)
        return errmsg_wrap(e, rc, "%.100s", env->path);
    memcpy(meta.cluster_id, cluster_id, CLUSTER_ID_SIZE);
    uint8_t record[META_SIZE];
    meta_put(record, &meta);
    value = val_of(record, sizeof record);
    rc = mdb_put(txn, env->meta, &key, &value, 0);
    return rc == 0 ? 0 : lmdb_error(rc, "renaming", env->path, e);
}

static int rename_settings(struct environment *env, MDB_txn *txn,
                           const uint8_t *cluster_id, struct errmsg *e)
{
    MDB_val key = val_of(roster_settings_key, ROSTER_KEY_SIZE), value;
    int rc = mdb_get(txn, env->roster, &key, &value);
    if (rc == MDB_NOTFOUND)
        return errmsg_set(e, ERR_CORRUPT, "%.150s: the store has no settings",
                          env->path);
    if (rc != 0)
        return lmdb_error(rc, "renaming", env->path, e);
    struct buf row = {0};
    rc = roster_rename_settings(bytes_of_val(&value), cluster_id, &row);
    if (rc != 0) {
        rc = errmsg_set(e, rc, "%.150s: settings: %s", env->path, err_text(rc));
    } else {
        value = val_of(row.data, row.size);
        rc = mdb_put(txn, env->roster, &key, &value, 0);
        if (rc != 0)
            rc = lmdb_error(rc, "renaming", env->path, e);
    }
    buf_deinit(&row);
    return rc;
}

int store_copy_rename_cluster(const char *path, const uint8_t cluster_id[],
                              struct errmsg *e)
{
    struct environment env;
    int rc = environment_open(&env, path, 0, e);
    if (rc != 0)
        return rc;
    MDB_txn *txn = NULL;
    rc = mdb_txn_begin(env.env, NULL, 0, &txn);
    if (rc != 0)
        rc = lmdb_error(rc, "renaming", path, e);
    else if ((rc = rename_meta(&env, txn, cluster_id, e)) != 0 ||
             (rc = rename_settings(&env, txn, cluster_id, e)) != 0)
        mdb_txn_abort(txn);
    else if ((rc = mdb_txn_commit(txn)) != 0)
        rc = lmdb_error(rc, "renaming", path, e);
    environment_close(&env);
    return rc;
}
