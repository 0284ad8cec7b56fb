#include "raft/refound.h"

#include "base/durable.h"

#include "raft/disk_log.h"
#include "raft/identity.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Locks the directory of a stopped node and reads who it is. */
int refound_take_directory(const char *data_dir, struct identity *identity,
                           int *lock_fd, struct errmsg *e)
{
    char path[DURABLE_PATH_SIZE];
    struct stat st;
    int rv = durable_path(path, data_dir, "identity", e);
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
    char path[DURABLE_PATH_SIZE];
    struct disk_log log;
    int rv = durable_path(path, data_dir, "raft", e);
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
    char path[DURABLE_PATH_SIZE];
    struct stat st;
    int rv = durable_path(path, data_dir, "store/data.mdb", e);
    if (rv != 0 || stat(path, &st) != 0)
        return rv; /* no store yet */
    struct store *store;
    rv = durable_path(path, data_dir, "store", e);
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
    struct identity identity = {0};
    int lock_fd = -1;
    int rv = refound_take_directory(data_dir, &identity, &lock_fd, e);
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
