#include "gateway/spool_record.h"

enum { FLAG_PEERS = 1, FLAG_WATCHED = 2, FLAGS_KNOWN = 3 };

static void put_peers(struct buf *out, const struct sampled_peers *peers)
{
    buf_put_varint(out, peers->count);
    for (size_t i = 0; i < peers->count; i++) {
        const struct sampled_peer *p = &peers->items[i];
        buf_put(out, p->peer.public_key, REPORT_KEY_SIZE);
        buf_put_varint(out, p->peer.upload);
        buf_put_varint(out, p->peer.download);
        buf_put_varint(out, p->zero_sequence);
    }
}

void spool_record_put(struct buf *out, const struct spool_marks *marks,
                      const struct spool *spool, uint64_t first,
                      const struct sampler *sampler, bool with_peers)
{
    const struct wg_identity *identity = &sampler->identity;
    struct bytes batch;
    buf_put_u8(out, (uint8_t)((with_peers ? FLAG_PEERS : 0) |
                              (sampler->watched ? FLAG_WATCHED : 0)));
    buf_put_u64(out, marks->acknowledged);
    buf_put_u64(out, marks->sent);
    buf_put_u64(out, first);
    buf_put_u64(out, identity->device);
    buf_put_u64(out, identity->inode);
    buf_put_u64(out, identity->made_ns);
    buf_put_u64(out, (uint64_t)identity->listener);
    buf_put_varint(out, spool_next_sequence(spool) - first);
    for (uint64_t n = first; spool_get(spool, n, &batch); n++)
        buf_put_bytes(out, batch);
    if (with_peers)
        put_peers(out, &sampler->last);
}

/* --- reading -------------------------------------------------------------- */

bool spool_record_batch(struct spool_record *r, struct bytes *batch)
{
    if (r->batch_count == 0)
        return false;
    r->batch_count--;
    *batch = reader_bytes(&r->batches);
    return !r->batches.failed;
}

bool spool_record_peer(struct spool_record *r, struct spool_peer *peer)
{
    if (r->peer_count == 0)
        return false;
    r->peer_count--;
    peer->public_key = reader_take(&r->peers, REPORT_KEY_SIZE).data;
    peer->upload = reader_varint(&r->peers);
    peer->download = reader_varint(&r->peers);
    peer->zero_sequence = reader_varint(&r->peers);
    return !r->peers.failed;
}

/* What is left behind the batches, which are read over. */
static struct reader behind_batches(struct spool_record r)
{
    struct bytes batch;
    while (spool_record_batch(&r, &batch))
        continue;
    return r.batches;
}

static bool peers_fill(struct spool_record r)
{
    struct spool_peer peer;
    while (spool_record_peer(&r, &peer))
        continue;
    return !r.peers.failed && r.peers.size == 0;
}

int spool_record_open(struct bytes payload, struct spool_record *out)
{
    struct reader r = reader_of(payload);
    uint8_t flags = reader_u8(&r);
    *out = (struct spool_record){
        .has_peers = (flags & FLAG_PEERS) != 0,
        .watched = (flags & FLAG_WATCHED) != 0,
    };
    out->marks.acknowledged = reader_u64(&r);
    out->marks.sent = reader_u64(&r);
    out->first = reader_u64(&r);
    out->identity.device = reader_u64(&r);
    out->identity.inode = reader_u64(&r);
    out->identity.made_ns = reader_u64(&r);
    out->identity.listener = (int64_t)reader_u64(&r);
    out->batch_count = reader_varint32(&r);
    out->batches = r;
    if (r.failed || flags > FLAGS_KNOWN || out->first == 0)
        return ERR_CORRUPT;
    r = behind_batches(*out);
    if (out->has_peers)
        out->peer_count = reader_varint32(&r);
    out->peers = r;
    return r.failed || !peers_fill(*out) ? ERR_CORRUPT : 0;
}
