/* Who should lead, and how leadership changes hands while its owner lives: on a
 * stop, on an operator's word, away from a draining node, from a disk that
 * stands still or is full, and into the preferred zones. What happens when the
 * leader dies is raft/leader_gone's. One hand-over at a time: proposing stops,
 * what is in flight is committed, libraft asks the successor to start an
 * election; when that does not succeed in time, this node goes on as the leader
 * (dissertation, 3.10). Raft loop only, but for repl_drain. */
#pragma once

#include "base/err.h"
#include "raft/errand.h"

#include <raft.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct repl;

enum {
    SETTLE_MS_MAX = 250,     /* for what is in flight, before a hand-over */
    TRANSFER_MS_MAX = 1000,  /* for a hand-over in all */
    TRANSFER_LAG_MAX = 1000, /* entries: who lacks more is no successor */
    RETRY_MS = 1000,         /* between two tries that nobody asked for */
    LOW_MS = 200,            /* until all know whose disk is low, too */
    ZONES_LENGTH_MAX = 511,
};

/* The end of a hand-over. 0: the successor leads. ERR_AGAIN: it was not asked,
 * or another than it leads. ERR_TIMEOUT: it was asked, and this node still
 * leads. ERR_UNKNOWN: nobody leads yet. ERR_CLOSED: the replica closes.
 * @message is for people and borrowed. */
typedef void succession_fn(void *arg, int status, const char *message);

struct succession {
    /* Times; tests shorten them before the loop runs. */
    unsigned stall_ms;       /* the leader's disk stands still */
    unsigned zone_stable_ms; /* a node in the preferred zones is better off */
    unsigned zone_pause_ms;  /* between two moves for the zones' sake */
    char leader_zones[ZONES_LENGTH_MAX + 1]; /* "a,b"; "": any */

    atomic_bool drain_wanted; /* any thread */
    bool draining;            /* gives leadership away */
    uint64_t low_since_ms;    /* the disk; 0: it is not */
    uint64_t tried_ms;        /* by itself, for whatever reason */
    uint64_t zone_since_ms, zone_moved_ms;

    /* the hand-over */
    enum { HANDOVER_NONE, HANDOVER_SETTLING, HANDOVER_ASKED } state;
    bool named; /* nobody else than @to will do */
    uint64_t to, began_ms;
    succession_fn *done; /* NULL: nobody waits */
    void *arg;
    struct raft_transfer request; /* libraft's while @requested */
    bool requested;
};

/* Before the loop runs. @leader_zones may be NULL. ERR_INVALID. */
NODISCARD int succession_init(struct repl *r, const char *leader_zones,
                              struct errmsg *e);

/* Begins to hand leadership to voter @to (0: whoever is best). 0: @done will
 * be called once, never inside this call. ERR_AGAIN: this node does not lead,
 * or hands it over already. ERR_NOTFOUND: no such member. ERR_DENIED: it
 * cannot lead now. With an error @e says why and @done is not called. */
NODISCARD int succession_transfer(struct repl *r, uint64_t to,
                                  succession_fn *done, void *arg,
                                  struct errmsg *e);

/* Nothing may be proposed meanwhile: it waits for who leads next. */
static inline bool succession_holds(const struct succession *s)
{
    return s->state != HANDOVER_NONE;
}

void succession_turn(struct repl *r);
void succession_beat(struct repl *r, uint64_t now_ms);

/* Ends a hand-over with ERR_CLOSED. */
void succession_close(struct repl *r);
