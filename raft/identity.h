/* Who this data directory is: <data_dir>/identity holds the raft id (random,
 * never used twice) and, once it was bootstrapped, the cluster id. Written to a
 * temporary name, synced and renamed, so it is there whole or not at all.
 *
 *   fresh -> raft id written -> raft log bootstrapped -> cluster id written
 *
 * Only a directory with a cluster id ever votes. Bytes: docs/format.md,
 * "Identity file". Any thread, before the loop runs or on it. */
#pragma once

#include "base/err.h"
#include "store/roster.h"

#include <stdbool.h>
#include <stdint.h>

enum { IDENTITY_FORMAT = 1, IDENTITY_SIZE = 48 };

struct identity {
    uint64_t raft_id;                    /* never 0 */
    uint8_t cluster_id[CLUSTER_ID_SIZE]; /* zero before the bootstrap */
};

bool identity_is_bootstrapped(const struct identity *id);

/* Makes what is missing (the directory, raft/, a new identity) and repairs a
 * bootstrap that was cut: its raft/ is wiped, its raft id kept.
 * ERR_CORRUPT, ERR_NEWER, ERR_IO; the message names the file and what to do. */
NODISCARD int identity_open(const char *data_dir, struct identity *out,
                            struct errmsg *e);

/* Only looks: nothing is made or repaired. ERR_NOTFOUND: there is none. */
NODISCARD int identity_read(const char *data_dir, struct identity *out,
                            struct errmsg *e);

/* Durable when it returns 0. ERR_IO, ERR_NOSPACE. */
NODISCARD int identity_save(const char *data_dir, const struct identity *id,
                            struct errmsg *e);

/* Keeps other processes out of the directory while the returned descriptor is
 * open. ERR_IO: somebody has it. */
NODISCARD int identity_lock(const char *data_dir, int *fd, struct errmsg *e);
