/* What operators ask for (repl_change), on its way to the leader and back: a
 * follower sends it on its forward link and waits, the leader does one at a
 * time, by raft/membership or raft/succession. Raft loop, except repl_change.
 */
#pragma once

#include "raft/errand.h"
#include "raft/frame.h"

struct repl;

enum {
    CHANGES_MAX = 16,             /* waiting or asked here */
    CHANGE_WAIT_MS = 2000,        /* for a leader */
    CHANGE_ANSWER_MS = 60 * 1000, /* for its answer: catching up takes time */
};

struct changes {
    struct mailbox box;          /* struct repl_change, from any thread */
    struct repl_change *waiting; /* ->id: monotonic ms of arrival */
    struct repl_change *asked;   /* ->id: request id */
    size_t count;                /* of both */
    uint64_t request;            /* newest id */

    /* the leader's: the one under way */
    bool busy;
    struct errand recorded; /* the wish is in the log: back to the loop */
    struct submission wish;
    int wish_status;
    struct buf record;
    bool recording; /* the wish is under way */
    bool wished;    /* it is in the log */
    uint64_t target;
    int role;
    struct repl_change *local; /* asked for here; or, if NULL… */
    uint64_t peer_id, peer_request;
};

void changes_init(struct repl *r);

/* Takes what came from other threads. */
void changes_collect(struct repl *r);
void changes_beat(struct repl *r, uint64_t now_ms);

/* Frames of the forward channel. */
void changes_ordered(struct repl *r, uint64_t peer_id,
                     const struct frame *frame);
NODISCARD int changes_answered(struct repl *r, uint64_t peer_id,
                               const struct frame *frame);

/* The link to @peer_id broke: what it was asked is unknown. */
void changes_link_closed(struct repl *r, uint64_t peer_id);

/* Ends all: with ERR_UNKNOWN those that may be done yet, else ERR_CLOSED. */
void changes_close(struct repl *r);

/* After both threads have ended. */
void changes_deinit(struct repl *r);
