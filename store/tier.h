/* The tiers: the same cells in buckets of a minute, an hour and a day. When a
 * bucket is due is decided by log time alone, so that what is in a tier is a
 * function of the log. An hour is due when its last minute is, a day when its
 * last hour is. No thread: plain values. docs/format.md, "Tiers". */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum tier { TIER_MINUTE, TIER_HOUR, TIER_DAY, TIERS };

enum {
    MINUTE_MS = 60 * 1000,
    BUCKET_GRACE_MS = 10 * 1000, /* a bucket closes this long after its end */
};

static inline uint64_t tier_seconds(enum tier tier)
{
    static const uint32_t seconds[TIERS] = {60, 3600, 86400};
    return seconds[tier];
}

/* The bucket of a time, since the Unix epoch. Buckets beyond the range of a u32
 * (of minutes: the year 10136) fall into the last. */
static inline uint32_t bucket_of(enum tier tier, uint64_t time_ms)
{
    uint64_t bucket = time_ms / (tier_seconds(tier) * 1000);
    return bucket < UINT32_MAX ? (uint32_t)bucket : UINT32_MAX;
}

static inline uint32_t minute_of(uint64_t time_ms)
{
    return bucket_of(TIER_MINUTE, time_ms);
}

static inline uint32_t bucket_of_minute(enum tier tier, uint32_t minute)
{
    return minute / (uint32_t)(tier_seconds(tier) / 60);
}

/* Log time at which a bucket closes. */
static inline uint64_t bucket_close_ms(enum tier tier, uint32_t bucket)
{
    return ((uint64_t)bucket + 1) * tier_seconds(tier) * 1000 + BUCKET_GRACE_MS;
}

/* A minute that is due takes no more samples: they become late cells. */
static inline bool bucket_is_due(enum tier tier, uint32_t bucket,
                                 uint64_t log_time_ms)
{
    return bucket_close_ms(tier, bucket) <= log_time_ms;
}

/* The first bucket that is not due. Of hours and days it is the only one that
 * can have due minutes without being due itself. */
static inline uint32_t bucket_not_due(enum tier tier, uint64_t log_time_ms)
{
    return log_time_ms < BUCKET_GRACE_MS
               ? 0
               : bucket_of(tier, log_time_ms - BUCKET_GRACE_MS);
}
