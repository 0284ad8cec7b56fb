/* The cells of a flush: which are due, and their way into blocks and totals;
 * and what expires. Private to the store; applier thread. */
#pragma once

#include "store/state.h"

/* Gathers the due and the late cells into s->merged. ERR_NOMEM. */
NODISCARD int flush_gather(struct store *s);

/* Writes s->merged. These two return codes of LMDB. */
NODISCARD int flush_cells(struct store *s, MDB_txn *txn);

/* Deletes what is before the horizon. */
NODISCARD int flush_expiry(struct store *s, MDB_txn *txn);
