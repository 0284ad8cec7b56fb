/* One tick as the spool on disk keeps it: the batches that were added, how far
 * the session is acknowledged and sent, and of the sampler what from_zero hangs
 * on. A tick is one record, so it is on the disk whole or not at all. Pure;
 * docs/format.md, "The agent's spool". */
#pragma once

#include "gateway/sampler.h"
#include "gateway/spool.h"

/* How far a session is. */
struct spool_marks {
    uint64_t acknowledged; /* this number and all before are on a majority */
    uint64_t sent;         /* no higher number was given to the network */
};

/* Appends the payload of a record: the batches of @spool from number @first
 * on, and the sampler as it is after them. Its peers are repeated with
 * @with_peers; without, they follow from the record before and the batches. */
void spool_record_put(struct buf *out, const struct spool_marks *marks,
                      const struct spool *spool, uint64_t first,
                      const struct sampler *sampler, bool with_peers);

struct spool_record {
    struct spool_marks marks;
    uint64_t first; /* number of the first batch, or of the next one */
    size_t batch_count;
    bool has_peers, watched;
    struct wg_identity identity;
    size_t peer_count;
    struct reader batches, peers; /* borrowed from the payload */
};

/* ERR_CORRUPT: not such a payload, down to its last byte. */
NODISCARD int spool_record_open(struct bytes payload, struct spool_record *out);

/* The next one; false at the end. */
bool spool_record_batch(struct spool_record *r, struct bytes *batch);

struct spool_peer {
    const uint8_t *public_key; /* borrowed: REPORT_KEY_SIZE bytes */
    uint64_t upload, download;
    uint64_t zero_sequence; /* as in struct sampled_peer */
};

bool spool_record_peer(struct spool_record *r, struct spool_peer *peer);
