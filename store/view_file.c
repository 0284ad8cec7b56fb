/* view_each_closed: the cells of a range that are in the file, totals from
 * their rows, devices from their blocks. */
#include "store/view.h"

#include "store/block.h"
#include "store/lmdb_error.h"
#include "store/totals.h"

/* Walks need to tell LMDB's codes from those of the visitor. */
struct walk {
    const struct view_range *range;
    view_cell_fn *fn;
    void *arg;
    MDB_cursor *cursor;
    int failed; /* ERR_CORRUPT or the visitor's */
};

/* --- blocks -----------------------------------------------------------------
 */

static struct cell first_row(const MDB_val *key)
{
    const uint8_t *raw = key->mv_data;
    return (struct cell){.bucket = be32_get(raw),
                         .location = be32_get(raw + 4),
                         .device = be32_get(raw + 8),
                         .gateway = be32_get(raw + 12)};
}

static bool same_group(const struct cell *a, const struct cell *b)
{
    return a->bucket == b->bucket && a->location == b->location;
}

/* To the block that has the row at @place, or else the next row after it: the
 * last that begins before, if it is of the same bucket and location. */
static int seek_block(MDB_cursor *cursor, const struct cell *place,
                      MDB_val *key, MDB_val *value)
{
    uint8_t raw[BLOCK_KEY_SIZE];
    block_key_put(raw, place->bucket, place->location, place->device,
                  place->gateway);
    *key = val_of(raw, sizeof raw);
    int rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    bool at_start = place->device <= GATEWAY_TOTAL + 1 && place->gateway == 0;
    if ((rc != 0 && rc != MDB_NOTFOUND) || at_start)
        return rc;
    int before =
        mdb_cursor_get(cursor, key, value, rc == 0 ? MDB_PREV : MDB_LAST);
    if (before != 0 && before != MDB_NOTFOUND)
        return before;
    if (before == 0 && key->mv_size == BLOCK_KEY_SIZE) {
        struct cell first = first_row(key);
        if (same_group(&first, place))
            return 0;
    }
    if (rc == MDB_NOTFOUND)
        return rc;
    *key = val_of(raw, sizeof raw);
    return mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
}

/* The rows of a block from @place on, which moves on: to the row after the
 * last, or further if nothing is asked for before. */
static int visit_block(struct walk *w, const MDB_val *key, const MDB_val *value,
                       struct cell *place)
{
    struct block_reader r;
    struct cell cell;
    bool before = true; /* @place is still to come */
    int rc = block_open(&r, bytes_of_val(key), bytes_of_val(value));
    if (rc != 0)
        return rc;
    while ((rc = block_next(&r, &cell)) > 0) {
        if (before && cell_compare(&cell, place) < 0)
            continue;
        before = view_range_skip(w->range, &cell, place);
        if (before && !same_group(place, &cell))
            return 0;
        if (!before && view_range_has(w->range, &cell) &&
            (rc = w->fn(w->arg, &cell)) != 0)
            return rc;
    }
    if (before)
        return rc;
    *place = first_row(key);
    place->device = r.device;
    place->gateway = r.gateway + 1;
    return rc;
}

/* Blocks in order from @place on, as long as what follows in the file is asked
 * for: then the next one is at hand. */
static int visit_blocks(struct walk *w, struct cell *place)
{
    MDB_val key, value;
    int rc = seek_block(w->cursor, place, &key, &value);
    while (rc == 0) {
        if (key.mv_size != BLOCK_KEY_SIZE) {
            w->failed = ERR_CORRUPT;
            return 0;
        }
        struct cell first = first_row(&key);
        if (cell_compare(&first, place) > 0) {
            *place = first;
            if (view_range_skip(w->range, &first, place))
                return 0;
        }
        if (place->bucket >= w->range->to)
            return 0;
        w->failed = visit_block(w, &key, &value, place);
        if (w->failed != 0 || !same_group(place, &first))
            return 0;
        rc = mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT);
    }
    place->bucket = UINT32_MAX; /* the end */
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int walk_blocks(struct walk *w)
{
    struct cell place = view_range_first(w->range);
    while (place.bucket < w->range->to && w->failed == 0) {
        int rc = visit_blocks(w, &place);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* --- totals -----------------------------------------------------------------
 */

/* Totals of one location, the first that is not below @location; leaves there
 * the next one to look at, 0 at the end. */
static int walk_totals(struct walk *w, uint32_t *location)
{
    uint8_t raw[TOTAL_KEY_SIZE];
    total_key_put(raw, w->range->tier, *location, w->range->from, 0);
    MDB_val key = val_of(raw, sizeof raw), value;
    int rc = mdb_cursor_get(w->cursor, &key, &value, MDB_SET_RANGE);
    for (bool first = true; rc == 0; first = false) {
        struct cell cell;
        int kind = total_get(w->range->tier, bytes_of_val(&key),
                             bytes_of_val(&value), &cell);
        if (kind < 0)
            w->failed = kind;
        if (kind <= 0)
            break;
        if (cell.location != *location) {
            if (w->range->location != 0)
                break;
            /* This one has nothing in the range: go to the next that is there,
             * and seek its beginning unless the seek led to it. */
            *location = cell.location;
            if (!first || cell.bucket < w->range->from)
                return 0;
        }
        if (cell.bucket >= w->range->to) {
            *location = cell.location == UINT32_MAX ? 0 : cell.location + 1;
            return 0;
        }
        if (view_range_has(w->range, &cell))
            w->failed = w->fn(w->arg, &cell);
        if (w->failed != 0)
            return 0;
        rc = mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT);
    }
    *location = 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int walk_all_totals(struct walk *w)
{
    uint32_t location = w->range->location == 0 ? 1 : w->range->location;
    do {
        int rc = walk_totals(w, &location);
        if (rc != 0)
            return rc;
    } while (location != 0 && w->range->location == 0 && w->failed == 0);
    return 0;
}

int view_each_closed(struct view *v, const struct view_range *range,
                     view_cell_fn *fn, void *arg, struct errmsg *e)
{
    const struct environment *env = &v->store->env;
    struct view_range kept = view_range_kept(v, range);
    struct walk w = {.range = &kept, .fn = fn, .arg = arg};
    int rc = mdb_cursor_open(
        v->txn, range->totals ? env->totals : env->blocks[range->tier],
        &w.cursor);
    if (rc == 0) {
        rc = range->totals ? walk_all_totals(&w) : walk_blocks(&w);
        mdb_cursor_close(w.cursor);
    }
    if (rc != 0)
        return lmdb_error(rc, "reading", env->path, e);
    if (w.failed == ERR_CORRUPT)
        errmsg_set(e, ERR_CORRUPT, "%s: a damaged row", env->path);
    return w.failed;
}
