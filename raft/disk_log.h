/* The raft directory of a stopped node, read through libraft itself, as a start
 * would read it (which also closes open segments): what the recovery tools look
 * at and replay. Nobody else may have the directory open. */
#pragma once

#include "base/bytes.h"
#include "raft/seed.h"

struct disk_log {
    uint64_t term, voted_for;
    uint64_t snapshot_index, snapshot_term; /* 0: none */
    uint64_t manifest_index;                /* raft/manifest.h */
    uint64_t last_index, last_term;         /* 0: an empty log */
    uint64_t first_index;                   /* of the entries that are there */
    size_t count;
    uint64_t configuration_index;
    struct seed_member members[PEERS_MAX];
    size_t member_count;
    struct raft_entry *entries; /* owned; @count of them */
};

/* ERR_CORRUPT, ERR_IO, ERR_NOMEM, ERR_INVALID (no such directory); the message
 * names what is wrong. */
NODISCARD int disk_log_read(const char *raft_dir, struct disk_log *out,
                            struct errmsg *e);
void disk_log_deinit(struct disk_log *log);

/* The command at @i < count; empty when libraft wrote that entry for itself. */
struct bytes disk_log_command(const struct disk_log *log, size_t i);
