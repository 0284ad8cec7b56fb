/* The birth of a cluster: an empty node asks every initial peer who it is. When
 * all have answered, each node computes the same cluster id and the same first
 * configuration from the same (name, raft id, address) triples, and bootstraps
 * if every peer is empty or carries exactly that id. Nobody leads this; a node
 * that was away finishes later. Raft loop only. */
#pragma once

#include "raft/dial.h"

struct repl;

enum {
    PROBE_EVERY_MS = 200,
    PROBE_AGE_MS_MAX = 3000, /* an older answer does not count */
    WAITING_SOON_MS = 10 * 1000,
    WAITING_LATER_MS = 60 * 1000,
};

struct candidate {
    struct repl *repl;
    const struct repl_peer *peer; /* borrowed from the replica */
    struct dial *dial;
    uint64_t due_ms;
    uint64_t answered_ms; /* 0 = never */
    uint64_t raft_id;
    bool empty;
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    char why[96]; /* it does not count */
};

struct bootstrap {
    struct candidate candidates[PEERS_MAX];
    size_t count; /* 0 when there is nothing to wait for */
    uint64_t started_ms, told_ms;
};

/* A founding member. */
struct founder {
    const char *name, *address; /* borrowed */
    uint64_t raft_id;
};

/* The id of the cluster that these found, in any order (they get sorted by
 * name). */
void bootstrap_cluster_id(struct founder *founders, size_t count,
                          uint8_t out[CLUSTER_ID_SIZE]);

void bootstrap_start(struct repl *r);
void bootstrap_beat(struct repl *r, uint64_t now_ms);
void bootstrap_stop(struct repl *r);

/* Founds the cluster with these members (this node among them) and opens the
 * log. */
NODISCARD int bootstrap_found(struct repl *r, struct founder *founders,
                              size_t count, struct errmsg *e);
