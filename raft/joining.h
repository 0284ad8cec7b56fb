/* The way of an empty node into a cluster that is there: it knocks at every
 * address that it knows until the leader has taken it into the configuration
 * (raft/membership does that), and then fetches a copy of the store. The raft
 * id is new and was never used, so nothing that it says can be a second vote.
 * Works on the answers that raft/bootstrap collects. Raft loop only. */
#pragma once

#include "store/roster.h"

#include <stdbool.h>
#include <stdint.h>

struct repl;

enum {
    KNOCK_EVERY_MS = 500,
    /* A founder that finds the others in their cluster gives those that are
     * still starting so long, so that it can found with all of them. */
    FOUNDER_PATIENCE_MS = 6000,
};

struct joining {
    bool knocking;                       /* …at this cluster */
    uint8_t cluster_id[CLUSTER_ID_SIZE]; /* zero: none was seen */
    uint64_t seen_ms;                    /* since when */
};

/* Looks at the answers: knocks, or begins to fetch when the leader says that
 * this node is a member. False: nobody is in a cluster. */
bool joining_beat(struct repl *r, uint64_t now_ms);
