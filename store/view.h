/* A view: one consistent state of the buckets, partly in the file, partly in a
 * flush under way and partly in the table, each byte seen once. Of an hour or a
 * day the cells come in parts: who takes them sums up. docs/format.md, "What a
 * reader does".
 *
 *     view_begin       a read transaction, and the lock on the table
 *     view_each_open   cells that are in memory only
 *     view_unlock      the applier may go on; the transaction stays
 *     view_each_*      cells that are in the file
 *     view_end
 * Any thread, for one call. */
#pragma once

#include "store/state.h"
#include "store/view_range.h"

struct view {
    struct store *store; /* borrowed for the call */
    MDB_txn *txn;        /* owned */
    bool locked;
    bool file_is_ahead; /* it has the flush that is under way in memory */
    /* what the view shows */
    uint64_t applied_index, log_time_ms;
    uint32_t horizon[TIERS];
};

/* 0 or what the function returned, which ends the walk. */
typedef int view_cell_fn(void *arg, const struct cell *cell);

NODISCARD int view_begin(struct view *v, struct store *s, struct errmsg *e);
NODISCARD int view_each_open(struct view *v, const struct view_range *range,
                             view_cell_fn *fn, void *arg);
void view_unlock(struct view *v);
/* ERR_IO, ERR_CORRUPT, or what @fn returned. */
NODISCARD int view_each_closed(struct view *v, const struct view_range *range,
                               view_cell_fn *fn, void *arg, struct errmsg *e);
void view_end(struct view *v);

/* The range without what has expired. */
struct view_range view_range_kept(const struct view *v,
                                  const struct view_range *range);
