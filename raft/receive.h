/* One attempt to receive a copy of the store: the thread that asks on the bulk
 * channel, writes <data_dir>/next and makes it complete (docs/format.md,
 * "Next"). What came of an attempt that is cut stays, and is the beginning of
 * the next one. Part of raft/fetch.c. */
#pragma once

#include "raft/bulk.h"
#include "raft/errand.h"

#include <pthread.h>
#include <stdatomic.h>

struct receive {
    /* set by the loop before the start, then only read */
    const char *data_dir; /* borrowed */
    uint64_t raft_id;     /* of this node */
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    uint64_t index;         /* wanted at least */
    uint64_t reserve_bytes; /* to be left free on the disk */
    uint64_t term, voted_for;
    int fd; /* owned */
    struct mailbox *box;
    struct errand ended; /* into @box, once */

    pthread_t thread;
    _Atomic uint64_t bytes, total; /* progress, any thread */
    atomic_bool stopping;

    /* the thread's until it has ended */
    int result;
    uint64_t copy_index;
    struct errmsg e;
};

/* ERR_NOMEM. */
NODISCARD int receive_start(struct receive *x, struct errmsg *e);

/* Ends it soon. Any thread. */
void receive_cut(struct receive *x);

/* Closes the socket. */
void receive_join(struct receive *x);
