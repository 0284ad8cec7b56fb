#include "store/hearing.h"

struct hearing hearing_at(struct hearing before, uint32_t minute)
{
    struct hearing now = before;
    if (minute <= before.minute)
        return now;
    now.minute = minute;
    if (before.minute != 0 && minute > before.minute + 1) {
        now.gap_first = before.minute + 1;
        now.gap_end = minute;
    }
    return now;
}

struct spread spread_of(const struct hearing *hearing, uint64_t stored_ms,
                        uint32_t horizon)
{
    uint32_t first = hearing->gap_first, end = hearing->gap_end;
    if (minute_of(stored_ms) >= end ||
        hearing->minute - end >= SPREAD_WITHIN_MINUTES)
        return (struct spread){0, 0};
    if (end - first > SPREAD_MINUTES_MAX)
        first = end - SPREAD_MINUTES_MAX;
    if (first < horizon)
        first = horizon;
    return first < end ? (struct spread){first, end - first}
                       : (struct spread){0, 0};
}

uint32_t spread_shares(struct spread spread)
{
    return spread.count < SPREAD_SHARES_MAX ? spread.count : SPREAD_SHARES_MAX;
}

static uint64_t part_of(uint64_t whole, uint32_t parts, uint32_t i)
{
    return whole / parts + (i < whole % parts);
}

struct growth spread_share(struct spread spread, struct growth growth,
                           uint32_t device, uint32_t i, uint32_t *minute)
{
    uint32_t shares = spread_shares(spread);
    *minute =
        spread.first + (i * spread.count + device % spread.count) / shares;
    return (struct growth){.upload = part_of(growth.upload, shares, i),
                           .download = part_of(growth.download, shares, i)};
}
