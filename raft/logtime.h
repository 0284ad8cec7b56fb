/* Log time (DESIGN, rule 6): the leader's stamp on each entry. Its wall clock,
 * held to the median of the voters' clocks (the earlier of two) when it strays
 * by more than a second, and never backwards. Pure: the caller brings the
 * clocks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOGTIME_STRAY_MS_MAX = 1000,
    PEER_CLOCK_AGE_MS_MAX = 10 * 1000,
};

/* A peer's wall clock, kept against our monotonic one: when our own wall clock
 * jumps between two measurements, its offset shows that at once, and log time
 * does not jump with it (nothing could take it back). All zero: unknown. */
struct peer_clock {
    int64_t ahead_ms;     /* its wall clock minus our monotonic one */
    uint64_t measured_ms; /* monotonic; 0 = never */
};

/* @wall_ms: what the peer read while a round trip of @rtt_ns was under way that
 * ended at @mono_ms. */
void peer_clock_measure(struct peer_clock *c, uint64_t wall_ms, uint64_t rtt_ns,
                        uint64_t mono_ms);

/* Its wall clock minus ours, given both of ours; 0 if it is unknown. */
int64_t peer_clock_offset(const struct peer_clock *c, uint64_t wall_ms,
                          uint64_t mono_ms);

static inline bool peer_clock_is_fresh(const struct peer_clock *c,
                                       uint64_t mono_ms)
{
    return c->measured_ms != 0 &&
           mono_ms - c->measured_ms <= PEER_CLOCK_AGE_MS_MAX;
}

/* @offsets_ms: the other voters' clocks minus ours, those that are known.
 * @floor_ms: the newest stamp in the log that is known here. */
uint64_t logtime_stamp(uint64_t wall_ms, const int64_t *offsets_ms,
                       size_t count, uint64_t floor_ms);
