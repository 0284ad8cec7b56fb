/* The steps of store_apply that need the counting rules: a batch, a presence,
 * and the passing of log time. Private to the store; applier thread, under its
 * lock. */
#pragma once

#include "store/state.h"

/* One RECORD_NATIVE_BATCH or RECORD_LEGACY_BATCH. What cannot be done is an
 * outcome (the caller has set TAKEN); ERR_NOMEM: the state is half changed. */
NODISCARD int apply_batch(struct store *s, const struct record *record,
                          uint64_t index, struct outcome *outcome)
    REQUIRES(applier_thread);

/* One RECORD_PRESENCE: its minute is observed, whether something moved or not.
 * DUPLICATE: the minute is over, the record has no effect. */
NODISCARD int apply_presence(struct store *s, const struct record *record,
                             struct outcome *outcome) REQUIRES(applier_thread);

/* Log time never goes back; with it the horizon of expiry moves. */
void apply_log_time(struct store *s, uint64_t log_time_ms)
    REQUIRES(applier_thread);
