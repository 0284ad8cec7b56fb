/* The giving side of the bulk channel: copies of the store for members that
 * cannot replay their way to the others. One copy is made at a time, shared by
 * all who can use it and kept for a while, so that a fetch that was cut goes on
 * where it was (this file: which copy there is). Each fetch has a thread of its
 * own, at low priority and at a bounded rate (raft/serving.c); the raft loop
 * only lets it in. docs/adr/0010. */
#pragma once

#include "raft/bulk.h"
#include "raft/errand.h"

#include <uv.h>

#include <pthread.h>
#include <stdatomic.h>

struct repl;

enum {
    COPY_KEPT_MS = 5 * 60 * 1000,        /* unused */
    COPY_FRESH_MS = 60 * 1000,           /* for a fetch that begins */
    COPY_WAIT_MS = 2000,                 /* between two "wait" */
    COPY_BYTES_PER_S = 96 * 1024 * 1024, /* made, and sent to each */
};

/* Where the log of a copy's receiver begins: taken on the loop, then everything
 * that the applier had by then is made durable. */
enum point_state { POINT_NONE, POINT_ASKED, POINT_TAKEN, POINT_FAILED };

enum copy_state { COPY_NONE, COPY_MAKING, COPY_READY };

struct copies {
    struct repl *repl;
    /* the loop's */
    uint64_t looked_ms;
    uv_fs_t removal; /* while @removing */
    bool removing;

    _Atomic uint64_t log_start; /* our log holds what follows this index */

    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    bool stopping;
    enum copy_state state;
    struct bulk_answer copy; /* COPY_READY */
    char *path;              /* owned: its file */
    unsigned users;
    uint64_t made_ms, used_ms;
    enum point_state point_state;
    struct seed point;
    struct errand ask, flush; /* on their way while POINT_ASKED */
};

/* Removes what an earlier process left. ERR_IO, ERR_NOMEM. */
NODISCARD int copies_init(struct repl *r, struct errmsg *e);

/* A copy that answers @request of the member @peer_id, made if there is none.
 * *path is good until copies_release. @wait is called every COPY_WAIT_MS
 * meanwhile; an error of it ends the waiting. ERR_AGAIN: not now, ERR_CLOSED:
 * this node stops, ERR_NOSPACE, ERR_IO. A thread of its own. */
NODISCARD int copies_obtain(struct copies *c, uint64_t peer_id,
                            const struct bulk_request *request,
                            int (*wait)(void *arg), void *arg,
                            struct bulk_answer *out, const char **path,
                            struct errmsg *e);
void copies_release(struct copies *c);

bool copies_stopping(struct copies *c);

/* Removes a copy that nobody wants any more. Raft loop. */
void copies_beat(struct repl *r, uint64_t now_ms);

/* Wakes all who wait; the loop has ended, the applier lives. */
void copies_stop(struct repl *r);
/* When nobody uses them any more. */
void copies_deinit(struct repl *r);
