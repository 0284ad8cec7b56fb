#include "proto/test/oracle.h"

#include <sodium.h>
#include <stdio.h>

#include "oracle_gateway.pb-c.h"
#include "oracle_holdfast.pb-c.h"

#include "base/assert.h"
#include "proto/gateway_messages.h"
#include "proto/report.h"

static struct bytes bytes_of(ProtobufCBinaryData data)
{
    return (struct bytes){data.data, data.len};
}

/* --- the rules that are ours --------------------------------------------- */

static bool text_fits(ProtobufCBinaryData text, size_t length_max)
{
    return text.len <= length_max && bytes_are_text(bytes_of(text));
}

/* @count continuation bytes and one of at least @least, anywhere. */
static bool has_run(struct bytes message, size_t count, uint8_t least)
{
    size_t run = 0;

    for (size_t i = 0; i < message.size; i++) {
        if (run >= count && message.data[i] >= least)
            return true;
        run = message.data[i] >= 0x80 ? run + 1 : 0;
    }
    return false;
}

/* A tag of field 0 in two bytes or more, anywhere. */
static bool has_long_zero_tag(struct bytes message)
{
    for (size_t i = 0; i < message.size; i++) {
        if ((message.data[i] & 0xf8) != 0x80)
            continue;
        size_t k = i + 1;
        while (k < message.size && message.data[k] == 0x80)
            k++;
        if (k < message.size && message.data[k] == 0)
            return true;
    }
    return false;
}

/* protobuf-c is lax here (proto/wire.h); the raw bytes must at least show what
 * we complain of. */
static bool is_stricter(const struct errmsg *e, struct bytes message)
{
    if (strstr(e->text, "a varint of more than 64 bits") != NULL)
        return has_run(message, 9, 2);
    if (strstr(e->text, "a length of more than 32 bits") != NULL)
        return has_run(message, 4, 0x10);
    if (strstr(e->text, "field number 0") != NULL)
        return has_long_zero_tag(message);
    return strstr(e->text, "from_zero: wrong wire type") != NULL ||
           strstr(e->text, "awaits_answer: wrong wire type") != NULL;
}

/* True: both accept, compare the values. */
static bool same_verdict(int rc, const struct errmsg *e, bool accepted,
                         struct bytes message)
{
    ASSERT(rc == 0 || rc == ERR_INVALID);
    ASSERT(rc == 0 || e->text[0] != '\0');
    if (rc != 0 && accepted && is_stricter(e, message))
        return false;
    if (rc == 0 && !accepted)
        fprintf(stderr, "protobuf-c refuses what we accept\n");
    if (rc != 0 && accepted)
        fprintf(stderr, "protobuf-c accepts, we say: %s\n", e->text);
    ASSERT((rc == 0) == accepted);
    return rc == 0;
}

/* --- ReportBatch --------------------------------------------------------- */

static bool peer_is_acceptable(const Oracle__Holdfast__PeerReport *p)
{
    for (size_t i = 0; i < p->n_allowed_ips; i++) {
        if (!text_fits(p->allowed_ips[i], REPORT_ALLOWED_IPS_LENGTH_MAX))
            return false;
    }
    return p->public_key.len == REPORT_KEY_SIZE &&
           text_fits(p->endpoint, REPORT_ENDPOINT_LENGTH_MAX);
}

static bool batch_is_acceptable(const Oracle__Holdfast__ReportBatch *b)
{
    if (b == NULL || b->session == 0 || b->sequence == 0 ||
        b->machine.len > REPORT_MACHINE_SIZE_MAX ||
        b->n_peers > REPORT_PEERS_MAX)
        return false;
    for (size_t i = 0; i < b->n_peers; i++) {
        if (!peer_is_acceptable(b->peers[i]))
            return false;
    }
    return true;
}

static void compare_allowed_ips(const struct stat_report *ours,
                                const Oracle__Holdfast__PeerReport *theirs)
{
    struct buf joined = {0}, expected = {0};

    stat_report_join_allowed_ips(ours, &joined);
    for (size_t i = 0; i < theirs->n_allowed_ips; i++) {
        struct bytes ip = bytes_of(theirs->allowed_ips[i]);
        if (ip.size == 0)
            continue;
        if (expected.size + (expected.size > 0 ? 1 : 0) + ip.size >
            REPORT_ALLOWED_IPS_LENGTH_MAX)
            break;
        if (expected.size > 0)
            buf_put_u8(&expected, ',');
        buf_put(&expected, ip.data, ip.size);
    }
    ASSERT(bytes_equal(buf_bytes(&joined), buf_bytes(&expected)));
    buf_deinit(&joined);
    buf_deinit(&expected);
}

static void compare_peer(const struct stat_report *ours,
                         const Oracle__Holdfast__PeerReport *theirs)
{
    struct bytes first = theirs->n_allowed_ips > 0
                             ? bytes_of(theirs->allowed_ips[0])
                             : (struct bytes){0};

    ASSERT(memcmp(ours->public_key, theirs->public_key.data, REPORT_KEY_SIZE) ==
           0);
    ASSERT(ours->upload == theirs->upload);
    ASSERT(ours->download == theirs->download);
    ASSERT(ours->latest_handshake == theirs->latest_handshake);
    ASSERT(bytes_equal(ours->endpoint, bytes_of(theirs->endpoint)));
    ASSERT(bytes_equal(ours->allowed_ips, first));
    ASSERT(ours->keepalive_interval_s == theirs->keepalive_interval);
    ASSERT(ours->from_zero == (theirs->from_zero != 0));
    compare_allowed_ips(ours, theirs);
}

int oracle_report_batch(struct bytes message)
{
    static struct stat_report peers[REPORT_PEERS_MAX];
    struct report_batch ours = {.peers = peers};
    struct errmsg e = {{0}};

    int rc = report_batch_decode(message, &ours, &e);
    Oracle__Holdfast__ReportBatch *theirs =
        oracle__holdfast__report_batch__unpack(NULL, message.size,
                                               message.data);
    if (same_verdict(rc, &e, batch_is_acceptable(theirs), message)) {
        ASSERT(ours.session == theirs->session);
        ASSERT(ours.sequence == theirs->sequence);
        ASSERT(ours.sampled_at_ms == theirs->sampled_at_ms);
        ASSERT(bytes_equal(ours.machine, bytes_of(theirs->machine)));
        ASSERT(ours.awaits_answer == (theirs->awaits_answer != 0));
        ASSERT(ours.peer_count == theirs->n_peers);
        for (size_t i = 0; i < ours.peer_count; i++)
            compare_peer(&ours.peers[i], theirs->peers[i]);
    }
    oracle__holdfast__report_batch__free_unpacked(theirs, NULL);
    return rc;
}

/* --- StatsUpdate --------------------------------------------------------- */

/* By encoding back: not the decoder that is tested. */
static bool is_key(ProtobufCBinaryData text, uint8_t key[REPORT_KEY_SIZE])
{
    uint8_t padded[33];
    size_t size = 0;
    char back[45];

    if (text.len != 44 ||
        sodium_base642bin(padded, sizeof padded, (const char *)text.data, 44,
                          "", &size, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    memcpy(key, padded, REPORT_KEY_SIZE);
    sodium_bin2base64(back, sizeof back, padded, size < 33 ? size : 32,
                      sodium_base64_VARIANT_ORIGINAL);
    return size == REPORT_KEY_SIZE && memcmp(back, text.data, 44) == 0;
}

static bool update_is_acceptable(const Oracle__Gateway__StatsUpdate *u,
                                 uint8_t key[REPORT_KEY_SIZE])
{
    if (u == NULL)
        return false;
    if (u->payload_case != ORACLE__GATEWAY__STATS_UPDATE__PAYLOAD_PEER_STATS)
        return true;
    return is_key(u->peer_stats->public_key, key) &&
           text_fits(u->peer_stats->endpoint, REPORT_ENDPOINT_LENGTH_MAX) &&
           text_fits(u->peer_stats->allowed_ips, REPORT_MESSAGE_SIZE_MAX);
}

static void compare_stats(const struct stat_report *ours, const uint8_t *key,
                          const Oracle__Gateway__PeerStats *theirs)
{
    struct bytes allowed_ips = bytes_of(theirs->allowed_ips);

    if (allowed_ips.size > REPORT_ALLOWED_IPS_LENGTH_MAX)
        allowed_ips = (struct bytes){0};
    ASSERT(memcmp(ours->public_key, key, REPORT_KEY_SIZE) == 0);
    ASSERT(bytes_equal(ours->endpoint, bytes_of(theirs->endpoint)));
    ASSERT(ours->upload == theirs->upload);
    ASSERT(ours->download == theirs->download);
    ASSERT(ours->keepalive_interval_s == theirs->keepalive_interval);
    ASSERT(ours->latest_handshake == theirs->latest_handshake);
    ASSERT(bytes_equal(ours->allowed_ips, allowed_ips));
    ASSERT(ours->message.size == 0 && !ours->from_zero);
}

int oracle_stats_update(struct bytes message)
{
    struct stat_report ours;
    uint8_t key[REPORT_KEY_SIZE];
    bool has_peer;
    struct errmsg e = {{0}};

    int rc = stats_update_decode(message, &ours, &has_peer, &e);
    Oracle__Gateway__StatsUpdate *theirs =
        oracle__gateway__stats_update__unpack(NULL, message.size, message.data);
    if (same_verdict(rc, &e, update_is_acceptable(theirs, key), message)) {
        ASSERT(has_peer == (theirs->payload_case ==
                            ORACLE__GATEWAY__STATS_UPDATE__PAYLOAD_PEER_STATS));
        if (has_peer)
            compare_stats(&ours, key, theirs->peer_stats);
    }
    oracle__gateway__stats_update__free_unpacked(theirs, NULL);
    return rc;
}

/* --- the small ones ------------------------------------------------------ */

int oracle_report_ack(struct bytes message)
{
    struct report_ack ours;
    struct errmsg e = {{0}};

    int rc = report_ack_decode(message, &ours, &e);
    Oracle__Holdfast__ReportAck *theirs =
        oracle__holdfast__report_ack__unpack(NULL, message.size, message.data);
    bool acceptable =
        theirs != NULL && text_fits(theirs->leader, REPORT_LEADER_LENGTH_MAX);
    if (same_verdict(rc, &e, acceptable, message)) {
        ASSERT(ours.sequence == theirs->sequence);
        ASSERT(ours.applied_index == theirs->applied_index);
        ASSERT(bytes_equal(ours.leader, bytes_of(theirs->leader)));
    }
    oracle__holdfast__report_ack__free_unpacked(theirs, NULL);
    return rc;
}

int oracle_configuration_request(struct bytes message)
{
    struct buf scratch = {0};
    struct bytes name;
    struct errmsg e = {{0}};

    int rc = configuration_request_decode(message, &scratch, &name, &e);
    Oracle__Gateway__ConfigurationRequest *theirs =
        oracle__gateway__configuration_request__unpack(NULL, message.size,
                                                       message.data);
    ProtobufCBinaryData value = {0};
    if (theirs != NULL &&
        theirs->_name_case ==
            ORACLE__GATEWAY__CONFIGURATION_REQUEST___NAME_NAME)
        value = theirs->name;
    bool acceptable =
        theirs != NULL && text_fits(value, GATEWAY_NAME_LENGTH_MAX);
    if (same_verdict(rc, &e, acceptable, message))
        ASSERT(bytes_equal(name, bytes_of(value)));
    oracle__gateway__configuration_request__free_unpacked(theirs, NULL);
    buf_deinit(&scratch);
    return rc;
}
