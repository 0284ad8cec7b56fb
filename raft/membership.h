/* Who belongs to the cluster, and as what: the leader's autopilot. It lets
 * those in that knock (raft/joining), replaces a member whose directory was
 * lost, makes a node that has the store a standby, a standby that keeps up a
 * voter, and a voter that is away for long a spare. One change at a time, and
 * never one that would leave fewer healthy voters than a quorum (dissertation,
 * 4.1). Operators' changes (raft/change) go the same way. Raft loop only. */
#pragma once

#include "raft/hello.h"

#include <raft.h>

struct repl;

enum {
    KNOCKS_MAX = 8,
    KNOCK_AGE_MS_MAX = 5000, /* who is silent for longer has gone */
    AUTOPILOT_EVERY_MS = 200,
    CAUGHT_UP_LAG_MAX = 1000, /* entries */
    CAUGHT_UP_MS_MIN = 3000,  /* for so long, before it votes */
    AWAY_MS_MAX = 60 * 1000,  /* a voter, before a standby takes its place */
    FACTS_AGE_MS_MAX = 3000,  /* older ones say nothing about now */
    AUTOPILOT_VOTERS_MAX = 7,
};

/* Somebody who wants to be let in. */
struct knock {
    uint64_t raft_id; /* 0: a free place */
    struct repl_peer peer;
    unsigned level;
    uint64_t seen_ms;
};

/* What the leader remembers of a member. */
struct member_watch {
    uint64_t id;
    uint64_t away_since_ms;   /* 0: it is there */
    uint64_t caught_since_ms; /* 0: it lags */
};

/* The end of a change: 0, ERR_AGAIN (not done, may be tried again),
 * ERR_UNKNOWN (leadership was lost), ERR_DENIED. */
typedef void membership_fn(struct repl *r, void *arg, int status,
                           const char *message);

struct membership {
    struct knock knocks[KNOCKS_MAX];
    struct member_watch watches[PEERS_MAX];
    uint64_t beat_ms;
    unsigned away_ms, caught_ms; /* AWAY_MS_MAX, CAUGHT_UP_MS_MIN; tests
                                    shorten them before the loop runs */

    /* the change under way */
    struct raft_change request; /* libraft's: also after a call that failed */
    bool changing;
    char doing[160]; /* for people, when it is done */
    membership_fn *done;
    void *arg;
};

enum member_change { MEMBER_ADD, MEMBER_REMOVE, MEMBER_ASSIGN };

void membership_init(struct repl *r);

/* Somebody said HELLO_JOIN to the leader. */
void membership_knock(struct repl *r, const struct hello *hello);

/* Looks after the members, if this node leads and is ready. */
void membership_beat(struct repl *r, uint64_t now_ms);

/* Whether membership_change would be refused now. */
NODISCARD int membership_check(struct repl *r, enum member_change change,
                               uint64_t id, int role, struct errmsg *e);

/* Removes @id, or gives it @role (libraft's). 0: @done will be called (never
 * inside this call; it may be NULL). ERR_AGAIN: not now. ERR_DENIED: never like
 * this; the message says why. */
NODISCARD int membership_change(struct repl *r, enum member_change change,
                                uint64_t id, int role, membership_fn *done,
                                void *arg, struct errmsg *e);

/* Ends what somebody waits for. */
void membership_close(struct repl *r);

/* A voter or standby that answers and has room for entries; this node too. */
bool membership_is_healthy(const struct repl *r, uint64_t id, uint64_t now_ms);
