/* The inside of one replica, for the files that make it up: replica.c (start,
 * stop), loop.c (the turn of the raft loop), leadership.c, door.c (who may come
 * in), submit.c, forward.c, snapshot.c, bootstrap.c, status.c. Unless said
 * otherwise the raft loop owns it. */
#pragma once

#include "raft/applier.h"
#include "raft/bootstrap.h"
#include "raft/change.h"
#include "raft/copies.h"
#include "raft/fetch.h"
#include "raft/forward.h"
#include "raft/guard.h"
#include "raft/identity.h"
#include "raft/leader_gone.h"
#include "raft/level.h"
#include "raft/listener.h"
#include "raft/membership.h"
#include "raft/serving.h"
#include "raft/space.h"
#include "raft/submit.h"
#include "raft/succession.h"
#include "raft/transport.h"
#include "raft/unheard.h"

enum {
    BEAT_MS = 20,
    DRAIN_MS_MAX = 1000, /* for what is in flight at a stop */
    LINGER_MS = 40,      /* for the last answers, after a hand-over */
};

/*            start (bootstrapped)
 *   WAITING ----------------------> RUNNING -> HANDING -> DRAINING -> CLOSING
 *      |         bootstrap             ^  |                  ^
 *      +-------------------------------+  +------------------+
 *      +-- stop --> CLOSING               (not leader, or alone)
 *      |
 *      +-- admitted, or start with a note --> FETCHING -> CLOSING (restart)  */
enum phase {
    PHASE_WAITING,
    PHASE_FETCHING, /* raft is not open */
    PHASE_RUNNING,
    PHASE_HANDING,
    PHASE_DRAINING,
    PHASE_CLOSING
};

struct repl {
    /* set by repl_start, then only read: any thread */
    char name[NODE_NAME_LENGTH_MAX + 1];
    char address[PEER_ADDRESS_LENGTH_MAX + 1];
    char *data_dir; /* owned */
    char *raft_dir; /* owned */
    struct repl_peer initial[PEERS_MAX];
    size_t initial_count;
    bool founder; /* among the initial peers, or there are none */
    unsigned election_timeout_ms, heartbeat_ms;
    unsigned log_entries_max, tail_entries;
    unsigned level; /* newest feature level that this node speaks */
    char zone[ZONE_LENGTH_MAX + 1];
    struct store *store; /* borrowed */
    repl_leader_fn *on_leader;
    void *arg;
    uint16_t port;
    int lock_fd;

    struct events events;

    /* into the loop, from any thread */
    uv_async_t wake;
    struct mailbox submissions; /* struct submission */
    struct mailbox errands;     /* struct errand */

    struct space space;
    struct applier applier;

    /* the loop's */
    pthread_t thread;
    bool thread_started, applier_started;
    uv_loop_t loop;
    uv_prepare_t turn;
    uv_timer_t beat;
    enum phase phase;
    uint64_t phase_until_ms, linger_until_ms;
    struct identity identity;
    struct resolver *resolver; /* owned until resolver_stop */
    struct peer_tls peer_tls;
    struct dialer dialer;
    struct listener listener;
    struct transport transport;
    struct bootstrap bootstrap;
    struct membership membership;
    struct changes changes;
    struct level_raise raise;
    struct guard guard;
    struct raft_fsm fsm;
    struct raft raft;
    bool raft_open, raft_closed;
    struct submitter submitter;
    struct forward forward;
    struct copies copies; /* what other threads may touch is said there */
    struct servings servings;
    struct fetch fetch;
    uint64_t handed_index; /* newest index that the applier has or had */
    struct errand stop;
    struct succession succession;
    struct leader_gone gone;

    /* leadership as the loop has seen it */
    bool leads; /* libraft says so */
    bool ready; /* …and everything before was applied: on_leader(true) */
    uint64_t lead_term;
    uint64_t lead_first_index; /* to be applied before; 0: no more */
    uint64_t seen_leader;      /* id */
    uint64_t leader_changes;
    uint64_t members_index, members_changes; /* as the status saw them */
    struct unheard unheard;
    uint64_t stranger_ms; /* a member last said that this node is none */
    uint64_t failed;      /* submissions that ended in ERR_* on the loop */

    pthread_mutex_t status_lock;
    struct repl_status status; /* under status_lock */
    uint64_t status_ms;
    uint64_t store_bytes, store_asked_ms; /* the loop's: what the store takes */
};

/* --- loop.c --------------------------------------------------------------- */

/* Opens libraft on r->raft_dir; with @configuration bootstraps it first and
 * makes the cluster id durable. */
NODISCARD int repl_raft_open(struct repl *r,
                             const struct raft_configuration *configuration,
                             const uint8_t *cluster_id, struct errmsg *e);

NODISCARD int loop_init(struct repl *r, struct errmsg *e);
void *loop_main(void *arg);

/* Closes everything but r->wake; the loop ends when that is done. */
void loop_close(struct repl *r);

/* Any thread. */
void loop_wake(void *arg);

/* Leader in the middle of its work: may propose. */
static inline bool repl_may_propose(const struct repl *r)
{
    return r->phase == PHASE_RUNNING && r->leads && r->ready;
}

/* --- leadership.c --------------------------------------------------------- */

/* Looks whether this node or another leads. */
void leadership_turn(struct repl *r);
void leadership_lose(struct repl *r);

/* --- door.c --------------------------------------------------------------- */

/* Who may come in; with r->listener otherwise set. */
void door_init(struct repl *r);

/* The server with this id in the newest configuration, or NULL; borrowed until
 * the loop's turn ends. */
const struct raft_server *repl_member(const struct repl *r, uint64_t id);

/* Log index of that configuration. */
uint64_t repl_configuration_index(const struct repl *r);

/* --- snapshot.c ----------------------------------------------------------- */

void snapshot_init(struct repl *r);

/* Sets libraft's thresholds by the bytes in the log. */
void snapshot_beat(struct repl *r);

/* Name and address of a server; where its configuration has no name, what it
 * said itself, or the list of founders. */
void repl_peer_of(const struct repl *r, const struct raft_server *server,
                  struct repl_peer *out);

/* Says once a minute that this node was removed. */
void stranger_beat(struct repl *r, uint64_t now_ms);

/* The members say that this node is none of them, and no leader talks to it. */
bool repl_is_removed(const struct repl *r, uint64_t now_ms);

/* --- status.c ------------------------------------------------------------- */

void status_refresh(struct repl *r, uint64_t now_ms);

/* What this node tells the others of itself. */
void status_facts(struct repl *r, uint64_t now_ms, struct repl_facts *out);
