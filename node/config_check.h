/* What the settings of a node must be together: a whole cluster or none, no
 * exposed port without TLS, timers that fit. Messages name the flag. */
#pragma once

#include "node/config.h"

/* Parses initial_peers into peers and checks the rest. ERR_INVALID. */
NODISCARD int node_config_check(struct node_config *c, struct errmsg *e);
