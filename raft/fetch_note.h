/* <data_dir>/fetch: raft must not be opened, a copy of the store is wanted.
 * Written before the process relies on it, removed when the copy has been taken
 * over (raft/adopt.c). Text. docs/format.md, "Fetch note". Any thread. */
#pragma once

#include "raft/member_address.h"
#include "store/roster.h"

#include <stdbool.h>
#include <stdint.h>

struct fetch_note {
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    uint64_t index; /* a copy must go on behind this one; 0: any */
    char members[PEERS_MAX][MEMBER_ADDRESS_LENGTH_MAX + 1]; /* whom to ask */
    size_t member_count;
};

/* Durable when it returns 0. ERR_IO, ERR_NOSPACE, ERR_NOMEM. */
NODISCARD int fetch_note_write(const char *data_dir,
                               const struct fetch_note *note, struct errmsg *e);

/* ERR_CORRUPT, ERR_IO. *found: false = there is none. */
NODISCARD int fetch_note_read(const char *data_dir, struct fetch_note *note,
                              bool *found, struct errmsg *e);
