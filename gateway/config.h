/* What the agent is told: flag > HOLDFAST_<FLAG> > the variable of defguard's
 * gateway, with the names and meanings of its version 1.5 (CONTRACT,
 * "holdfast-gateway"). One table in config.c names each setting once. */
#pragma once

#include "base/err.h"
#include "base/log.h"
#include "gateway/reporter.h"

#include <stdbool.h>
#include <stdint.h>

enum { IFNAME_LENGTH_MAX = 15, GATEWAY_ID_LENGTH_MAX = 253 };

struct gateway_config {
    const char *token, *ifname; /* borrowed from argv or the environment */
    char *node_list;            /* owned; nodes' addresses point into it */
    struct reporter_node nodes[REPORTER_NODES_MAX];
    size_t node_count;
    struct reporter_tls tls; /* borrowed like token */
    uint64_t stats_period_ms;
    const char *spool_dir; /* NULL: the spool is in memory alone */
    uint64_t spool_bytes;
    bool print_baseline;
    enum log_level log_level;
    char hostname[GATEWAY_ID_LENGTH_MAX + 1];
    char gateway_id[GATEWAY_ID_LENGTH_MAX + 1]; /* the agent's identity: the
                                    location's statistics hang on it */
};

/* 0: go on. 1: --help or --version was printed, exit 0. ERR_INVALID: the
 * message names the flag and says what to do; exit 2. */
NODISCARD int gateway_config_read(struct gateway_config *c, int argc,
                                  char **argv, struct errmsg *e);
void gateway_config_deinit(struct gateway_config *c);
