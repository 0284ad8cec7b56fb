/* From submissions to log entries: on the leader, records of many submissions
 * are packed into one entry and a few entries are in flight; on a follower they
 * go to raft/forward. Raft loop, except where said. */
#pragma once

#include "base/bytes.h"
#include "raft/replica.h"

#include <stdatomic.h>

struct repl;
struct proposal;

enum {
    /* Measured: merging of queued appends in libraft is quadratic in bytes; few
     * in flight, packed, beats many. */
    PROPOSALS_MAX = 4,
    /* Entries that the leader's own disk does not have yet: beyond this it
     * stops proposing. */
    UNSTORED_BYTES_MAX = 16 * 1024 * 1024,
    SUBMIT_WAIT_MS = 2000, /* for a leader */
    TICK_CHECK_MS = 200,
};

/* A list by ->next, first in, first out. */
struct queue {
    struct submission *first, *last;
    size_t count, bytes;
};

void queue_push(struct queue *q, struct submission *s);
void queue_push_front(struct queue *q, struct submission *s);
struct submission *queue_pop(struct queue *q);

/* Moves records from the two queues, in turns, into @entry (after entry_begin)
 * and their submissions to @taken, until ENTRY_SIZE_GOAL is reached. At least
 * one goes, whatever its size. */
void submit_pack(struct queue *a, struct queue *b, struct buf *entry,
                 struct queue *taken);

struct submitter {
    struct queue waiting;       /* of this node */
    struct queue returned;      /* of these, what a leader did not take */
    struct queue orders;        /* of followers: proposed here or not at all */
    struct proposal *proposals; /* in flight */
    size_t proposal_count;
    uint64_t number;     /* of the newest proposal */
    uint64_t last_stamp; /* log time of it */
    struct buf scratch;
    uint64_t entries, entry_bytes;

    struct submission tick;
    struct buf tick_record;
    atomic_bool tick_busy; /* cleared where its outcome arrives */
    uint64_t tick_checked_ms;
};

NODISCARD int submit_init(struct repl *r, struct errmsg *e);
void submit_deinit(struct repl *r);

/* Takes what arrived from other threads. */
void submit_collect(struct repl *r);

/* A record that a follower forwarded, already validated. */
void submit_order(struct repl *r, struct submission *s);

/* The leader to which @s was forwarded certainly did not take it: it waits for
 * another try, not longer than anything waits for a leader. */
void submit_return(struct repl *r, struct submission *s);

/* Proposes or forwards what can be. */
void submit_pump(struct repl *r);

/* Ticks, and the end of those that waited too long. */
void submit_beat(struct repl *r, uint64_t now_ms);

/* Ends everything that waits with @status; what is in flight stays. */
void submit_fail_waiting(struct repl *r, int status);

/* The waiters of the entry that this process proposed as @number, now theirs
 * who asks; NULL if it is none of ours. */
struct submission *submit_claim(struct repl *r, uint64_t number);

/* Ends @s, which is not in any list any more. Loop. */
void submit_end(struct repl *r, struct submission *s, int status);
