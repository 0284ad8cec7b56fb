/* What a node is told: flag > environment (HOLDFAST_…) > file (--config, YAML).
 * One table in config.c names each setting once, for all three and for --help.
 * CONTRACT, "holdfast-node". */
#pragma once

#include "base/log.h"
#include "raft/replica.h"

#include <stdbool.h>
#include <stdint.h>

struct node_config {
    char *name, *data_dir;             /* owned */
    char *peer_address, *peer_bind;    /* owned; may be NULL */
    char *grpc_bind, *http_bind;       /* owned, ip:port */
    char *initial_peers;               /* owned, as given */
    struct repl_peer peers[PEERS_MAX]; /* parsed initial_peers */
    size_t peer_count;
    char *zone, *leader_zones;                        /* owned */
    char *tls_ca, *tls_cert, *tls_key;                /* owned; NULL = no TLS */
    char *peer_tls_ca, *peer_tls_cert, *peer_tls_key; /* owned; see
                                                         node_peer_tls */
    bool insecure;
    uint64_t disk_reserve;              /* bytes, 0 = default */
    char *gateway_secret, *admin_token; /* owned; may be NULL */
    uint64_t election_timeout_ms, heartbeat_ms;
    uint64_t retain_minute_s, retain_hour_s, retain_day_s;
    uint64_t retain_raw_s, retain_raw_bytes;
    enum log_format log_format;
    enum log_level log_level;
    bool check_only; /* --check-config */
};

/* Reads everything and validates it. 0: go on. 1: --help or --version was
 * printed, exit 0. ERR_INVALID: the message names the flag, variable or file
 * and line; exit 2. */
NODISCARD int node_config_read(struct node_config *c, int argc, char **argv,
                               struct errmsg *e);
void node_config_deinit(struct node_config *c);
