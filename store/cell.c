#include "store/cell.h"

#include <stdlib.h>

enum { CELLS_CAPACITY_FIRST = 64 };

void cells_deinit(struct cells *cells)
{
    free(cells->items);
    *cells = (struct cells){0};
}

static int compare_u32(uint32_t a, uint32_t b)
{
    return (a > b) - (a < b);
}

int cell_compare(const struct cell *a, const struct cell *b)
{
    if (a->bucket != b->bucket)
        return compare_u32(a->bucket, b->bucket);
    if (a->location != b->location)
        return compare_u32(a->location, b->location);
    if (a->device != b->device)
        return compare_u32(a->device, b->device);
    return compare_u32(a->gateway, b->gateway);
}

static int compare_items(const void *a, const void *b)
{
    return cell_compare(a, b);
}

static int grow(struct cells *cells)
{
    size_t capacity =
        cells->capacity == 0 ? CELLS_CAPACITY_FIRST : cells->capacity * 2;
    struct cell *items = realloc(cells->items, capacity * sizeof *items);
    if (items == NULL)
        return ERR_NOMEM;
    cells->items = items;
    cells->capacity = capacity;
    return 0;
}

int cells_push(struct cells *cells, const struct cell *cell)
{
    if (cells->count == cells->capacity && grow(cells) != 0)
        return ERR_NOMEM;
    cells->items[cells->count++] = *cell;
    return 0;
}

int cells_reserve(struct cells *cells, size_t capacity)
{
    cells->items = malloc(capacity * sizeof *cells->items);
    if (cells->items == NULL)
        return ERR_NOMEM;
    cells->capacity = capacity;
    return 0;
}

int cells_copy(const struct cells *cells, struct cells *out)
{
    if (cells->count == 0)
        return 0;
    if (cells_reserve(out, cells->count) != 0)
        return ERR_NOMEM;
    memcpy(out->items, cells->items, cells->count * sizeof *out->items);
    out->count = cells->count;
    return 0;
}

int cells_gather(struct cells *cells, const struct cell *cell)
{
    if (cells->count == cells->capacity && cells->count > 0) {
        cells_normalise(cells);
        /* Grow unless that made half of it free: sorting stays rare. */
        if (cells->count > cells->capacity / 2 && grow(cells) != 0)
            return ERR_NOMEM;
    }
    return cells_push(cells, cell);
}

int cells_add(struct cells *cells, const struct cell *cell)
{
    struct cell *last =
        cells->count == 0 ? NULL : &cells->items[cells->count - 1];
    if (last == NULL || cell_compare(last, cell) != 0)
        return cells_push(cells, cell);
    last->upload += cell->upload;
    last->download += cell->download;
    return 0;
}

void cells_normalise(struct cells *cells)
{
    struct cell *items = cells->items;
    bool ascending = true;
    for (size_t i = 1; i < cells->count && ascending; i++)
        ascending = cell_compare(&items[i - 1], &items[i]) < 0;
    if (ascending)
        return;
    qsort(items, cells->count, sizeof *items, compare_items);
    size_t kept = 0;
    for (size_t i = 1; i < cells->count; i++) {
        if (cell_compare(&items[kept], &items[i]) == 0) {
            items[kept].upload += items[i].upload;
            items[kept].download += items[i].download;
        } else {
            items[++kept] = items[i];
        }
    }
    cells->count = kept + 1;
}

size_t cells_lower_bound(const struct cells *cells, const struct cell *cell)
{
    size_t low = 0, high = cells->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cell_compare(&cells->items[middle], cell) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int cells_merge(const struct cell *a, size_t a_count, const struct cell *b,
                size_t b_count, struct cells *out)
{
    cells_clear(out);
    size_t i = 0, j = 0;
    while (i < a_count || j < b_count) {
        int order = i == a_count   ? 1
                    : j == b_count ? -1
                                   : cell_compare(&a[i], &b[j]);
        struct cell cell = order <= 0 ? a[i] : b[j];
        if (order == 0) {
            cell.upload += b[j].upload;
            cell.download += b[j].download;
        }
        i += order <= 0;
        j += order >= 0;
        if (cells_push(out, &cell) != 0)
            return ERR_NOMEM;
    }
    return 0;
}
