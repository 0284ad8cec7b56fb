/* A cell: the bytes of one (minute, location, device, gateway). Device 0 stands
 * for the gateway as a whole: its total, which exists (perhaps with zero bytes)
 * for every minute in which the gateway was heard. A run of cells is the common
 * currency of the table, the late cells, the blocks and the queries.
 * No thread: plain values. */
#pragma once

#include "base/bytes.h"

enum {
    MINUTE_MS = 60 * 1000,
    GATEWAY_TOTAL = 0, /* the device id of a total */
};

struct cell {
    uint32_t minute; /* since the Unix epoch */
    uint32_t location, device, gateway;
    uint64_t upload, download;
};

/* A growing array of cells. Zero-initialise; cells_deinit frees. */
struct cells {
    struct cell *items; /* owned */
    size_t count, capacity;
};

void cells_deinit(struct cells *cells);

/* Forgets the content, keeps the memory. */
static inline void cells_clear(struct cells *cells)
{
    cells->count = 0;
}

/* Order of (minute, location, device, gateway), as in the file. */
int cell_compare(const struct cell *a, const struct cell *b);

/* Appends; ERR_NOMEM. */
NODISCARD int cells_push(struct cells *cells, const struct cell *cell);

/* Appends like cells_push, but sums what has one key before it takes more
 * memory: for cells that come in any order, many to a key. */
NODISCARD int cells_gather(struct cells *cells, const struct cell *cell);

/* Puts in order and sums cells of one key. Cheap when in order already. */
void cells_normalise(struct cells *cells);

/* Both are normalised: @out becomes their normalised union. ERR_NOMEM. */
NODISCARD int cells_merge(const struct cell *a, size_t a_count,
                          const struct cell *b, size_t b_count,
                          struct cells *out);

/* Minutes beyond the range of a u32 (the year 10136) fall into the last. */
static inline uint32_t minute_of(uint64_t time_ms)
{
    uint64_t minute = time_ms / MINUTE_MS;
    return minute < UINT32_MAX ? (uint32_t)minute : UINT32_MAX;
}
