/* Timeouts that fit a network. */
#pragma once

#include <stdint.h>

/* For the longest round trip between two nodes; 0: unknown, the defaults. The
 * heartbeat is at least 50 ms, the election timeout ten heartbeats. */
void timeouts_recommend(uint64_t rtt_us_max, unsigned *heartbeat_ms,
                        unsigned *election_ms);
