#define _GNU_SOURCE /* getrandom */
#include "raft/recover.h"

#include "base/assert.h"
#include "raft/disk_log.h"
#include "raft/identity.h"
#include "raft/probe.h"
#include "raft/replica.h"
#include "tls/tls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_SIZE = 4096, VOTER = 1 /* RAFT_VOTER */ };

static void tell(const struct recover_options *o, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void tell(const struct recover_options *o, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (o->progress != NULL)
        o->progress(o->arg, text);
}

static int io_error(struct errmsg *e, const char *what, const char *path)
{
    int code = errno == ENOSPC || errno == EDQUOT ? ERR_NOSPACE : ERR_IO;
    return errmsg_set(e, code, "%s %.300s: %s", what, path, strerror(errno));
}

static int path_of(char out[PATH_SIZE], const char *dir, const char *name,
                   struct errmsg *e)
{
    int length = snprintf(out, PATH_SIZE, "%s/%s", dir, name);
    if (length < 0 || length >= PATH_SIZE)
        return errmsg_set(e, ERR_INVALID, "%.200s…: the path is too long", dir);
    return 0;
}

/* --- inspect -------------------------------------------------------------- */

/* Locks the directory of a stopped node and reads who it is. */
static int take_directory(const char *data_dir, struct identity *identity,
                          int *lock_fd, struct errmsg *e)
{
    char path[PATH_SIZE];
    struct stat st;
    int rv = path_of(path, data_dir, "identity", e);
    if (rv != 0)
        return rv;
    if (stat(path, &st) != 0)
        return errmsg_set(e, ERR_INVALID,
                          "%.300s: no node's data directory (%s)", data_dir,
                          strerror(errno));
    rv = identity_lock(data_dir, lock_fd, e);
    return rv == 0 ? identity_read(data_dir, identity, e) : rv;
}

static int inspect_log(const char *data_dir, struct recover_report *out,
                       struct errmsg *e)
{
    char path[PATH_SIZE];
    struct disk_log log;
    int rv = path_of(path, data_dir, "raft", e);
    if (rv == 0)
        rv = disk_log_read(path, &log, e);
    if (rv != 0)
        return rv;
    out->term = log.term;
    out->voted_for = log.voted_for;
    out->last_index = log.last_index;
    out->last_term = log.last_term;
    out->snapshot_index = log.snapshot_index;
    memcpy(out->members, log.members, sizeof out->members);
    out->member_count = log.member_count;
    disk_log_deinit(&log);
    return 0;
}

static int inspect_store(const char *data_dir, struct recover_report *out,
                         struct errmsg *e)
{
    char path[PATH_SIZE];
    struct stat st;
    int rv = path_of(path, data_dir, "store/data.mdb", e);
    if (rv != 0 || stat(path, &st) != 0)
        return rv; /* no store yet */
    struct store *store;
    rv = path_of(path, data_dir, "store", e);
    if (rv == 0)
        rv = store_open(&(struct store_options){.path = path}, &store, e);
    if (rv != 0)
        return rv;
    struct store_status status;
    store_status(store, &status);
    out->applied_index = status.applied_index;
    out->log_time_ms = status.log_time_ms;
    out->store_bytes = status.used_bytes;
    out->locations = status.locations;
    out->devices = status.devices;
    out->gateways = status.gateways;
    store_close(store);
    return 0;
}

int recover_inspect(const char *data_dir, struct recover_report *out,
                    struct errmsg *e)
{
    *out = (struct recover_report){0};
    struct identity identity;
    int lock_fd = -1;
    int rv = take_directory(data_dir, &identity, &lock_fd, e);
    if (rv == 0) {
        out->raft_id = identity.raft_id;
        out->bootstrapped = identity_is_bootstrapped(&identity);
        memcpy(out->cluster_id, identity.cluster_id, CLUSTER_ID_SIZE);
        rv = inspect_log(data_dir, out, e);
    }
    if (rv == 0)
        rv = inspect_store(data_dir, out, e);
    if (lock_fd >= 0)
        close(lock_fd);
    return rv;
}

/* --- a new cluster -------------------------------------------------------- */

static int random_bytes(void *out, size_t size, struct errmsg *e)
{
    if (getrandom(out, size, 0) != (ssize_t)size)
        return errmsg_set(e, ERR_IO, "no random numbers: %s", strerror(errno));
    return 0;
}

/* Another cluster's id, another raft id, one member. */
static int new_identity(const struct recover_options *o, struct identity *id,
                        struct seed *seed, struct errmsg *e)
{
    *id = (struct identity){0};
    int rv = random_bytes(&id->raft_id, sizeof id->raft_id, e);
    if (rv == 0)
        rv = random_bytes(id->cluster_id, sizeof id->cluster_id, e);
    if (rv != 0)
        return rv;
    id->raft_id |= 1; /* never 0 */
    memcpy(seed->cluster_id, id->cluster_id, CLUSTER_ID_SIZE);
    seed->member_count = 1;
    seed->members[0].id = id->raft_id;
    seed->members[0].role = VOTER;
    int length =
        snprintf(seed->members[0].address, sizeof seed->members[0].address,
                 "%s=%s", o->name, o->address);
    if (length < 0 || (size_t)length >= sizeof seed->members[0].address)
        return errmsg_set(e, ERR_INVALID, "name or address is too long");
    return 0;
}

static int make_directory(const char *path, struct errmsg *e)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST
               ? 0
               : io_error(e, "create", path);
}

/* The store in @dir/store is there; around it a log that begins where it ends,
 * and at last the identity, which makes it a node's directory. */
static int build_around_store(const struct recover_options *o, const char *dir,
                              const struct copy_info *info, struct errmsg *e)
{
    char store[PATH_SIZE], raft[PATH_SIZE];
    struct identity id;
    struct seed seed = {.index = info->applied_index,
                        .term = info->applied_term,
                        /* Terms only grow; nobody has voted in this one. */
                        .current_term = info->applied_term + 1,
                        .configuration_index = info->applied_index};
    int rv = new_identity(o, &id, &seed, e);
    if (rv == 0)
        rv = path_of(store, dir, "store", e);
    if (rv == 0)
        rv = path_of(raft, dir, "raft", e);
    if (rv == 0)
        rv = store_copy_rename_cluster(store, id.cluster_id, e);
    if (rv == 0)
        rv = make_directory(raft, e);
    if (rv == 0)
        rv = seed_write(raft, &seed, e);
    return rv == 0 ? identity_save(dir, &id, e) : rv;
}

/* --- force ---------------------------------------------------------------- */

static int check_silent(const struct recover_options *o,
                        const struct identity *own, const struct disk_log *log,
                        struct tls *tls, struct errmsg *e)
{
    for (size_t i = 0; i < log->member_count; i++) {
        const struct seed_member *m = &log->members[i];
        if (m->id == own->raft_id)
            continue;
        const char *equals = strchr(m->address, '=');
        const char *address = equals == NULL ? m->address : equals + 1;
        struct hello_answer answer;
        char why[160] = "";
        enum probe_result result = probe_peer(address, tls, &answer, why);
        if (result == PROBE_STRANGE)
            return errmsg_set(e, ERR_DENIED,
                              "%s: something answers there (%s): stop it, or "
                              "give the peers' TLS files, so that it can be "
                              "asked who it is",
                              m->address, why);
        if (result == PROBE_ANSWERED &&
            memcmp(answer.cluster_id, own->cluster_id, CLUSTER_ID_SIZE) == 0)
            return errmsg_set(
                e, ERR_DENIED,
                "%s is alive and of this cluster. If a majority lives, start "
                "this node instead: nothing is lost. Otherwise stop every "
                "member first; after the recovery they join with empty data "
                "directories",
                m->address);
        tell(o, "%s: does not answer%s%s", m->address,
             why[0] != '\0' ? ": " : "", why);
    }
    return 0;
}

/* Everything in the log that the store does not have yet. */
static int replay(const struct recover_options *o, struct store *store,
                  const struct disk_log *log, struct errmsg *e)
{
    thread_role_assert(&applier_thread);
    uint64_t have = store_applied_index(store);
    uint64_t reach = log->count > 0 ? log->first_index : log->last_index + 1;
    if (log->last_index > have && reach > have + 1)
        return errmsg_set(e, ERR_BEHIND,
                          "the store ends at %llu and the log begins at %llu: "
                          "this node was too far behind; take another survivor",
                          (unsigned long long)have, (unsigned long long)reach);
    int rv = 0;
    uint64_t replayed = 0;
    for (size_t i = 0; i < log->count && rv >= 0; i++) {
        struct bytes entry = disk_log_command(log, i);
        struct apply_result result;
        if (log->first_index + i <= have || entry.size == 0)
            continue;
        rv = store_apply(store, log->first_index + i, entry, &result, e);
        replayed++;
    }
    if (rv >= 0)
        rv = store_flush(store, e);
    if (rv >= 0)
        tell(o, "applied %llu entries of the log, up to index %llu",
             (unsigned long long)replayed,
             (unsigned long long)store_applied_index(store));
    return rv < 0 ? rv : 0;
}

static int copy_store(const struct recover_options *o, const char *next,
                      struct errmsg *e)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    struct copy_info info;
    int rv = path_of(from, o->data_dir, "store", e);
    if (rv == 0)
        rv = path_of(to, next, "store", e);
    if (rv == 0)
        rv = make_directory(to, e);
    if (rv == 0)
        rv = path_of(to, next, "store/data.mdb", e);
    struct store *store = NULL;
    if (rv == 0)
        rv = store_open(&(struct store_options){.path = from}, &store, e);
    if (rv == 0)
        rv = store_copy(store, to, NULL, NULL, &info, e);
    store_close(store);
    if (rv == 0)
        tell(o, "copied the store (%llu bytes)",
             (unsigned long long)info.bytes);
    return rv;
}

/* The copy takes what the log has beyond it. Never the store itself: entries
 * that were not committed may be applied, and should this be given up, the old
 * directory must still be one of the old cluster. */
static int replay_into_copy(const struct recover_options *o,
                            const struct disk_log *log, const char *next,
                            struct copy_info *info, struct errmsg *e)
{
    char path[PATH_SIZE];
    struct store *store;
    int rv = path_of(path, next, "store", e);
    if (rv == 0)
        rv = store_open(&(struct store_options){.path = path}, &store, e);
    if (rv != 0)
        return rv;
    rv = replay(o, store, log, e);
    struct store_status status;
    store_status(store, &status);
    *info = (struct copy_info){.applied_index = status.applied_index,
                               .applied_term = status.applied_term,
                               .log_time_ms = status.log_time_ms};
    if (rv == 0 && status.applied_index == 0)
        rv = errmsg_set(e, ERR_INVALID,
                        "%.300s: nothing was ever applied here; found a new "
                        "cluster instead",
                        o->data_dir);
    store_close(store);
    return rv;
}

static int start_tls(const struct recover_options *o, struct tls **tls,
                     struct errmsg *e)
{
    *tls = NULL;
    return o->peer_tls == NULL ? 0 : tls_start(o->peer_tls, tls, e);
}

static int force_locked(const struct recover_options *o,
                        const struct identity *own, struct errmsg *e)
{
    char path[PATH_SIZE], next[PATH_SIZE];
    struct disk_log log;
    int rv = path_of(path, o->data_dir, "raft", e);
    if (rv == 0)
        rv = path_of(next, o->data_dir, "next", e);
    if (rv == 0)
        rv = disk_log_read(path, &log, e);
    if (rv != 0)
        return rv;
    struct tls *tls = NULL;
    struct copy_info info;
    rv = start_tls(o, &tls, e);
    if (rv == 0)
        rv = check_silent(o, own, &log, tls, e);
    tls_stop(tls);
    if (rv == 0)
        rv = adopt_begin(o->data_dir, e);
    if (rv == 0)
        rv = copy_store(o, next, e);
    if (rv == 0)
        rv = replay_into_copy(o, &log, next, &info, e);
    if (rv == 0)
        rv = build_around_store(o, next, &info, e);
    if (rv == 0)
        rv = adopt_complete(o->data_dir, e);
    disk_log_deinit(&log);
    return rv == 0 ? repl_adopt(o->data_dir, e) : rv;
}

int recover_force_new_cluster(const struct recover_options *o, struct errmsg *e)
{
    struct identity own;
    int lock_fd = -1;
    int rv = take_directory(o->data_dir, &own, &lock_fd, e);
    if (rv == 0 && !identity_is_bootstrapped(&own))
        rv = errmsg_set(e, ERR_INVALID,
                        "%.300s was never part of a cluster: nothing to "
                        "recover",
                        o->data_dir);
    if (rv == 0)
        rv = force_locked(o, &own, e);
    if (lock_fd >= 0)
        close(lock_fd);
    return rv;
}

/* --- restore -------------------------------------------------------------- */

static int check_empty(const char *data_dir, struct errmsg *e)
{
    DIR *dir = opendir(data_dir);
    if (dir == NULL)
        return io_error(e, "open", data_dir);
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
            rv = io_error(e, "read", "the backup");
        if (n <= 0)
            break;
        ssize_t written = write(to, piece, (size_t)n);
        if (written == n)
            continue;
        if (written >= 0) /* cut short: the next one would say why */
            errno = ENOSPC;
        rv = io_error(e, "write", path);
        break;
    }
    if (rv == 0 && fsync(to) != 0)
        rv = io_error(e, "sync", path);
    free(piece);
    return rv;
}

static int copy_file(const char *from_path, const char *to_path,
                     struct errmsg *e)
{
    int from = open(from_path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return io_error(e, "open", from_path);
    int to = open(to_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rv = to < 0 ? io_error(e, "create", to_path)
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
    char store[PATH_SIZE], file[PATH_SIZE];
    int rv = store_copy_inspect(copy, &info, e);
    if (rv == 0 && info.applied_index == 0)
        rv = errmsg_set(e, ERR_INVALID, "%.300s holds nothing", copy);
    if (rv == 0)
        rv = make_directory(o->data_dir, e);
    if (rv == 0)
        rv = check_empty(o->data_dir, e);
    if (rv == 0)
        rv = path_of(store, o->data_dir, "store", e);
    if (rv == 0)
        rv = path_of(file, store, "data.mdb", e);
    if (rv == 0)
        rv = make_directory(store, e);
    if (rv != 0)
        return rv;
    tell(o, "copying %.200s (%llu bytes)", copy,
         (unsigned long long)info.bytes);
    rv = copy_file(copy, file, e);
    /* The identity comes last: a restore that was cut leaves no node. */
    return rv == 0 ? build_around_store(o, o->data_dir, &info, e) : rv;
}
