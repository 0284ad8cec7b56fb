/* When a defguard gateway was heard, minute by minute, and what follows for its
 * samples: rules 8 and 5. Such a gateway cannot say when its bytes moved; after
 * minutes in which nobody heard it (the core was away) the first samples are
 * spread over those minutes, or the whole outage would be one spike.
 * Spreading moves bytes between minutes and never changes how many they are.
 * Pure functions of what the log says; docs/protocol.md, "Spreading". */
#pragma once

#include "store/cell.h"
#include "store/counting.h"

enum {
    SPREAD_MINUTES_MAX = 24 * 60, /* of a longer gap the last so many count */
    /* Cells that one sample may make: a whole cluster that was away for a day
     * would otherwise write a day's cells of every peer at once. */
    SPREAD_SHARES_MAX = 60,
    /* Samples so long after the gap's end belong to the time after it: a
     * gateway that found its core again tells of every peer in one period. */
    SPREAD_WITHIN_MINUTES = 2,
};

/* Kept of each gateway, in its roster row. */
struct hearing {
    uint32_t minute; /* the newest in which it was heard; 0: never */
    /* The last minutes before that in which it was not: [first, end). */
    uint32_t gap_first, gap_end;
};

/* It is heard in @minute. */
struct hearing hearing_at(struct hearing before, uint32_t minute);

/* Minutes that a sample's growth belongs to; none: its own. */
struct spread {
    uint32_t first, count;
};

/* Of a sample that is applied in @hearing's minute. @stored_ms: log time when
 * the slot was stored into before. Minutes before @horizon have expired and
 * would swallow their share. */
struct spread spread_of(const struct hearing *hearing, uint64_t stored_ms,
                        uint32_t horizon);

/* How many shares there are, and the @i-th of them. Their sum is @growth. Where
 * there are fewer shares than minutes, devices take different ones, so that the
 * sum of many is even all the same. */
uint32_t spread_shares(struct spread spread);
struct growth spread_share(struct spread spread, struct growth growth,
                           uint32_t device, uint32_t i, uint32_t *minute);
