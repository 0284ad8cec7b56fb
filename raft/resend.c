#include "raft/resend.h"

/* Of @peer_id; else a free place, or that of the peer that nothing was under
 * way to for longest. */
static size_t slot_of(const struct resend *r, uint64_t peer_id)
{
    size_t at = 0;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        if (r->peers[i].id == peer_id)
            return i;
        if (r->peers[i].until_ms < r->peers[at].until_ms)
            at = i;
    }
    return at;
}

uint64_t resend_under_way(struct resend *r, uint64_t peer_id,
                          const struct resend_range *range, uint64_t now_ms)
{
    size_t at = slot_of(r, peer_id);
    struct resend_range *sent = &r->peers[at].range;
    bool adjoins = r->peers[at].id == peer_id && sent->term == range->term &&
                   now_ms < r->peers[at].until_ms &&
                   sent->first <= range->first &&
                   range->first <= sent->last + 1;
    if (adjoins && range->last <= sent->last)
        return range->last - range->first + 1;
    uint64_t under_way = adjoins ? sent->last + 1 - range->first : 0;
    if (adjoins)
        sent->last = range->last;
    else
        *sent = *range;
    r->peers[at].id = peer_id;
    r->peers[at].until_ms = UINT64_MAX;
    return under_way;
}

void resend_written(struct resend *r, uint64_t peer_id,
                    const struct resend_range *range, uint64_t now_ms)
{
    size_t at = slot_of(r, peer_id);
    const struct resend_range *sent = &r->peers[at].range;
    if (r->peers[at].id == peer_id && r->peers[at].until_ms == UINT64_MAX &&
        sent->term == range->term && sent->last == range->last)
        r->peers[at].until_ms = now_ms + RESEND_AFTER_MS;
}

void resend_forget(struct resend *r, uint64_t peer_id)
{
    size_t at = slot_of(r, peer_id);
    if (r->peers[at].id == peer_id)
        r->peers[at].until_ms = 0;
}
