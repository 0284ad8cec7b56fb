/* The buckets of a tier as rows: one for each device that moved bytes, by
 * gateway. The bucket that is still open is as it stands now. See export.h. */
#include "node/export.h"

#include "store/slice.h"

const char *const export_bucket_columns[] = {
    "time", "location", "location_name", "gateway", "hostname", "device",
    "key",  "name",     "user",          "upload",  "download", NULL,
};

enum {
    /* A slice grows while it has fewer cells, and shrinks when it has more:
     * memory stays bounded, whatever the fleet. */
    SLICE_CELLS_FEW = 20 * 1000,
    SLICE_CELLS_MANY = 100 * 1000,
    SLICE_BUCKETS_MAX = 24 * 60,
};

static void put_row(struct export *x, const struct roster *r, enum tier tier,
                    const struct cell *cell)
{
    struct export_rows *rows = &x->rows;
    const struct location *l = roster_location(r, cell->location);
    const struct gateway *g = roster_gateway(r, cell->gateway);
    const struct device *d = roster_device(r, cell->device);
    row_begin(rows);
    row_time(rows, cell->bucket * tier_seconds(tier) * 1000);
    row_uint(rows, cell->location);
    row_string(rows, l != NULL ? l->name : "");
    row_uint(rows, cell->gateway);
    row_string(rows, g != NULL ? g->hostname : "");
    row_uint(rows, cell->device);
    if (d != NULL)
        row_key(rows, d->public_key);
    else
        row_null(rows); /* it was deleted */
    row_string(rows, d != NULL ? d->name : "");
    row_string(rows, d != NULL ? d->user : "");
    row_uint(rows, cell->upload);
    row_uint(rows, cell->download);
    row_end(rows);
}

static int put_cells(struct export *x, enum tier tier,
                     const struct cells *cells)
{
    struct roster *r = store_roster(x->node->store);
    for (size_t i = 0; i < cells->count;) {
        size_t end = i + EXPORT_ROWS_LOCKED;
        roster_read_lock(r);
        for (; i < end && i < cells->count; i++)
            put_row(x, r, tier, &cells->items[i]);
        roster_read_unlock(r);
        int rv = export_send(x, false);
        if (rv != 0)
            return rv;
    }
    return 0;
}

/* The first bucket that begins at @time_ms or later. */
static uint32_t bucket_from(enum tier tier, uint64_t time_ms)
{
    uint64_t step = tier_seconds(tier) * 1000;
    uint64_t bucket = time_ms / step + (time_ms % step != 0);
    return bucket < UINT32_MAX ? (uint32_t)bucket : UINT32_MAX;
}

static int put_slices(struct export *x, enum tier tier, uint32_t from,
                      uint32_t to, struct cells *cells, struct errmsg *e)
{
    uint32_t width = 1;
    while (from < to) {
        uint32_t end = to - from > width ? from + width : to;
        int rv =
            slice_read(x->node->store, tier, x->location, from, end, cells, e);
        if (rv == 0)
            rv = put_cells(x, tier, cells);
        if (rv == 0 && http_stream_is_closed(&x->stream))
            rv = ERR_CLOSED;
        if (rv != 0)
            return rv;
        from = end;
        if (cells->count < SLICE_CELLS_FEW && width < SLICE_BUCKETS_MAX)
            width *= 2;
        else if (cells->count > SLICE_CELLS_MANY && width > 1)
            width /= 2;
    }
    return 0;
}

static int put_tier(struct export *x, enum tier tier, struct errmsg *e)
{
    struct cells cells = {0};
    uint32_t first, end;
    int rv = slice_bounds(x->node->store, tier, &first, &end, e);
    uint32_t from = bucket_from(tier, x->from_ms);
    uint32_t to = bucket_from(tier, x->to_ms);
    if (rv == 0)
        rv = put_slices(x, tier, from > first ? from : first,
                        to < end ? to : end, &cells, e);
    cells_deinit(&cells);
    return rv;
}

int export_minutes(struct export *x, struct errmsg *e)
{
    return put_tier(x, TIER_MINUTE, e);
}

int export_hours(struct export *x, struct errmsg *e)
{
    return put_tier(x, TIER_HOUR, e);
}

int export_days(struct export *x, struct errmsg *e)
{
    return put_tier(x, TIER_DAY, e);
}
