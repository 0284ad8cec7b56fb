/* Encoding of the data path's messages, field by field in number order, as any
 * protobuf encoder would write them. */
#include "proto/report.h"

#include "proto/key_text.h"
#include "proto/wire.h"

static void put_allowed_ips(struct buf *out, uint32_t field, struct bytes list)
{
    while (list.size > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma == NULL ? list.size : (size_t)(comma - list.data);
        wire_put_bytes(out, field, (struct bytes){list.data, size});
        if (comma == NULL)
            return;
        list.data += size + 1;
        list.size -= size + 1;
    }
}

static void put_peer_report(struct buf *out, const struct stat_report *r)
{
    size_t mark = wire_open(out, 5);

    wire_put_bytes(out, 1, (struct bytes){r->public_key, REPORT_KEY_SIZE});
    wire_put_uint(out, 2, r->upload);
    wire_put_uint(out, 3, r->download);
    wire_put_uint(out, 4, r->latest_handshake);
    wire_put_bytes(out, 5, r->endpoint);
    put_allowed_ips(out, 6, r->allowed_ips);
    wire_put_uint(out, 7, r->keepalive_interval_s);
    wire_put_uint(out, 8, r->from_zero ? 1 : 0);
    wire_close(out, mark);
}

void report_batch_encode(struct buf *out, const struct report_batch *batch)
{
    wire_put_uint(out, 1, batch->session);
    wire_put_uint(out, 2, batch->sequence);
    wire_put_uint(out, 3, batch->sampled_at_ms);
    for (size_t i = 0; i < batch->peer_count; i++)
        put_peer_report(out, &batch->peers[i]);
    wire_put_bytes(out, 6, batch->machine);
    if (batch->awaits_answer)
        report_batch_put_awaits_answer(out);
}

void report_batch_put_awaits_answer(struct buf *out)
{
    wire_put_uint(out, 7, 1);
}

void stats_update_encode(struct buf *out, uint64_t id,
                         const struct stat_report *report)
{
    char key[KEY_TEXT_LENGTH + 1];

    key_to_text(report->public_key, key);
    wire_put_uint(out, 1, id);
    size_t mark = wire_open(out, 3);
    wire_put_bytes(out, 1, bytes_of_string(key));
    wire_put_bytes(out, 2, report->endpoint);
    wire_put_uint(out, 3, report->upload);
    wire_put_uint(out, 4, report->download);
    wire_put_uint(out, 5, report->keepalive_interval_s);
    wire_put_uint(out, 6, report->latest_handshake);
    wire_put_bytes(out, 7, report->allowed_ips);
    wire_close(out, mark);
}

void report_ack_encode(struct buf *out, const struct report_ack *ack)
{
    wire_put_uint(out, 1, ack->sequence);
    wire_put_uint(out, 2, ack->applied_index);
    wire_put_bytes(out, 3, ack->leader);
}
