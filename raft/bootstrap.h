/* The birth of a cluster: an empty node asks every initial peer who it is. When
 * all have answered, each node computes the same cluster id and the same first
 * configuration from the same (name, raft id, address) triples, and bootstraps
 * if every peer is empty or carries exactly that id. Nobody leads this; a node
 * that was away finishes later. Where there is a cluster already, what to do
 * with the answers is raft/joining's. Raft loop only. */
#pragma once

#include "raft/dial.h"
#include "raft/joining.h"

struct repl;

enum {
    PROBE_EVERY_MS = 200,
    PROBE_AGE_MS_MAX = 3000, /* an older answer does not count */
    WAITING_SOON_MS = 10 * 1000,
    WAITING_LATER_MS = 60 * 1000,
};

/* Who is asked: the initial peers, and the leader that they name. */
struct candidate {
    struct repl *repl;
    struct repl_peer peer;
    bool founder; /* in the list of initial peers */
    struct dial *dial;
    uint64_t due_ms;
    uint64_t answered_ms; /* 0 = never */
    uint64_t raft_id;
    bool empty, leads;
    bool member; /* this node's raft id is in its configuration */
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    char leader[MEMBER_ADDRESS_LENGTH_MAX + 1];
    char why[160]; /* it does not count */
};

struct bootstrap {
    struct candidate candidates[PEERS_MAX + 1];
    size_t count;
    bool running;
    uint64_t started_ms, told_ms;
    struct joining joining;
};

/* A founding member. */
struct founder {
    const char *name, *address; /* borrowed */
    uint64_t raft_id;
};

/* It answered, and not too long ago. */
bool candidate_counts(const struct candidate *c, uint64_t now_ms);

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
