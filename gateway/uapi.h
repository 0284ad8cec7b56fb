/* WireGuard's cross-platform userspace interface: one `get=1` to the socket of
 * wireguard-go (or another userspace implementation), its answer parsed line by
 * line into records. The answer is bounded and checked; the secret keys in it
 * are not kept. Used by main.c each tick, on the only thread. Specification:
 * wireguard.com/xplatform, "Configuration Protocol". */
#pragma once

#include "base/bytes.h"
#include "proto/report.h"

enum {
    UAPI_ANSWER_SIZE_MAX = 64 * 1024 * 1024,
    UAPI_PEERS_MAX = 65536, /* WireGuard's own limit per interface */
    UAPI_TIMEOUT_MS = 2000,
};

/* One peer as WireGuard counts it, in defguard's words: upload is what was sent
 * to the peer (tx), download what came from it (rx). */
struct wg_peer {
    uint8_t public_key[REPORT_KEY_SIZE];
    uint64_t upload, download; /* cumulative bytes */
    uint64_t handshake_s;      /* Unix s, 0 = never */
    uint32_t handshake_ns;
    uint32_t keepalive_interval_s;                       /* 0 = off */
    char endpoint[REPORT_ENDPOINT_LENGTH_MAX + 1];       /* "ip:port" or "" */
    char allowed_ips[REPORT_ALLOWED_IPS_LENGTH_MAX + 1]; /* comma list, cut
                                                  before the one too many */
};

/* What tells one life of an interface from the next under the same name: its
 * socket's device, inode and time of making, and who listens on it. */
struct wg_identity {
    uint64_t device, inode, made_ns;
    int64_t listener; /* process id */
};

struct wg_interface {
    struct wg_identity identity;
    struct wg_peer *peers; /* owned */
    size_t peer_count, peer_capacity;
};

/* Reads the interface behind the socket at @path. @out is zero-initialised or
 * comes from an earlier call, whose memory is used again.
 * ERR_NOTFOUND: there is certainly no such interface now (no socket, or nobody
 * listens). ERR_TIMEOUT, ERR_IO, ERR_DENIED, ERR_INVALID (an answer that is no
 * answer), ERR_NOMEM: nothing is known of it now. */
NODISCARD int uapi_read(const char *path, struct wg_interface *out,
                        struct errmsg *e);

/* The answer to `get=1`, up to and with `errno=`; sets the peers of @out.
 * ERR_INVALID names the line, ERR_IO the errno that was answered. */
NODISCARD int uapi_parse(struct bytes answer, struct wg_interface *out,
                         struct errmsg *e);

/* The answer is complete: it ends with an empty line. */
bool uapi_answer_complete(struct bytes answer);

void wg_interface_deinit(struct wg_interface *i);
