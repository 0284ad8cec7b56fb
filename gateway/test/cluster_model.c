#include "gateway/test/cluster_model.h"

#include "base/assert.h"

static void count(struct cluster_model *m, const struct stat_report *r)
{
    uint8_t k = r->public_key[0];
    bool grew =
        r->upload >= m->peers[k].upload && r->download >= m->peers[k].download;
    uint64_t base_up = 0, base_down = 0; /* in full */
    if (!r->from_zero && !m->peers[k].known) {
        base_up = r->upload; /* a baseline */
        base_down = r->download;
    } else if (!r->from_zero && grew) {
        base_up = m->peers[k].upload;
        base_down = m->peers[k].download;
    }
    m->peers[k].counted_upload += r->upload - base_up;
    m->peers[k].counted_download += r->download - base_down;
    m->peers[k].known = true;
    m->peers[k].upload = r->upload;
    m->peers[k].download = r->download;
}

enum model_answer cluster_model_apply(struct cluster_model *m,
                                      struct bytes batch, uint64_t *sequence,
                                      uint64_t *number)
{
    static struct stat_report peers[REPORT_PEERS_MAX];
    struct report_batch b = {.peers = peers};
    struct errmsg e;
    int rv = report_batch_decode(batch, &b, &e);
    ASSERT(rv == 0);
    ASSERT((b.sequence == 1) == (b.machine.size > 0));
    *sequence = b.sequence;
    *number = 0;
    if (b.session < m->session) {
        *number = m->session;
        return MODEL_SUPERSEDED;
    }
    uint64_t expected = b.session == m->session ? m->sequence + 1 : 1;
    if (b.session == m->session && b.sequence < expected)
        return MODEL_DUPLICATE;
    if (b.sequence != expected) {
        *number = expected;
        return MODEL_GAP;
    }
    m->session = b.session;
    m->sequence = b.sequence;
    for (size_t i = 0; i < b.peer_count; i++)
        count(m, &b.peers[i]);
    return MODEL_TAKEN;
}
