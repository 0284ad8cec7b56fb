/* What a defguard gateway is told: the Configuration of its location, and the
 * Update messages that lead from one log index to the next, both read from this
 * node's replica. What is copied under the roster's lock is encoded after it.
 * Any thread. reference section 4; DESIGN, "Configuration travels through the
 * log too" */
#pragma once

#include "base/bytes.h"
#include "store/store.h"

/* Appends the Configuration of @location; everything up to *index is in it.
 * ERR_NOTFOUND, ERR_NOMEM. */
NODISCARD int gateway_configuration_encode(struct store *store,
                                           uint32_t location, struct buf *out,
                                           uint64_t *index);

/* The updates of one location, from an index on. */
struct updates {
    struct store *store; /* borrowed */
    uint32_t location;
    uint64_t after;    /* changes up to here are in the queue or were sent */
    struct buf queue;  /* encoded Update messages, each with its length */
    size_t queue_sent; /* bytes of the queue that were taken */
    char *name;        /* owned: of the location, to name it when it is gone */
};

NODISCARD int updates_init(struct updates *u, struct store *store,
                           uint32_t location, uint64_t after);
void updates_deinit(struct updates *u);

/* Queues what changed since. @scratch has room for JOURNAL_CHANGES_MAX.
 * ERR_BEHIND: the journal no longer reaches back, the gateway must ask for its
 * Config again. ERR_NOMEM. */
NODISCARD int updates_collect(struct updates *u, struct change *scratch);

/* The next message, borrowed until the next call; false when all is sent. */
bool updates_next(struct updates *u, struct bytes *message);
