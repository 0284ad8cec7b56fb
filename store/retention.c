#include "store/retention.h"

#include "store/block.h"
#include "store/totals.h"

/* --- horizons ---------------------------------------------------------------
 */

static uint64_t retain_seconds(const struct settings *settings, enum tier tier)
{
    switch (tier) {
    case TIER_MINUTE:
        return settings->retain_minute_s;
    case TIER_HOUR:
        return settings->retain_hour_s;
    case TIER_DAY:
    case TIERS:
        break;
    }
    return settings->retain_day_s;
}

static uint32_t buckets_before(uint32_t bucket, uint64_t count)
{
    return count < bucket ? bucket - (uint32_t)count : 0;
}

static void move_horizon(uint32_t *horizon, uint32_t before, uint32_t now,
                         uint64_t kept)
{
    uint32_t target = buckets_before(now, kept);
    if (*horizon == 0)
        *horizon = buckets_before(before, kept);
    if (target > *horizon + EXPIRY_BUCKETS_MAX)
        target = *horizon + EXPIRY_BUCKETS_MAX;
    if (target > *horizon)
        *horizon = target;
}

void retention_move_horizons(struct store *s, uint64_t before_ms)
{
    const struct settings *settings = roster_settings(s->roster);
    /* Nothing had been stored before the first entry. */
    if (settings == NULL || before_ms == 0)
        return;
    for (enum tier tier = 0; tier < TIERS; tier++) {
        uint64_t retain_s = retain_seconds(settings, tier);
        uint32_t before = bucket_of(tier, before_ms);
        uint32_t now = bucket_of(tier, s->log_time_ms);
        if (now != before && retain_s != 0)
            move_horizon(&s->horizon[tier], before, now,
                         retain_s / tier_seconds(tier));
    }
}

bool retention_is_over(const struct store *s, uint32_t minute)
{
    for (enum tier tier = 0; tier < TIERS; tier++)
        if (bucket_of_minute(tier, minute) >= s->horizon[tier])
            return false;
    return true;
}

/* --- expiry -----------------------------------------------------------------
 */

static int expire_blocks(MDB_cursor *cursor, uint32_t horizon)
{
    MDB_val key, value;
    for (size_t rows = 0; rows < EXPIRED_ROWS_MAX; rows++) {
        int rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
        if (rc != 0)
            return rc == MDB_NOTFOUND ? 0 : rc;
        if (key.mv_size != BLOCK_KEY_SIZE)
            return MDB_CORRUPTED;
        if (be32_get(key.mv_data) >= horizon)
            return 0;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            return rc;
    }
    return 0;
}

/* Location by location, since the location comes first in the key. */
static int expire_totals(MDB_cursor *cursor, enum tier tier, uint32_t horizon)
{
    uint32_t location = 0;
    for (size_t rows = 0; rows < EXPIRED_ROWS_MAX;) {
        uint8_t raw[TOTAL_KEY_SIZE];
        total_key_put(raw, tier, location, 0, 0);
        MDB_val key = val_of(raw, sizeof raw), value;
        struct cell cell;
        int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc != 0)
            return rc == MDB_NOTFOUND ? 0 : rc;
        int kind =
            total_get(tier, bytes_of_val(&key), bytes_of_val(&value), &cell);
        if (kind <= 0)
            return kind == 0 ? 0 : MDB_CORRUPTED;
        location = cell.location;
        if (cell.bucket < horizon) {
            if ((rc = mdb_cursor_del(cursor, 0)) != 0)
                return rc;
            rows++;
        } else if (location++ == UINT32_MAX) {
            return 0;
        }
    }
    return 0;
}

static int expire_tier(const struct environment *env, MDB_txn *txn,
                       enum tier tier, uint32_t horizon)
{
    MDB_cursor *blocks = NULL, *totals = NULL;
    int rc = mdb_cursor_open(txn, env->blocks[tier], &blocks);
    if (rc == 0)
        rc = mdb_cursor_open(txn, env->totals, &totals);
    if (rc == 0)
        rc = expire_blocks(blocks, horizon);
    if (rc == 0)
        rc = expire_totals(totals, tier, horizon);
    if (totals != NULL)
        mdb_cursor_close(totals);
    if (blocks != NULL)
        mdb_cursor_close(blocks);
    return rc;
}

int retention_expire(const struct environment *env, MDB_txn *txn,
                     const uint32_t horizon[TIERS])
{
    int rc = 0;
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++)
        if (horizon[tier] != 0)
            rc = expire_tier(env, txn, tier, horizon[tier]);
    return rc;
}
