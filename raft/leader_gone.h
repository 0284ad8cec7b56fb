/* An election that need not wait for libraft's random timers, nor for split
 * votes. A dead process closes its sockets: the forward link to it breaks, and
 * a new connection is refused. A frozen or cut-off leader is silent for an
 * election timeout. A voter that sees either tells all others (FRAME_GONE);
 * when they are a majority, the one with most of the log starts an election at
 * once, the next ones a little later. One bad link is no majority, so it
 * unseats nobody. Elections are safe whenever they start (dissertation, 3.4).
 * Raft loop only. */
#pragma once

#include "raft/resolver.h"

#include <uv.h>

struct repl;
struct frame;
struct gone_probe;

enum {
    GONE_BELIEFS_MAX = 9,       /* PEERS_MAX */
    GONE_BELIEF_MS = 1000,      /* for so long a belief counts */
    GONE_STAGGER_MS = 50,       /* between the elections of two voters */
    GONE_PROBE_MS_MAX = 1000,   /* after the link broke, it is probed */
    GONE_PROBE_TIMEOUT_MS = 200 /* an address that does not answer */
};

/* What a voter that believes the leader gone had of the log then. */
struct gone_belief {
    uint64_t id; /* the voter, 0 = free */
    uint64_t leader, term;
    uint64_t last_term, last_index;
    uint64_t heard_ms;
};

struct leader_gone {
    uint64_t leader, term; /* whom this is about; 0 = nobody */
    /* Where it listens, looked up while it lives. */
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t address_count;
    struct lookup *lookup; /* under way: the resolver's */

    bool broken; /* the forward link to it */
    uint64_t broken_ms, probed_ms;
    struct gone_probe *probes; /* under way */
    unsigned refused, other;   /* answers of this round */

    /* Beats since the leader was heard. Beats and not time: after a pause of
     * this process the leader has not been silent, we were deaf. */
    unsigned silent_beats;
    uint64_t silent_since_ms; /* the guard's heard_ms that they count from */

    struct gone_belief beliefs[GONE_BELIEFS_MAX];
    uint64_t majority_ms; /* since when they are a majority; 0: not */
};

/* Looks who leads, and starts the election that is due. Every turn. */
void leader_gone_turn(struct repl *r);
void leader_gone_beat(struct repl *r, uint64_t now_ms);

/* The forward link to @peer_id ended. */
void leader_gone_link_broke(struct repl *r, uint64_t peer_id);

/* @voter_id sent FRAME_GONE. */
void leader_gone_heard(struct repl *r, uint64_t voter_id,
                       const struct frame *frame);

/* This node has seen it itself: tells the others. */
void leader_gone_believe(struct repl *r);

void leader_gone_close(struct repl *r);
