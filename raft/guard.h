/* Between libraft and its disk and network: it patches the functions of the
 * same struct raft_io that raft_uv_init filled, so that what libraft ignores or
 * turns into undefined behaviour becomes fatal here (reference/libraft.md,
 * rules 4, 6, 7, 18), and sees what has no callback: when a leader was heard,
 * what it had committed, how large the log is. Raft loop only. */
#pragma once

#include "raft/events.h"
#include "raft/logsize.h"
#include "raft/resend.h"

#include <raft.h>
#include <raft/uv.h>

enum {
    GUARD_DISK_RETRY_MS = 5000,
    /* A write that fails makes libraft 0.22 crash after its first retry delay;
     * we must be gone before. */
    GUARD_STUCK_MS_MAX = 3500,
};

struct guard {
    struct raft_io io; /* the one that libraft uses: io->data is libraft's */
    struct events *events;
    const struct raft *raft; /* borrowed */
    /* What the log holds when raft_start has loaded it; may be NULL. Not 0: the
     * node must not take part, and raft_start fails. */
    int (*loaded)(void *arg, uint64_t term,
                  const struct raft_snapshot *snapshot, uint64_t start_index,
                  const struct raft_entry *entries, size_t count);
    /* Does this node take entries now, and does that peer (as far as it is
     * known)? @commands: there are others than a new leader's barrier and
     * changes of the configuration. @prev_index: they begin after it. NULL:
     * yes. What is not taken is sent again by libraft. */
    bool (*takes_entries)(void *arg, bool commands);
    bool (*peer_takes_entries)(void *arg, uint64_t peer_id, uint64_t prev_index,
                               bool commands);
    void *arg;

    struct raft_io inner;  /* the functions as libuv's backend set them */
    raft_io_recv_cb recv;  /* libraft's */
    bool closing;          /* cancelled requests are expected */
    struct errmsg refused; /* why loaded() said no */
    unsigned puts;         /* snapshots on their way to the disk */
    struct logsize log;
    struct resend resend;
    uint64_t sent_bytes;          /* of entries, to all peers */
    uint64_t heard_ms;            /* monotonic: last message of a leader */
    uint64_t heard_term;          /* in which it leads */
    uint64_t leader_commit_first; /* what the first leader had committed */
    /* Watchdog: for so long no entry reached the disk, though some wait. */
    uint64_t stuck_ms, stored_index, watched_ms;
};

/* Tests: what a write shall fail with, 0 = it does not; set before anything
 * runs. */
enum guard_call {
    GUARD_APPEND,
    GUARD_APPENDED, /* told by the callback */
    GUARD_SET_TERM,
    GUARD_SET_VOTE,
    GUARD_TRUNCATE,
    GUARD_SNAPSHOT_PUT,
    GUARD_SNAPSHOT_PUT_DONE,
};
extern int (*guard_fault)(enum guard_call call);

/* After raft_uv_init(&g->io, …), before raft_init. */
void guard_install(struct guard *g);

/* The watchdog; call every few ms while raft runs. */
void guard_beat(struct guard *g, uint64_t last_index, uint64_t now_ms);
