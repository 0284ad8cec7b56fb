/* A raft directory that begins at a given index: the manifest of a snapshot,
 * the configuration, term and vote, and no entries, as libraft leaves it after
 * it installed that snapshot (libraft's own disk layer writes it). For a node
 * whose store was fetched or restored. Any thread; nobody may have the
 * directory open. docs/adr/0010. */
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
    /* Of a log entry: the store has all commands up to it, and the node goes on
     * behind it. Never 0. */
    uint64_t index, term;
    /* Of the store: less than @index when what follows are no commands, more
     * when it was written again before it was copied. 0: the same. */
    uint64_t applied_index;
    /* Never less than what this node wrote before: it may have voted
     * (seed_read_vote). */
    uint64_t current_term, voted_for;
    uint64_t configuration_index; /* at most @index */
    struct seed_member members[PEERS_MAX];
    size_t member_count; /* at least 1 */
};

/* Writes it into @raft_dir, which must be empty; synced. ERR_INVALID, ERR_IO,
 * ERR_NOSPACE, ERR_NOMEM. */
NODISCARD int seed_write(const char *raft_dir, const struct seed *seed,
                         struct errmsg *e);

/* The newest term in @raft_dir and who got this node's vote in it; zero where
 * nothing was ever written. ERR_CORRUPT, ERR_IO. */
NODISCARD int seed_read_vote(const char *raft_dir, uint64_t *term,
                             uint64_t *voted_for, struct errmsg *e);
