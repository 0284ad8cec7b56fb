/* What the settings of a node must be together: a whole cluster or none, no
 * exposed port without TLS, timers and retention that fit. Messages name the
 * flag. */
#pragma once

#include "node/config.h"
#include "tls/tls.h"

/* Parses initial_peers into peers and checks the rest. ERR_INVALID. */
NODISCARD int node_config_check(struct node_config *c, struct errmsg *e);

/* The files for connections between nodes: --peer-tls-* and, where one of them
 * was not given, its --tls-*. False: there are none, peers talk in plain text.
 * Borrowed from @c. */
bool node_peer_tls(const struct node_config *c, struct tls_files *out);
