/* Retention: which buckets of a tier have expired, and their way out of the
 * file. The horizon of a tier is part of the state, so apply moves it; that it
 * moves only a little for every bucket of log time keeps a clock that jumps
 * from emptying the store. Readers hide what is before it, so it does not
 * matter when that is deleted. docs/format.md, "Retention". Applier thread. */
#pragma once

#include "store/state.h"

enum {
    EXPIRY_BUCKETS_MAX = 2, /* a horizon moves so far per bucket of log time */
    EXPIRED_ROWS_MAX = 32 * 1024, /* of one tier, deleted by one flush */
};

/* Log time has moved on from @before_ms. */
void retention_move_horizons(struct store *s, uint64_t before_ms);

/* Has the minute expired in every tier? */
bool retention_is_over(const struct store *s, uint32_t minute);

/* Deletes from the front what is before the horizons of @job. Returns codes of
 * LMDB. */
NODISCARD int retention_expire(const struct environment *env, MDB_txn *txn,
                               const uint32_t horizon[TIERS]);
