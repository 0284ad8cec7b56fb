/* The workload: simulated gateways whose peers move bytes as people do
 * (lognormal increments, one counter in five idle, a handshake every fourth
 * sample). Keys come from numbers, so that two programs talk of the same
 * devices. No thread, no clock of its own. */
#pragma once

#include "proto/report.h"

#include <stdbool.h>

enum { FLEET_INCREMENTS = 1 << 16, FLEET_ENDPOINT_SIZE = 24 };

/* Key and endpoint are made once, and so are the increments: the generator
 * shall cost little beside what it measures. */
struct fleet_peer {
    uint64_t upload, download, handshake;
    uint8_t key[REPORT_KEY_SIZE];
    char endpoint[FLEET_ENDPOINT_SIZE];
    uint8_t endpoint_length;
};

struct fleet_gateway {
    uint32_t number;
    struct fleet_peer *peers; /* owned */
    uint32_t peer_count;
    uint32_t next; /* the peer that the next sample is of */
    uint64_t random;
};

struct fleet {
    uint32_t increments[FLEET_INCREMENTS];
    struct fleet_gateway *gateways; /* owned */
    uint32_t gateway_count;
};

NODISCARD int fleet_init(struct fleet *f, uint32_t gateways, uint32_t devices);
void fleet_deinit(struct fleet *f);

/* The next @count samples of a gateway, after its peers moved on; texts borrow
 * from the fleet. */
void fleet_sample(const struct fleet *f, struct fleet_gateway *g,
                  uint32_t count, uint64_t now_s, struct stat_report *reports);
