/* One replica of the cluster: libraft on its own event loop thread, an applier
 * thread that feeds the store, and the peer port. The only door for writes is
 * repl_submit, on any node and any thread: a follower forwards to the leader.
 *
 * What is acknowledged is on a majority's disks and applied here or on the
 * leader. Failures below the state machine are fatal (on_fatal): the process
 * must exit with the given code and start again. */
#pragma once

#include "base/err.h"
#include "base/mailbox.h"
#include "store/store.h"

struct repl;

enum {
    PEERS_MAX = 9,
    NODE_NAME_LENGTH_MAX = 63,
    ZONE_LENGTH_MAX = 63,
    RELEASE_LENGTH_MAX = 31,
    PEER_ADDRESS_LENGTH_MAX = 261, /* host:port */
    SUBMIT_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
    EXIT_RESTART = 75,
};

struct repl_peer {
    char name[NODE_NAME_LENGTH_MAX + 1];
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
};

enum repl_event_kind {
    REPL_INFO,
    REPL_WARN,  /* somebody should look */
    REPL_FATAL, /* the process must exit with @exit_code now */
    /* What this node needs lies ready in its data directory (a store that was
     * fetched): the process must start anew, at once and by itself. */
    REPL_RESTART,
};

/* Called on the raft loop or applier thread; must not block. The libraries do
 * not log: the daemon does, here. */
typedef void repl_event_fn(void *arg, enum repl_event_kind kind,
                           const char *event, const char *message,
                           int exit_code);

/* Called on the raft loop thread when this node becomes leader (and has applied
 * everything before its own first entry) or stops being it. */
typedef void repl_leader_fn(void *arg, bool leads);

/* Called on the applier thread after entries were applied, at most once per
 * group: the place from which roster changes and waiting reads are served. */
typedef void repl_applied_fn(void *arg, uint64_t applied_index);

struct repl_options {
    const char *name;
    const char *data_dir;     /* raft files go to <data_dir>/raft */
    const char *peer_address; /* host:port others dial; NULL: single node */
    const char *peer_bind;    /* ip:port */
    const struct repl_peer *initial_peers; /* borrowed during repl_start */
    size_t initial_peer_count;             /* 0 = single node */
    const char *zone;                      /* failure domain; NULL: none */
    const char *leader_zones; /* "a,b": where the leader should be; NULL: any */
    struct tls *peer_tls;     /* borrowed; NULL: peers talk in plain text */
    unsigned level;           /* feature level, 0 = LEVEL_NEWEST; tests take
                                 an older one */
    uint64_t disk_reserve;    /* bytes kept free for the log, 0 = default */
    unsigned election_timeout_ms, heartbeat_ms;
    /* Entries after which libraft takes a snapshot, and how many it keeps
     * before it; also bounded by bytes. 0 = default (16,384 and 65,536); tests
     * take small ones. */
    unsigned log_entries_max, tail_entries;
    struct store *store; /* borrowed: outlives the replica */
    repl_event_fn *on_event;
    repl_leader_fn *on_leader;
    repl_applied_fn *on_applied;
    void *arg; /* for the callbacks */
};

/* Takes over what a fetch or a restore left ready in @data_dir, if there is
 * something: before the store is opened, at every start. Nobody else may have
 * the directory open. Killed at any point, the next call finishes it. ERR_IO,
 * ERR_INVALID. */
NODISCARD int repl_adopt(const char *data_dir, struct errmsg *e);

/* Opens the data directory, binds the peer port, starts the threads. Returns
 * before there is a leader. ERR_INVALID, ERR_FOREIGN (directory of another
 * cluster), ERR_NEWER, ERR_CORRUPT (wipe it and rejoin), ERR_IO. */
NODISCARD int repl_start(const struct repl_options *options, struct repl **out,
                         struct errmsg *e);

/* Orderly stop: hand leadership over if there is somebody to take it (bounded),
 * fail what waits with ERR_CLOSED, flush the store, close, join, free. */
void repl_stop(struct repl *r);

/* One record to be replicated. Embedded in the caller's structure, which lives
 * until @done. */
struct submission {
    struct letter letter; /* the replica's until done */
    struct bytes record;  /* framed (record_put…); borrowed until done */
    /* Called once, on the raft loop or the applier thread; must not block.
     * status 0: committed and applied on the leader, see outcome.
     * ERR_AGAIN: certainly not submitted (no leader, or overload).
     * ERR_UNKNOWN: may or may not have been committed (leadership or link
     * lost). The counting rules make submitting batches again harmless; a
     * configuration command must be looked up instead. ERR_NEWER: the cluster
     * has not agreed on the feature level of such a record; some node must be
     * upgraded first. ERR_INVALID: no record. ERR_CLOSED: stopping. */
    void (*done)(struct submission *s, int status);
    struct outcome outcome;
    struct submission *next; /* private to the replica while it is submitted */
    uint64_t id;             /* private */
    uint64_t arrived_ms;     /* private: monotonic; 0: of another node */
};

/* Any thread. Always ends in exactly one call of s->done, never inside this
 * call. */
void repl_submit(struct repl *r, struct submission *s);

/* What a node says of itself to all others, twice a second. */
struct repl_facts {
    unsigned level;                       /* newest feature level it speaks */
    char release[RELEASE_LENGTH_MAX + 1]; /* HOLDFAST_VERSION */
    char zone[ZONE_LENGTH_MAX + 1];
    /* applied: libraft's own entries count as well, of which the store does
     * not know. */
    uint64_t term, last_index, commit_index, applied_index, flushed_index;
    uint64_t heard_ms_ago; /* a leader; UINT64_MAX = never */
    uint64_t store_bytes, disk_free_bytes;
    bool disk_low; /* takes no new entries until there is room */
    bool draining; /* wants no leadership and no gateways */
};

struct repl_node_status {
    uint64_t id;
    char name[NODE_NAME_LENGTH_MAX + 1];
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
    const char *role; /* "voter", "standby", "spare"; "joining": it knocked and
                         is not in the configuration yet. Static */
    bool leader;
    bool connected;          /* this node has a link to it (true for itself) */
    uint64_t rtt_us;         /* of the last ping, 0 = unknown */
    int64_t clock_offset_ms; /* its wall clock minus ours, if rtt_us != 0 */
    uint64_t facts_ms;       /* monotonic, when they came; 0 = never */
    struct repl_facts facts; /* its last ones */
};

struct repl_status {
    uint64_t raft_id;
    uint8_t cluster_id[CLUSTER_ID_SIZE]; /* zero before bootstrap */
    bool bootstrapped;
    /* "waiting" (to found or to join), "fetching" (a copy of the store),
     * "follower", "candidate", "leader", "removed". Static. */
    const char *state;
    uint64_t fetch_bytes, fetch_total; /* while it fetches */
    unsigned level;                    /* that the cluster has agreed on */
    bool draining, disk_low;
    uint64_t disk_free_bytes;
    bool has_leader, is_leader;
    uint64_t leader_id;
    uint64_t term, last_index, commit_index;
    uint64_t applied_index; /* as in repl_facts */
    uint64_t heard_ms; /* monotonic ms when a leader was last heard (now on the
                          leader); 0 = never since the start */
    uint64_t leader_commit_first; /* commit index when first heard: readiness */
    uint64_t leader_changes;
    uint64_t members_changes;      /* of the configuration, since the start */
    uint64_t pending;              /* submissions waiting */
    uint64_t failed;               /* submissions that ended in ERR_* */
    uint64_t entries, entry_bytes; /* proposed here as leader */
    uint64_t sent_bytes;           /* of entries, to all peers */
    uint64_t loop_ticked_ms, applier_ticked_ms; /* monotonic: liveness */
    struct repl_node_status nodes[PEERS_MAX];
    size_t node_count;
};

/* Any thread; a copy that the loop refreshes every few ms. */
void repl_status(struct repl *r, struct repl_status *out);

/* --- what an operator asks for ---------------------------------------------
 */

enum repl_change_kind {
    REPL_REMOVE = 1, /* out of the configuration */
    REPL_PROMOTE,    /* to voter, now; the autopilot may move it again */
    REPL_DEMOTE,     /* to standby, and the autopilot leaves it there */
    REPL_TRANSFER,   /* make @name the leader; "" = whoever is best */
};

/* Embedded in the caller's structure, which lives until @done. */
struct repl_change {
    struct letter letter; /* the replica's until done */
    enum repl_change_kind kind;
    char name[NODE_NAME_LENGTH_MAX + 1];
    /* Called once, on the raft loop; must not block. 0: it is in force.
     * ERR_NOTFOUND: no such node. ERR_DENIED: refused, because it would leave
     * fewer healthy voters than a quorum, or makes no sense. ERR_AGAIN: no
     * leader, another change is under way, or another node was elected than
     * was named. ERR_UNKNOWN: look at the status. @message is for people and
     * borrowed; it says so if a wish is recorded that holds all the same. */
    void (*done)(struct repl_change *c, int status, const char *message);
    /* private */
    uint64_t id, asked_of, asked_ms;
    struct repl_change *next;
};

/* Any thread, any node: it is sent to the leader. */
void repl_change(struct repl *r, struct repl_change *c);

/* Any thread. Makes what is applied here durable in the store soon, without
 * waiting for a minute to close: store_status.flushed_index tells. */
void repl_flush(struct repl *r);

/* Any thread. A draining node gives leadership away and takes none. */
void repl_drain(struct repl *r, bool drain);

/* The port that is bound, for ":0". */
uint16_t repl_peer_port(const struct repl *r);
