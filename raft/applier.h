/* The applier thread: the one that changes the store. It takes committed
 * entries from the raft loop in log order, applies them, tells the waiters what
 * became of their records, and begins a flush when the store asks for it, which
 * the flusher ends. */
#pragma once

#include "raft/errand.h"
#include "raft/flusher.h"
#include "raft/space.h"

enum {
    /* Committed entries that wait for the applier: beyond this a leader stops
     * proposing (a follower cannot stop its leader). */
    APPLIER_BACKLOG_BYTES_MAX = 32 * 1024 * 1024,
    /* How long a flush waits for the log of this node; then it is put off. */
    APPLIER_LOG_WAIT_MS_MAX = 1000,
};

struct applier {
    struct store *store;      /* borrowed */
    struct events *events;    /* borrowed */
    struct space *space;      /* borrowed; measured here */
    repl_applied_fn *applied; /* may be NULL */
    void *arg;
    mailbox_wake_fn *relieved; /* the backlog is gone; may be NULL */
    void *relieved_arg;

    pthread_t thread;
    sem_t mail; /* posted when the box was empty */
    struct mailbox box;
    atomic_bool stopping;
    atomic_size_t backlog_bytes;
    atomic_bool relief_wanted;
    struct flusher flusher;
    /* Up to here the log is on this node's disk; the loop keeps it. The store
     * is never flushed beyond (raft/history.h). */
    _Atomic uint64_t stored_index;
    _Atomic uint64_t ticked_ms;
    struct errand flush; /* in the box while flush_asked */
    atomic_bool flush_asked;

    /* the applier's */
    uint64_t applied_index; /* of this group, 0 = nothing yet */
    bool flush_put_off;     /* until there is room */
    bool broken_off;        /* one was left out: all that follow are, too */
};

/* Starts the thread, and the flusher. ERR_NOMEM, ERR_IO. */
NODISCARD int applier_start(struct applier *a, struct errmsg *e);

/* Applies everything that was handed over, flushes, joins both. Nothing may be
 * handed over any more. */
void applier_stop(struct applier *a);

/* Copies the entry at @index and hands it over with those who wait for its
 * records (a list by ->next, in the order of the records, or NULL), which are
 * done on the applier thread. ERR_NOMEM: nothing was taken. */
NODISCARD int applier_put(struct applier *a, uint64_t index, struct bytes entry,
                          struct submission *waiters);

/* Runs @errand on the applier thread after all that was put before. */
void applier_run(struct applier *a, struct errand *errand);

/* Makes the state durable before it returns. False: it could not, or waits for
 * room on the disk. */
bool applier_flush(struct applier *a) REQUIRES(applier_thread);

/* Makes the state durable soon; at most one such wish is under way. While a
 * flush is, a wish is part of it: who needs a later state asks again. */
void applier_want_flush(struct applier *a);

/* True if more than APPLIER_BACKLOG_BYTES_MAX wait; then relieved() is called
 * once, on the applier thread, when that is over. */
bool applier_is_behind(struct applier *a);
