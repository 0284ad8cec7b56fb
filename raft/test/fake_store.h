/* A state machine for tests of replication: it counts records and chains their
 * bytes into a digest, so that replicas that differ in anything differ here. It
 * lives longer than a replica and can lose what it did not flush. */
#pragma once

#include "store/store.h"

struct store *fake_store_create(void);
void fake_store_destroy(struct store *s);

/* Back to the flushed state, as a crash leaves it. */
void fake_store_crash(struct store *s);

/* From now on no flush ends, or they may again. */
void fake_store_hold_flushes(struct store *s, bool hold);
bool fake_store_is_flushing(struct store *s);
/* How often a flush waited for the one before. */
uint64_t fake_store_flush_waits(struct store *s);

/* Pretends to flush from now on, or flushes again. */
void fake_store_lose_flushes(struct store *s, bool lose);
uint64_t fake_store_flushed_index(struct store *s);

/* The state of a copy, if one lies at @path; what was there is gone. */
void fake_store_load(struct store *s, const char *path);
/* From now on copies are so much larger. */
void fake_store_pad(struct store *s, size_t bytes);

/* Over all records applied, in order. */
uint64_t fake_store_digest(struct store *s);
uint64_t fake_store_records(struct store *s);
/* Entries that were applied before and skipped, since the start. */
uint64_t fake_store_skips(struct store *s);

/* From now on applying an entry takes so long, with a beat every 10 ms. */
void fake_store_dawdle(struct store *s, unsigned ms);

/* From now on the store wants a tick at this log time. */
void fake_store_want_close(struct store *s, uint64_t log_time_ms);
