/* What a store is made of. Shared by the files that are the store (apply,
 * flush, retention, load, digest, view, presence, store); nobody else includes
 * it.
 *
 * Who may touch what: the applier is the only writer. What readers see it
 * changes under @lock, and reads without it; readers take @lock for one copy.
 * A flush is the exception: who ends it (the flusher, or the applier in
 * store_flush) closes the slots under @lock. Once it is gathered, the job is
 * that thread's, which alone has a write transaction, and lets the job go under
 * @lock. Nobody changes it before.
 * The lock is never held during an LMDB commit. */
#pragma once

#include "store/environment.h"
#include "store/flush_job.h"
#include "store/raw.h"
#include "store/store.h"
#include "store/table.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    DIGESTS_KEPT = 16,
    LATE_CELLS_MAX = 1000 * 1000, /* more of them ask for a flush */
};

struct store {
    struct environment env;
    struct raw_log *raw;   /* owned; NULL: none is kept */
    struct roster *roster; /* owned; has a lock of its own, taken inside ours */

    pthread_cond_t flush_ended; /* with @lock: the job is gone, or failed */
    pthread_mutex_t lock;       /* readers and the applier's changes of: */
    struct table table;
    struct cells late; /* of minutes that are due, in any order */
    size_t gone;       /* slots that a flush took for expired; */
    struct slot_keys { /* of them and others, in order; every one is there */
        struct slot_key *items; /* owned */
        size_t count, capacity;
    } gone_keys;
    /* The hour and the day of the slots' partials, as of the last flush; of the
     * minutes the one that was not due then. */
    uint32_t partial[TIERS];
    struct flush_job job; /* what left the table and is not in the file yet */
    uint64_t applied_index, applied_term, log_time_ms;
    uint64_t generation;     /* of the file that job and table continue */
    int flush_failed;        /* the job stays: memory continues no file */
    uint32_t horizon[TIERS]; /* buckets before this one have expired */
    uint32_t earliest_open;  /* minute of the oldest open cell; UINT32_MAX */
    uint64_t unflushed;      /* samples since the last flush */
    struct store_counters counters;
    struct {
        uint64_t index, digest;
    } digests[DIGESTS_KEPT];
    size_t digest_count; /* ever computed; the ring holds the last */

    /* the applier only */
    int failed; /* the first error: memory no longer is the state of an index */
    struct outcome *outcomes; /* owned */
    size_t outcome_capacity;
    struct batch_peer *peers;                 /* owned; BATCH_PEERS_MAX */
    struct growth spread[SPREAD_MINUTES_MAX]; /* of a batch, by minute */
    store_beat_fn *beat;                      /* may be NULL */
    void *beat_arg;

    /* any thread, for a look without the lock */
    atomic_uint_fast64_t applied_index_seen, log_time_seen;
    atomic_uint_fast64_t flushed_index; /* changes under the lock */
};

/* A slot that nobody stored into for so long counts as absent, whether a flush
 * has removed it yet or not. */
static inline bool slot_is_expired(const struct slot *slot,
                                   uint64_t log_time_ms)
{
    return slot->seen_ms + SLOT_LIFE_MS < log_time_ms;
}

/* Of the flush that is under way, if there is one: its due cells are in the
 * job, and its partials are of the buckets in store.partial. */
static inline bool slot_is_closed(const struct store *s,
                                  const struct slot *slot)
{
    return !s->job.under_way ||
           slot->closed_by == (uint32_t)s->job.meta.generation;
}

/* load.c: what the file holds, into memory. */
NODISCARD int store_load(struct store *s, struct errmsg *e);

/* digest.c: of the state, right after a flush; remembered for @index. */
NODISCARD int digest_compute(struct store *s, uint64_t index, uint64_t *digest,
                             struct errmsg *e);
