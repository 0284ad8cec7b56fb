/* The messages of the data path, both directions, without generated code: a
 * bounded walk over the wire bytes of holdfast.v1.ReportBatch and of defguard's
 * gateway.StatsUpdate (protobuf-c is only the tests' oracle: a malloc per field
 * costs six times as much), and their encoders. No thread, no allocation but in
 * the caller's buffers. */
#pragma once

#include "base/bytes.h"

enum {
    REPORT_PEERS_MAX = 4096,
    REPORT_MESSAGE_SIZE_MAX = 4 * 1024 * 1024, /* also the gRPC limit */
    REPORT_KEY_SIZE = 32,
    REPORT_ENDPOINT_LENGTH_MAX = 63,
    REPORT_ALLOWED_IPS_LENGTH_MAX = 191, /* joined */
    REPORT_MACHINE_SIZE_MAX = 64,
    REPORT_LEADER_LENGTH_MAX = 253,
};

/* One peer as its gateway counts it. */
struct stat_report {
    uint8_t public_key[REPORT_KEY_SIZE];
    uint64_t upload, download; /* cumulative bytes: sent to, received from the
                                  peer */
    uint64_t latest_handshake; /* Unix s, 0 = never */
    struct bytes endpoint;     /* borrowed from the message */
    struct bytes allowed_ips;  /* borrowed: the first one; all of them by
                                  stat_report_join_allowed_ips */
    struct bytes message;      /* borrowed: the PeerReport's own bytes */
    uint32_t keepalive_interval_s;
    bool from_zero;
    bool more_allowed_ips; /* than the first one */
};

struct report_batch {
    uint64_t session, sequence, sampled_at_ms;
    struct bytes machine;      /* borrowed; empty if absent */
    bool awaits_answer;        /* the sender has no other batch now */
    struct stat_report *peers; /* the caller's array */
    size_t peer_count;
};

/* Decodes a ReportBatch into @out, whose peers array the caller provides with
 * room for REPORT_PEERS_MAX. ERR_INVALID with a message that names the field:
 * cut input, wrong wire type, key not 32 bytes, text not UTF-8 or too long, too
 * many peers, session or sequence 0. Unknown fields are skipped; of a field
 * that comes twice the last one counts (proto/wire.h). After an error @out is
 * void. */
NODISCARD int report_batch_decode(struct bytes message,
                                  struct report_batch *out, struct errmsg *e);

/* Appends the comma-joined allowed_ips of a decoded native report, cut before
 * the one that passes REPORT_ALLOWED_IPS_LENGTH_MAX. Of a report that has no
 * message (defguard's, or a caller's own) its allowed_ips as they are. */
void stat_report_join_allowed_ips(const struct stat_report *report,
                                  struct buf *out);

/* Decodes defguard's StatsUpdate: the key is base64 there and allowed_ips one
 * string, which is left empty when it is longer than
 * REPORT_ALLOWED_IPS_LENGTH_MAX (such a gateway writes it without separators:
 * it cannot be cut in the right place). *has_peer is false for the empty
 * payload. Two payloads: the last one counts, whole. ERR_INVALID as above. */
NODISCARD int stats_update_decode(struct bytes message, struct stat_report *out,
                                  bool *has_peer, struct errmsg *e);

/* Encoders, for the agent, the generator and tests; they append. A report's
 * allowed_ips is written as one entry, unless it holds commas: then one entry
 * each. */
void report_batch_encode(struct buf *out, const struct report_batch *batch);
/* Makes the encoded batch before it one that awaits its answer. */
void report_batch_put_awaits_answer(struct buf *out);
void stats_update_encode(struct buf *out, uint64_t id,
                         const struct stat_report *report);

struct report_ack {
    uint64_t sequence, applied_index;
    struct bytes leader; /* borrowed */
};

void report_ack_encode(struct buf *out, const struct report_ack *ack);
NODISCARD int report_ack_decode(struct bytes message, struct report_ack *out,
                                struct errmsg *e);
