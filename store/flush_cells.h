/* The cells of a flush, tier by tier, into blocks and totals: appended behind
 * all others as a rule, else summed up with what is there. */
#pragma once

#include "store/environment.h"
#include "store/flush_job.h"

/* Returns codes of LMDB. */
NODISCARD int flush_cells(const struct environment *env,
                          const struct flush_job *job, MDB_txn *txn);
