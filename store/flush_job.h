/* One flush: what has left the table and is not in the file yet, with the rows
 * of the state that the file will hold. Made by the applier under the store's
 * lock, which is the only time that a flush needs it; written without while the
 * applier goes on (store/flush.c), and let go under the lock again when it is
 * committed. Until then readers see its cells as part of memory (store/view.c),
 * so nobody changes it. docs/format.md, "What a flush does". */
#pragma once

#include "store/cell.h"
#include "store/meta.h"

struct store;

struct flush_job {
    bool under_way;
    struct meta meta;
    struct cells due[TIERS]; /* of buckets that have closed, normalised */
    struct cells late;       /* of minutes that had closed before, normalised;
                                in a tier whose bucket is not due they are in
                                the partials of the slots instead */
    /* Rows: a key and a value, both `bytes`. An empty value: delete the row. */
    struct buf checkpoint, addresses, roster;
};

void flush_job_deinit(struct flush_job *job);

/* Moves due and late cells of @s into its job, minutes of open hours and days
 * into the partials, and writes down the rest of the state. The caller holds
 * the lock. ERR_NOMEM: the table is no longer the state of an index. */
NODISCARD int flush_job_fill(struct store *s) REQUIRES(applier_thread);
