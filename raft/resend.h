/* Which entries a leader has under way to each peer. To a follower that does
 * not answer for a heartbeat, libraft (0.22) sends the same ones again, up to
 * 128 at once and twenty times a second: one that was away, and is busy with
 * the first, would get ten megabytes as often, and the loops of both and the
 * link work for nothing. What was written to a stream arrives, or the stream
 * breaks. Pure. */
#pragma once

#include "raft/replica.h"

enum {
    /* A peer that threw them away in silence gets them again so long after they
     * were written. */
    RESEND_AFTER_MS = 1000,
};

/* Of one message. */
struct resend_range {
    uint64_t term;        /* in which they are sent */
    uint64_t first, last; /* indexes */
};

struct resend {
    struct {
        uint64_t id;               /* 0: free */
        struct resend_range range; /* sent without a gap */
        uint64_t until_ms;         /* it counts as under way */
    } peers[PEERS_MAX];
};

/* How many of them, from the first on, are under way to @peer_id. The others
 * are from now on. */
uint64_t resend_under_way(struct resend *r, uint64_t peer_id,
                          const struct resend_range *range, uint64_t now_ms);

/* The stream has taken them. */
void resend_written(struct resend *r, uint64_t peer_id,
                    const struct resend_range *range, uint64_t now_ms);

/* Nothing is under way: they could not be written, a stream to or from the peer
 * is a new one (what was sent or answered on the old one may be lost), or the
 * peer says that it lacks some. */
void resend_forget(struct resend *r, uint64_t peer_id);
