#include "raft/logtime.h"

#include "base/assert.h"
#include "raft/replica.h"

void peer_clock_measure(struct peer_clock *c, uint64_t wall_ms, uint64_t rtt_ns,
                        uint64_t mono_ms)
{
    /* Its clock was read about half a round trip ago. A clock that is out of
     * any calendar counts as one that is very wrong. */
    int64_t theirs = wall_ms > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)wall_ms;
    c->ahead_ms = theirs + (int64_t)(rtt_ns / 2000000) - (int64_t)mono_ms;
    c->measured_ms = mono_ms;
}

int64_t peer_clock_offset(const struct peer_clock *c, uint64_t wall_ms,
                          uint64_t mono_ms)
{
    return c->measured_ms == 0
               ? 0
               : c->ahead_ms + (int64_t)mono_ms - (int64_t)wall_ms;
}

/* Median of the offsets and our own zero. */
static int64_t median(const int64_t *offsets_ms, size_t count)
{
    int64_t sorted[PEERS_MAX + 1];
    ASSERT(count <= PEERS_MAX);
    size_t n = 0;
    sorted[n++] = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = n++;
        for (; at > 0 && sorted[at - 1] > offsets_ms[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = offsets_ms[i];
    }
    /* Of two in the middle the earlier: log time that waits for a clock that
     * is behind goes on when the clock is set right, but log time that followed
     * one that runs ahead can never be taken back. */
    return sorted[(n - 1) / 2];
}

uint64_t logtime_stamp(uint64_t wall_ms, const int64_t *offsets_ms,
                       size_t count, uint64_t floor_ms)
{
    int64_t stray = median(offsets_ms, count);
    uint64_t stamp = wall_ms;
    if (stray > LOGTIME_STRAY_MS_MAX)
        stamp += (uint64_t)stray;
    else if (stray < -LOGTIME_STRAY_MS_MAX)
        stamp -= (uint64_t)-stray < stamp ? (uint64_t)-stray : stamp;
    return stamp > floor_ms ? stamp : floor_ms;
}
