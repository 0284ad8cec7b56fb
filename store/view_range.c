#include "store/view_range.h"

static uint32_t first_device(const struct view_range *range)
{
    if (range->totals)
        return GATEWAY_TOTAL;
    return range->device_count > 0 ? range->devices[0] : GATEWAY_TOTAL + 1;
}

struct cell view_range_first(const struct view_range *range)
{
    return (struct cell){.bucket = range->from,
                         .location = range->location,
                         .device = first_device(range)};
}

/* The first place after @at that is in another location or bucket. */
static struct cell next_location(const struct view_range *range,
                                 const struct cell *at)
{
    struct cell next = {.bucket = at->bucket,
                        .location = range->location,
                        .device = first_device(range)};
    if (range->location == 0 && at->location < UINT32_MAX)
        next.location = at->location + 1;
    else if (at->location >= range->location)
        next.bucket++;
    return next;
}

/* Place of the first asked device that is not below @device. */
static size_t device_place(const struct view_range *range, uint32_t device)
{
    size_t low = 0, high = range->device_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (range->devices[middle] < device)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool view_range_skip(const struct view_range *range, const struct cell *at,
                     struct cell *next)
{
    if ((range->location != 0 && at->location != range->location) ||
        (range->totals && at->device != GATEWAY_TOTAL)) {
        *next = next_location(range, at);
        return true;
    }
    if (range->totals)
        return false;
    uint32_t device = GATEWAY_TOTAL + 1;
    if (range->device_count > 0) {
        size_t place = device_place(range, at->device);
        if (place == range->device_count) {
            *next = next_location(range, at);
            return true;
        }
        device = range->devices[place];
    }
    if (at->device >= device)
        return false;
    *next = (struct cell){
        .bucket = at->bucket, .location = at->location, .device = device};
    return true;
}

bool view_range_has(const struct view_range *range, const struct cell *cell)
{
    if (cell->bucket < range->from || cell->bucket >= range->to ||
        (range->location != 0 && cell->location != range->location) ||
        (range->gateway != 0 && cell->gateway != range->gateway) ||
        (cell->device == GATEWAY_TOTAL) != range->totals)
        return false;
    if (range->totals || range->device_count == 0)
        return true;
    size_t place = device_place(range, cell->device);
    return place < range->device_count && range->devices[place] == cell->device;
}
