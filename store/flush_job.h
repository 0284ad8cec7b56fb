/* One flush: what has left the table and is not in the file yet, with the rows
 * of the state that the file will hold: that of the index X at which the
 * applier begins it. It is gathered slot by slot, in short holds of the store's
 * lock, while the applier goes on: whoever comes to a slot first, the walk or a
 * change of apply, closes it, and apply keeps a copy for the walk. Then it is
 * written without the lock (store/flush.c), and let go under the lock again
 * when it is committed. Until then readers see its cells as part of memory
 * (store/view.c). docs/format.md, "What a flush does". */
#pragma once

#include "store/block.h"
#include "store/meta.h"

struct store;

enum { FLUSH_SLICE = 512 }; /* slots in one hold of the lock: 0.1 ms */

struct flush_job {
    /* under the lock */
    bool under_way;
    bool walking;            /* @due is in no order, slots may not be closed */
    struct cells due[TIERS]; /* of buckets that have closed; normalised when
                                the walk is over */
    struct cells late;       /* of minutes that had closed before, normalised;
                                in a tier whose bucket is not due they are in
                                the partials of the slots instead */
    uint32_t partial_before[TIERS]; /* of the slots that are not closed */
    size_t slots;                   /* of the table as it was at X; that part of
                                       the order stays as it is till the job is gone */
    size_t walked;                  /* of them */
    struct kept_slots {             /* slots as they were at X, closed */
        struct slot *items;         /* owned; their addresses are not */
        size_t count, capacity;
    } kept;

    /* never changed after X */
    struct meta meta;

    /* Rows: a key and a value, both `bytes`. An empty value: delete the row.
     * Addresses change under the lock until the walk is over. */
    struct buf checkpoint, addresses, roster;
    struct block_writer block; /* the walk's */
    struct slot *slice;        /* owned; FLUSH_SLICE; the walk's */
};

void flush_job_deinit(struct flush_job *job);

/* Fixes X: the late cells of @s and what else has changed but the slots go into
 * its job. The caller holds the lock. ERR_NOMEM: the table is no longer the
 * state of an index. */
NODISCARD int flush_job_begin(struct store *s) REQUIRES(applier_thread);

/* Apply has just added @slot. The caller holds the lock. */
void flush_job_leave_out(const struct store *s, struct slot *slot)
    REQUIRES(applier_thread);

/* Apply is about to change @slot. The caller holds the lock. ERR_NOMEM. */
NODISCARD int flush_job_keep(struct store *s, struct slot *slot)
    REQUIRES(applier_thread);

/* Walks over the next @count slots, at most FLUSH_SLICE, and takes the lock for
 * it. Called by who ends the flush, again and again: 1: there are more; 0: the
 * job is complete. ERR_NOMEM. */
NODISCARD int flush_job_walk(struct store *s, size_t count);
