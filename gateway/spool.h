/* The spool: the batches of one session that are not acknowledged yet, encoded,
 * in the order of their sequence numbers, in memory, bounded by bytes and by
 * count. Sequence numbers are the session's (1, 2, 3 …), so the spool is a ring
 * without holes. Pure; owned by session.c. What is kept on disk besides, for
 * the next run of the agent, is session_disk's. */
#pragma once

#include "base/bytes.h"

enum {
    SPOOL_BATCHES_MAX = 65536, /* 22 days of 30 s ticks */
};

struct spooled;

struct spool {
    struct spooled **ring; /* owned, and so is each of them */
    size_t capacity;       /* a power of two, or 0 */
    size_t front;          /* ring index of the oldest */
    size_t count;
    uint64_t first; /* sequence number of the oldest, or of the next one
                       while there is none */
    size_t size;    /* bytes */
    size_t bytes_max, batches_max;
};

void spool_init(struct spool *s, size_t bytes_max, size_t batches_max);
void spool_deinit(struct spool *s);

/* Forgets everything: the next batch has the number @next. */
void spool_clear(struct spool *s, uint64_t next);

/* The number that the next batch gets. */
uint64_t spool_next_sequence(const struct spool *s);

/* Copies @batch to the end. ERR_LIMIT: the spool is full. */
NODISCARD int spool_push(struct spool *s, struct bytes batch);

/* Drops @sequence and all before. */
void spool_acknowledge(struct spool *s, uint64_t sequence);

/* The batch with this number, borrowed until it is acknowledged; false if it
 * is not here. */
bool spool_get(const struct spool *s, uint64_t sequence, struct bytes *batch);
