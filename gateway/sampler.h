/* The sampler: remembers the last record of every peer and yields, each tick,
 * the peers that changed since, or all of them when a session begins. It alone
 * decides from_zero (DESIGN, "What a report does to the data", rules 1 and 3).
 * Pure: no clock, no input; fed by session.c with what uapi.c read.
 *
 * from_zero says: this peer's counters began at zero after our previous look,
 * so they count in full. It is set in exactly one batch, the first after the
 * counters began: the interface was made, the peer was added, or a counter
 * fell. What exists when the agent starts has an unknown past and never gets
 * it. If that batch was never sent and its session is given up, the first batch
 * of the next session says it again; if it was sent, it may have been taken,
 * and saying it again could count twice. */
#pragma once

#include "gateway/uapi.h"

/* A peer at the last look. */
struct sampled_peer {
    struct wg_peer peer;
    uint64_t zero_sequence; /* the batch of this session that said from_zero,
                               0 = none did */
    bool zero_due;          /* the next batch with this peer says from_zero */
};

struct sampled_peers {
    struct sampled_peer *items; /* owned; ascending by public key */
    size_t count, capacity;
};

struct sampler {
    struct sampled_peers last, next; /* next: scratch of a look */
    struct wg_identity identity;     /* of the interface that was seen last */
    bool watched;                /* looked before: what appears began at zero */
    bool shrank;                 /* the last look missed a peer */
    struct stat_report *reports; /* owned; what sampler_take yields */
    size_t report_capacity;
};

/* Zero-initialise a sampler; this frees. */
void sampler_deinit(struct sampler *s);

/* One look at the interface. Yields what changed (@all: everything), whose
 * first REPORT_PEERS_MAX travel in the batch numbered @sequence, the next in
 * the following one, and so on. The reports borrow from @now and from the
 * sampler, until the next call. ERR_NOMEM: the sampler is useless from now on.
 */
NODISCARD int sampler_take(struct sampler *s, struct wg_interface *now,
                           bool all, uint64_t sequence,
                           struct stat_report **reports, size_t *count);

/* As if a look had found this peer: what an earlier run of the agent knew.
 * @zero_sequence 0 leaves what is there. Fastest in the order of the keys.
 * ERR_NOMEM. */
NODISCARD int sampler_remember(struct sampler *s, const uint8_t *public_key,
                               uint64_t upload, uint64_t download,
                               uint64_t zero_sequence);

/* A look that found no interface: whatever comes later begins at zero. */
void sampler_absent(struct sampler *s);

/* The session is given up; batches up to @sent_sequence were handed to the
 * network. What was from_zero in a later one will be from_zero again. */
void sampler_give_up_session(struct sampler *s, uint64_t sent_sequence);
