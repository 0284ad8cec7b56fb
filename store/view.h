/* A view: one consistent state of the buckets, half in the file and half in the
 * table, each cell seen once. docs/format.md, "What a reader does".
 *
 *     view_begin       a read transaction, and the lock on the table
 *     view_each_open   cells that are in the table only
 *     view_unlock      the applier may go on; the transaction stays
 *     view_each_*      cells that are in the file
 *     view_end
 * Any thread, for one call. */
#pragma once

#include "store/state.h"

struct view {
    struct store *store; /* borrowed for the call */
    MDB_txn *txn;        /* owned */
    bool locked;
    bool table_is_behind; /* the file has a flush that the table has not
                             dropped yet */
    uint64_t file_log_time_ms;
    /* what the view shows */
    uint64_t applied_index, log_time_ms;
    uint32_t horizon;
};

/* Which cells: of one location or all (0), minutes [from, to), totals of the
 * gateways or cells of devices. */
struct view_range {
    uint32_t location;
    uint32_t from, to;
    bool totals;
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
