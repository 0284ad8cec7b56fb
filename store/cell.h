/* A cell: the bytes of one (bucket, location, device, gateway); its tier
 * follows from where it is. Device 0 stands for the gateway as a whole: its
 * total, which exists (perhaps with zero bytes) for every bucket in which the
 * gateway was heard. A run of cells is the common currency of the table, the
 * late cells, the blocks and the queries. No thread: plain values. */
#pragma once

#include "base/bytes.h"
#include "store/tier.h"

enum {
    GATEWAY_TOTAL = 0, /* the device id of a total */
};

struct cell {
    uint32_t bucket; /* minutes, hours or days since the Unix epoch */
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

/* Order of (bucket, location, device, gateway), as in the file. */
int cell_compare(const struct cell *a, const struct cell *b);

/* Appends; ERR_NOMEM. */
NODISCARD int cells_push(struct cells *cells, const struct cell *cell);

/* Room for so many in a run that is empty. ERR_NOMEM. */
NODISCARD int cells_reserve(struct cells *cells, size_t capacity);

/* @out, which is empty, becomes the same. ERR_NOMEM. */
NODISCARD int cells_copy(const struct cells *cells, struct cells *out);

/* Appends like cells_push, but sums what has one key before it takes more
 * memory: for cells that come in any order, many to a key. */
NODISCARD int cells_gather(struct cells *cells, const struct cell *cell);

/* Appends, or adds to the last one if that has the same key. ERR_NOMEM. */
NODISCARD int cells_add(struct cells *cells, const struct cell *cell);

/* Puts in order and sums cells of one key. Cheap when in order already. */
void cells_normalise(struct cells *cells);

/* Of normalised cells, the place of the first that is not below @cell. */
size_t cells_lower_bound(const struct cells *cells, const struct cell *cell);

/* Both are normalised: @out becomes their normalised union. ERR_NOMEM. */
NODISCARD int cells_merge(const struct cell *a, size_t a_count,
                          const struct cell *b, size_t b_count,
                          struct cells *out);
