/* Decoding of the data path's messages: what the sender got wrong is told in
 * its own terms, "peers[17].public_key: 31 bytes, wanted 32". Values are
 * checked when their message is complete, because of a field that comes twice
 * only the last one counts. */
#include "proto/report.h"

#include <stdio.h>

#include "proto/key_text.h"
#include "proto/wire.h"

#define SPEC(table)                                                            \
    (struct wire_spec)                                                         \
    {                                                                          \
        table, sizeof(table) / sizeof(table)[0]                                \
    }

static const struct wire_field_spec batch_fields[] = {
    [1] = {"session", WIRE_VARINT},       [2] = {"sequence", WIRE_VARINT},
    [3] = {"sampled_at_ms", WIRE_VARINT}, [5] = {"peers", WIRE_BYTES},
    [6] = {"machine", WIRE_BYTES},        [7] = {"awaits_answer", WIRE_VARINT},
};

static const struct wire_field_spec peer_report_fields[] = {
    [1] = {"public_key", WIRE_BYTES},
    [2] = {"upload", WIRE_VARINT},
    [3] = {"download", WIRE_VARINT},
    [4] = {"latest_handshake", WIRE_VARINT},
    [5] = {"endpoint", WIRE_BYTES},
    [6] = {"allowed_ips", WIRE_BYTES},
    [7] = {"keepalive_interval", WIRE_VARINT},
    [8] = {"from_zero", WIRE_VARINT},
};

static const struct wire_field_spec stats_update_fields[] = {
    [1] = {"id", WIRE_VARINT},
    [2] = {"empty", WIRE_BYTES},
    [3] = {"peer_stats", WIRE_BYTES},
};

static const struct wire_field_spec peer_stats_fields[] = {
    [1] = {"public_key", WIRE_BYTES},
    [2] = {"endpoint", WIRE_BYTES},
    [3] = {"upload", WIRE_VARINT},
    [4] = {"download", WIRE_VARINT},
    [5] = {"keepalive_interval", WIRE_VARINT},
    [6] = {"latest_handshake", WIRE_VARINT},
    [7] = {"allowed_ips", WIRE_BYTES},
};

static const struct wire_field_spec ack_fields[] = {
    [1] = {"sequence", WIRE_VARINT},
    [2] = {"applied_index", WIRE_VARINT},
    [3] = {"leader", WIRE_BYTES},
};

/* Where a message lies within its parent, for error messages. */
struct place {
    const char *prefix; /* "", "peers" or "peer_stats"; static */
    bool is_element;    /* of a repeated field */
    size_t index;
    struct errmsg *error; /* borrowed; may be NULL */
};

__attribute__((format(printf, 3, 4))) static int
refuse(const struct place *place, const char *field, const char *format, ...)
{
    char what[128], where[64];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    if (place->is_element)
        snprintf(where, sizeof where, "%s[%zu].", place->prefix, place->index);
    else
        snprintf(where, sizeof where, "%s%s", place->prefix,
                 place->prefix[0] != '\0' ? "." : "");
    return errmsg_set(place->error, ERR_INVALID, "%s%s: %s", where, field,
                      what);
}

/* The verdict on a message whose fields are all read. */
static int check_wire(const struct place *place, const struct wire *w)
{
    char number[32];

    if (w->fault == NULL)
        return 0;
    if (w->fault_field < w->spec.count &&
        w->spec.fields[w->fault_field].name != NULL)
        return refuse(place, w->spec.fields[w->fault_field].name, "%s",
                      w->fault);
    snprintf(number, sizeof number, "field %u", (unsigned)w->fault_field);
    return refuse(place, w->fault_field == 0 ? "tag" : number, "%s", w->fault);
}

static int check_text(const struct place *place, const char *field,
                      struct bytes text, size_t length_max)
{
    if (text.size > length_max)
        return refuse(place, field, "%zu bytes, at most %zu", text.size,
                      length_max);
    if (!bytes_are_text(text))
        return refuse(place, field, "not UTF-8 text without NUL");
    return 0;
}

/* What the two kinds of peer message have in common. */
static int check_peer(const struct place *place, const struct stat_report *r)
{
    return check_text(place, "endpoint", r->endpoint,
                      REPORT_ENDPOINT_LENGTH_MAX);
}

/* One more of a PeerReport's allowed_ips; the first one is kept. */
static int take_allowed_ip(const struct place *place, struct bytes value,
                           bool *have_one, struct stat_report *out)
{
    int rc =
        check_text(place, "allowed_ips", value, REPORT_ALLOWED_IPS_LENGTH_MAX);
    out->more_allowed_ips = *have_one;
    if (rc == 0 && !*have_one) {
        out->allowed_ips = value;
        *have_one = true;
    }
    return rc;
}

static int decode_peer_report(struct bytes message, const struct place *place,
                              struct stat_report *out)
{
    struct wire w = wire_of(message, SPEC(peer_report_fields));
    struct wire_field f = {0};
    struct bytes key = {0};
    bool have_allowed_ip = false;
    int rc;

    *out = (struct stat_report){.message = message};
    while (wire_next(&w, &f)) {
        switch (f.number) {
        case 1:
            key = f.bytes;
            break;
        case 2:
            out->upload = f.value;
            break;
        case 3:
            out->download = f.value;
            break;
        case 4:
            out->latest_handshake = f.value;
            break;
        case 5:
            out->endpoint = f.bytes;
            break;
        case 6:
            rc = take_allowed_ip(place, f.bytes, &have_allowed_ip, out);
            if (rc != 0)
                return rc;
            break;
        case 7:
            out->keepalive_interval_s = (uint32_t)f.value;
            break;
        default: /* 8: the spec yields no other */
            out->from_zero = f.value != 0;
            break;
        }
    }
    if ((rc = check_wire(place, &w)) != 0)
        return rc;
    if (key.size != REPORT_KEY_SIZE)
        return refuse(place, "public_key", "%zu bytes, wanted %d", key.size,
                      REPORT_KEY_SIZE);
    memcpy(out->public_key, key.data, REPORT_KEY_SIZE);
    return check_peer(place, out);
}

static int check_batch(const struct place *top, const struct report_batch *b)
{
    if (b->session == 0)
        return refuse(top, "session", "0 or missing, must be at least 1");
    if (b->sequence == 0)
        return refuse(top, "sequence", "0 or missing, must be at least 1");
    if (b->machine.size > REPORT_MACHINE_SIZE_MAX)
        return refuse(top, "machine", "%zu bytes, at most %d", b->machine.size,
                      REPORT_MACHINE_SIZE_MAX);
    return 0;
}

int report_batch_decode(struct bytes message, struct report_batch *out,
                        struct errmsg *e)
{
    const struct place top = {.prefix = "", .error = e};
    struct place peer = {.prefix = "peers", .is_element = true, .error = e};
    struct wire w = wire_of(message, SPEC(batch_fields));
    struct wire_field f = {0};
    int rc;

    *out = (struct report_batch){.peers = out->peers};
    if (message.size > REPORT_MESSAGE_SIZE_MAX)
        return refuse(&top, "message", "%zu bytes, at most %d", message.size,
                      REPORT_MESSAGE_SIZE_MAX);
    while (wire_next(&w, &f)) {
        switch (f.number) {
        case 1:
            out->session = f.value;
            break;
        case 2:
            out->sequence = f.value;
            break;
        case 3:
            out->sampled_at_ms = f.value;
            break;
        case 5:
            if (out->peer_count == REPORT_PEERS_MAX)
                return refuse(&top, "peers",
                              "more than %d in one batch: send the rest with "
                              "the next sequence",
                              REPORT_PEERS_MAX);
            peer.index = out->peer_count;
            rc = decode_peer_report(f.bytes, &peer,
                                    &out->peers[out->peer_count]);
            if (rc != 0)
                return rc;
            out->peer_count++;
            break;
        case 6:
            out->machine = f.bytes;
            break;
        default: /* 7 */
            out->awaits_answer = f.value != 0;
            break;
        }
    }
    rc = check_wire(&top, &w);
    return rc == 0 ? check_batch(&top, out) : rc;
}

void stat_report_join_allowed_ips(const struct stat_report *report,
                                  struct buf *out)
{
    struct wire w = wire_of(report->message, SPEC(peer_report_fields));
    struct wire_field f = {0};
    size_t length = 0;

    if (!report->more_allowed_ips) {
        buf_put(out, report->allowed_ips.data, report->allowed_ips.size);
        return;
    }
    while (wire_next(&w, &f)) {
        if (f.number != 6 || f.bytes.size == 0)
            continue;
        size_t comma = length > 0 ? 1 : 0;
        if (length + comma + f.bytes.size > REPORT_ALLOWED_IPS_LENGTH_MAX)
            return;
        buf_put(out, ",", comma);
        buf_put(out, f.bytes.data, f.bytes.size);
        length += comma + f.bytes.size;
    }
}

/* A PeerStats as it stands on the wire; only the payload that counts is
 * checked any further. */
static int walk_peer_stats(struct bytes message, const struct place *place,
                           struct bytes *key, struct stat_report *out)
{
    struct wire w = wire_of(message, SPEC(peer_stats_fields));
    struct wire_field f = {0};

    *key = (struct bytes){0};
    *out = (struct stat_report){0};
    while (wire_next(&w, &f)) {
        switch (f.number) {
        case 1:
            *key = f.bytes;
            break;
        case 2:
            out->endpoint = f.bytes;
            break;
        case 3:
            out->upload = f.value;
            break;
        case 4:
            out->download = f.value;
            break;
        case 5:
            out->keepalive_interval_s = (uint32_t)f.value;
            break;
        case 6:
            out->latest_handshake = f.value;
            break;
        default: /* 7 */
            out->allowed_ips = f.bytes;
            break;
        }
    }
    return check_wire(place, &w);
}

static int check_peer_stats(const struct place *place, struct bytes key,
                            struct stat_report *out)
{
    int rc;

    if (!key_from_text(key, out->public_key))
        return refuse(place, "public_key",
                      "not 32 bytes in base64 with padding");
    rc = check_text(place, "allowed_ips", out->allowed_ips,
                    REPORT_MESSAGE_SIZE_MAX);
    if (rc != 0)
        return rc;
    if (out->allowed_ips.size > REPORT_ALLOWED_IPS_LENGTH_MAX)
        out->allowed_ips = (struct bytes){0};
    return check_peer(place, out);
}

/* A google.protobuf.Empty, which may hold unknown fields like any other. */
static int walk_empty(struct bytes message, const struct place *place)
{
    struct wire w = wire_of(message, (struct wire_spec){0});
    struct wire_field unused;

    while (wire_next(&w, &unused))
        ;
    return check_wire(place, &w);
}

int stats_update_decode(struct bytes message, struct stat_report *out,
                        bool *has_peer, struct errmsg *e)
{
    const struct place top = {.prefix = "", .error = e};
    const struct place empty = {.prefix = "empty", .error = e};
    const struct place stats = {.prefix = "peer_stats", .error = e};
    struct wire w = wire_of(message, SPEC(stats_update_fields));
    struct wire_field f = {0};
    struct bytes key = {0};
    int rc;

    *out = (struct stat_report){0};
    *has_peer = false;
    if (message.size > REPORT_MESSAGE_SIZE_MAX)
        return refuse(&top, "message", "%zu bytes, at most %d", message.size,
                      REPORT_MESSAGE_SIZE_MAX);
    while (wire_next(&w, &f)) {
        if (f.number == 2) {
            *has_peer = false;
            rc = walk_empty(f.bytes, &empty);
        } else if (f.number == 3) {
            *has_peer = true;
            rc = walk_peer_stats(f.bytes, &stats, &key, out);
        } else {
            rc = 0; /* id: it says nothing that the counters do not */
        }
        if (rc != 0)
            return rc;
    }
    rc = check_wire(&top, &w);
    if (rc == 0 && *has_peer)
        rc = check_peer_stats(&stats, key, out);
    return rc;
}

int report_ack_decode(struct bytes message, struct report_ack *out,
                      struct errmsg *e)
{
    const struct place top = {.prefix = "", .error = e};
    struct wire w = wire_of(message, SPEC(ack_fields));
    struct wire_field f = {0};
    int rc;

    *out = (struct report_ack){0};
    while (wire_next(&w, &f)) {
        if (f.number == 1)
            out->sequence = f.value;
        else if (f.number == 2)
            out->applied_index = f.value;
        else
            out->leader = f.bytes;
    }
    rc = check_wire(&top, &w);
    if (rc != 0)
        return rc;
    return check_text(&top, "leader", out->leader, REPORT_LEADER_LENGTH_MAX);
}
