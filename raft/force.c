/* A new cluster of what one survivor has. See recover.h. */
#include "raft/refound.h"

#include "base/durable.h"
#include "base/thread.h"
#include "raft/disk_log.h"
#include "raft/identity.h"
#include "raft/member_address.h"
#include "raft/probe.h"
#include "tls/tls.h"

#include <string.h>
#include <unistd.h>

static int check_silent(const struct recover_options *o,
                        const struct identity *own, const struct disk_log *log,
                        struct tls *tls, struct errmsg *e)
{
    for (size_t i = 0; i < log->member_count; i++) {
        const struct seed_member *m = &log->members[i];
        if (m->id == own->raft_id)
            continue;
        struct hello_answer answer;
        char why[160] = "";
        enum probe_result result =
            probe_peer(member_address_dial(m->address), tls, &answer, why);
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
        refound_tell(o, "%s: does not answer%s%s", m->address,
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
    /* A store counts commands; up to a snapshot that it satisfies it lacks
     * none. */
    bool whole = log->manifest_index <= have && log->snapshot_index > have;
    uint64_t complete = whole ? log->snapshot_index : have;
    if (log->last_index > have && reach > complete + 1)
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
        refound_tell(o, "applied %llu entries of the log, up to index %llu",
                     (unsigned long long)replayed,
                     (unsigned long long)store_applied_index(store));
    return rv < 0 ? rv : 0;
}

static int copy_store(const struct recover_options *o, const char *next,
                      struct errmsg *e)
{
    char from[DURABLE_PATH_SIZE], to[DURABLE_PATH_SIZE];
    struct copy_info info;
    int rv = durable_path(from, o->data_dir, "store", e);
    if (rv == 0)
        rv = durable_path(to, next, "store", e);
    if (rv == 0)
        rv = durable_make_directory(to, e);
    if (rv == 0)
        rv = durable_path(to, next, "store/data.mdb", e);
    struct store *store = NULL;
    if (rv == 0)
        rv = store_open(&(struct store_options){.path = from}, &store, e);
    if (rv == 0)
        rv = store_copy(store, to, NULL, NULL, &info, e);
    store_close(store);
    if (rv == 0)
        refound_tell(o, "copied the store (%llu bytes)",
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
    char path[DURABLE_PATH_SIZE];
    struct store *store;
    int rv = durable_path(path, next, "store", e);
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

/* The same as a fetch leaves: raft/adopt.h. */
static int build_next(const struct recover_options *o,
                      const struct disk_log *log, struct errmsg *e)
{
    char next[DURABLE_PATH_SIZE], complete[DURABLE_PATH_SIZE];
    struct copy_info info;
    int rv = durable_path(next, o->data_dir, "next", e);
    if (rv == 0)
        rv = durable_path(complete, next, "complete", e);
    /* What an attempt that was cut, or a fetch, has left. */
    if (rv == 0)
        rv = durable_remove(next, e);
    if (rv == 0)
        rv = durable_make_directory(next, e);
    if (rv == 0)
        rv = copy_store(o, next, e);
    if (rv == 0)
        rv = replay_into_copy(o, log, next, &info, e);
    if (rv == 0)
        rv = refound_around_store(o, next, &info, e);
    if (rv == 0)
        rv = durable_sync(next, e);
    if (rv == 0)
        rv = durable_sync(o->data_dir, e);
    return rv == 0 ? durable_write(complete, "", 0, e) : rv;
}

static int force_locked(const struct recover_options *o,
                        const struct identity *own, struct errmsg *e)
{
    char raft[DURABLE_PATH_SIZE];
    struct disk_log log;
    struct tls *tls = NULL;
    int rv = durable_path(raft, o->data_dir, "raft", e);
    if (rv == 0)
        rv = disk_log_read(raft, &log, e);
    if (rv != 0)
        return rv;
    if (o->peer_tls != NULL)
        rv = tls_start(o->peer_tls, &tls, e);
    if (rv == 0)
        rv = check_silent(o, own, &log, tls, e);
    tls_stop(tls);
    if (rv == 0)
        rv = build_next(o, &log, e);
    disk_log_deinit(&log);
    return rv == 0 ? repl_adopt(o->data_dir, e) : rv;
}

int recover_force_new_cluster(const struct recover_options *o, struct errmsg *e)
{
    struct identity own;
    int lock_fd = -1;
    int rv = refound_take_directory(o->data_dir, &own, &lock_fd, e);
    /* A copy that had come when the node was stopped is newer than what the
     * node had before. */
    if (rv == 0)
        rv = repl_adopt(o->data_dir, e);
    if (rv == 0)
        rv = identity_read(o->data_dir, &own, e);
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
