/* The manifest: what libraft keeps and sends as a snapshot, a few bytes that
 * stand for the state in the store's own file (reference: a large snapshot
 * would be held in memory and sent many times). Bytes: docs/format.md,
 * "Snapshot manifest". Pure codec, no thread. */
#pragma once

#include "base/bytes.h"
#include "store/roster.h"

enum { MANIFEST_SIZE = 56, MANIFEST_FORMAT = 1 };

struct manifest {
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    /* A store that has applied this index needs nothing from before the
     * snapshot. */
    uint64_t index;
    uint64_t term;        /* in which it was taken */
    uint64_t store_bytes; /* a hint for people */
};

void manifest_encode(const struct manifest *m, uint8_t out[MANIFEST_SIZE]);

/* ERR_CORRUPT: not one that this version wrote. */
NODISCARD int manifest_decode(struct bytes in, struct manifest *out);
