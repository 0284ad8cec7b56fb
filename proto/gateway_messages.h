/* defguard's configuration messages and grpc.health.v1, over protobuf-c: the
 * only code that sees generated messages (with the .pb-c files themselves).
 * These are rare and small; the data path is proto/report.h. No thread. */
#pragma once

#include "base/bytes.h"

enum { GATEWAY_NAME_LENGTH_MAX = 253 };

struct gateway_peer {
    struct bytes public_key;         /* base64 text */
    const struct bytes *allowed_ips; /* host addresses without a mask */
    size_t allowed_ip_count;
    uint32_t keepalive_interval_s;
};

struct gateway_configuration {
    struct bytes name, private_key; /* private key: base64 text */
    const struct bytes *addresses;  /* CIDRs */
    size_t address_count;
    uint32_t port;
    const struct gateway_peer *peers;
    size_t peer_count;
};

enum gateway_update { UPDATE_CREATE = 0, UPDATE_MODIFY = 1, UPDATE_DELETE = 2 };

/* Decodes ConfigurationRequest: @name borrows from @scratch, whose former
 * content is lost; empty if absent. ERR_INVALID for bytes that are no such
 * message or a name that is no text or longer than GATEWAY_NAME_LENGTH_MAX. */
NODISCARD int configuration_request_decode(struct bytes message,
                                           struct buf *scratch,
                                           struct bytes *name,
                                           struct errmsg *e);

/* The encoders append to @out, or leave it as it was: ERR_INVALID if something
 * that goes out as a string is not UTF-8 without NUL, ERR_NOMEM. */
NODISCARD int configuration_encode(struct buf *out,
                                   const struct gateway_configuration *c);
/* Of a deleted peer only the key is sent, of a deleted network only the name,
 * whatever else is there. */
NODISCARD int update_encode_peer(struct buf *out, enum gateway_update kind,
                                 const struct gateway_peer *peer);
NODISCARD int update_encode_network(struct buf *out, enum gateway_update kind,
                                    const struct gateway_configuration *c);

/* grpc.health.v1: as configuration_request_decode. Appends; failure is kept in
 * the buf. */
NODISCARD int health_request_decode(struct bytes message, struct buf *scratch,
                                    struct bytes *service, struct errmsg *e);
void health_response_encode(struct buf *out, bool serving);
