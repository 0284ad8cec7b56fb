/* A raft directory that begins at a given index: the manifest of a snapshot,
 * the configuration, term and vote, and no entries, as libraft would have left
 * it after it installed that snapshot. For a node whose store was fetched or
 * restored. Bytes: docs/format.md, "Raft directory". Before the loop runs. */
#pragma once

#include "raft/replica.h"
#include "store/roster.h"

struct seed_member {
    uint64_t id;
    char address[NODE_NAME_LENGTH_MAX + 1 + PEER_ADDRESS_LENGTH_MAX + 1];
    int role; /* libraft's RAFT_VOTER, RAFT_STANDBY, RAFT_SPARE */
};

struct seed {
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    uint64_t index, term; /* what the store has applied */
    /* Never less than what this node wrote before: it may have voted. */
    uint64_t current_term, voted_for;
    uint64_t configuration_index;
    struct seed_member members[PEERS_MAX];
    size_t member_count;
};

/* Writes it into @raft_dir, which must be empty; synced. ERR_IO,
 * ERR_NOSPACE. */
NODISCARD int seed_write(const char *raft_dir, const struct seed *seed,
                         struct errmsg *e);
