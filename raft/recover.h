/* Disaster recovery on the data directory of a stopped node: look at it, make a
 * new cluster of what it has when a majority is lost for good, or of a backup.
 * Both give the result a new cluster id and a new raft id, so that nothing of
 * the old cluster can mix with it, and one member; the others join it with
 * empty directories. Blocking; for holdfastctl, no thread of a node runs. */
#pragma once

#include "raft/seed.h"
#include "store/store.h"

struct tls_files;

struct recover_report {
    uint64_t raft_id;
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    bool bootstrapped;
    uint64_t term, voted_for;
    uint64_t last_index, last_term; /* compare these between survivors */
    uint64_t snapshot_index;
    uint64_t applied_index, log_time_ms; /* of the store */
    uint64_t store_bytes;
    uint64_t locations, devices, gateways;
    struct seed_member members[PEERS_MAX];
    size_t member_count;
};

/* What a stopped node's data directory holds. ERR_INVALID (no data directory),
 * ERR_IO (in use), ERR_CORRUPT, ERR_NEWER. */
NODISCARD int recover_inspect(const char *data_dir, struct recover_report *out,
                              struct errmsg *e);

struct recover_options {
    const char *data_dir;
    const char *name;    /* of the one member of the new cluster */
    const char *address; /* host:port at which others will reach it */
    /* To talk to peers that want TLS; NULL: plain text. */
    const struct tls_files *peer_tls;
    /* Told what is done, step by step; may be NULL. */
    void (*progress)(void *arg, const char *text);
    void *arg;
};

/* Makes a cluster of one of a survivor's directory: everything in its log, also
 * what may never have been committed, is applied; then it gets a fresh log.
 * Refused with ERR_DENIED while another member answers at its peer address: a
 * living quorum needs no force, and living nodes of the old cluster must be
 * stopped and wiped first. Killed at any point, it can be run again. */
NODISCARD int recover_force_new_cluster(const struct recover_options *options,
                                        struct errmsg *e);

/* Makes a data directory of the backup @copy. Refused with ERR_EXISTS if the
 * directory holds anything. */
NODISCARD int recover_restore(const struct recover_options *options,
                              const char *copy, struct errmsg *e);
