/* Which cells a reader asks for, and where in the order of (bucket, location,
 * device, gateway) the next of them can be: so that walks over the table, a
 * flush under way and the file seek what is asked for instead of passing by
 * what is not. No thread: plain values. */
#pragma once

#include "store/cell.h"

/* Buckets [from, to) of a tier; of one location or all (0), of one gateway or
 * all (0); totals of the gateways, or cells of devices: of some (ids in rising
 * order) or all (device_count 0). */
struct view_range {
    enum tier tier;
    uint32_t from, to;
    uint32_t location, gateway;
    bool totals;
    const uint32_t *devices; /* borrowed */
    size_t device_count;
};

/* No cell of the range is below this one. */
struct cell view_range_first(const struct view_range *range);

/* Is a cell of the range nowhere near @at? Then none is between @at and @next.
 * (False tells nothing: it may be one of another gateway.) */
bool view_range_skip(const struct view_range *range, const struct cell *at,
                     struct cell *next);

bool view_range_has(const struct view_range *range, const struct cell *cell);
