#include "store/view.h"

#include "base/assert.h"
#include "store/block.h"
#include "store/lmdb_error.h"
#include "store/totals.h"

int view_begin(struct view *v, struct store *s, struct errmsg *e)
{
    for (;;) {
        *v = (struct view){.store = s};
        struct meta meta;
        int rc = environment_read(&s->env, &v->txn, &meta, e);
        if (rc != 0)
            return rc;
        pthread_mutex_lock(&s->lock);
        if (meta.generation >= s->generation) {
            v->locked = true;
            v->table_is_behind = meta.generation > s->generation;
            v->file_log_time_ms = meta.log_time_ms;
            v->applied_index = s->applied_index;
            v->log_time_ms = s->log_time_ms;
            v->horizon = s->horizon;
            return 0;
        }
        /* The table has dropped cells that this transaction cannot see: a
         * flush fell between the two. At most once a minute. */
        pthread_mutex_unlock(&s->lock);
        mdb_txn_abort(v->txn);
    }
}

void view_unlock(struct view *v)
{
    ASSERT(v->locked);
    pthread_mutex_unlock(&v->store->lock);
    v->locked = false;
}

void view_end(struct view *v)
{
    if (v->locked)
        view_unlock(v);
    if (v->txn != NULL)
        mdb_txn_abort(v->txn);
    v->txn = NULL;
}

static bool in_range(const struct view *v, const struct view_range *range,
                     const struct cell *cell)
{
    return cell->minute >= range->from && cell->minute < range->to &&
           cell->minute >= v->horizon &&
           (range->location == 0 || cell->location == range->location) &&
           (cell->device == GATEWAY_TOTAL) == range->totals;
}

/* --- the table --------------------------------------------------------------
 */

static int visit_slot(const struct view *v, const struct view_range *range,
                      const struct slot *slot, view_cell_fn *fn, void *arg)
{
    for (size_t i = 0; i < 2; i++) {
        const struct open_cell *open = &slot->open[i];
        struct cell cell = {.minute = open->minute,
                            .location = slot->location,
                            .device = slot->device,
                            .gateway = slot->gateway,
                            .upload = open->upload,
                            .download = open->download};
        if (!open->used || !in_range(v, range, &cell))
            continue;
        if (v->table_is_behind &&
            minute_is_due(open->minute, v->file_log_time_ms))
            continue;
        int rc = fn(arg, &cell);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The slots of a location are together, its totals in front of its devices. */
static int visit_sorted(const struct view *v, const struct view_range *range,
                        view_cell_fn *fn, void *arg)
{
    const struct table *t = &v->store->table;
    size_t i = table_lower_bound(
        t, (struct slot_key){range->location, range->totals ? 0 : 1, 0});
    while (i < t->sorted) {
        const struct slot *slot = &t->slots[i];
        if (range->location != 0 && slot->location != range->location)
            return 0;
        if (range->totals && slot->device != GATEWAY_TOTAL) {
            if (slot->location == UINT32_MAX)
                return 0;
            i = table_lower_bound(t,
                                  (struct slot_key){slot->location + 1, 0, 0});
            continue;
        }
        int rc = visit_slot(v, range, slot, fn, arg);
        if (rc != 0)
            return rc;
        i++;
    }
    return 0;
}

int view_each_open(struct view *v, const struct view_range *range,
                   view_cell_fn *fn, void *arg)
{
    ASSERT(v->locked);
    const struct table *t = &v->store->table;
    int rc = visit_sorted(v, range, fn, arg);
    for (size_t i = t->sorted; i < t->count && rc == 0; i++)
        rc = visit_slot(v, range, &t->slots[i], fn, arg);
    if (v->table_is_behind)
        return rc;
    const struct cells *late = &v->store->late;
    for (size_t i = 0; i < late->count && rc == 0; i++)
        if (in_range(v, range, &late->items[i]))
            rc = fn(arg, &late->items[i]);
    return rc;
}

/* --- the file ---------------------------------------------------------------
 */

/* Walks need to tell LMDB's codes from those of the visitor. */
struct walk {
    const struct view *view;
    const struct view_range *range;
    view_cell_fn *fn;
    void *arg;
    MDB_cursor *cursor;
    int failed; /* ERR_CORRUPT or the visitor's */
};

static int visit_block(struct walk *w, const MDB_val *key, const MDB_val *value)
{
    struct block_reader r;
    struct cell cell;
    int rc = block_open(&r, bytes_of_val(key), bytes_of_val(value));
    if (rc != 0)
        return rc;
    while ((rc = block_next(&r, &cell)) > 0)
        if (in_range(w->view, w->range, &cell) &&
            (rc = w->fn(w->arg, &cell)) != 0)
            return rc;
    return rc;
}

/* Blocks from @minute on, of the range's location: up to its end, or for one
 * location to the end of the minute. Sets the next minute to look at. */
static int walk_blocks(struct walk *w, uint32_t *minute)
{
    uint8_t raw[BLOCK_KEY_SIZE];
    block_key_put(raw, *minute, w->range->location, 0, 0);
    MDB_val key = val_of(raw, sizeof raw), value;
    int rc = mdb_cursor_get(w->cursor, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        if (key.mv_size != BLOCK_KEY_SIZE) {
            w->failed = ERR_CORRUPT;
            return 0;
        }
        uint32_t found = be32_get(key.mv_data);
        uint32_t location = be32_get((uint8_t *)key.mv_data + 4);
        if (found >= w->range->to) {
            *minute = w->range->to;
            return 0;
        }
        if (w->range->location != 0 && location != w->range->location) {
            *minute = location < w->range->location ? found : found + 1;
            return 0;
        }
        w->failed = visit_block(w, &key, &value);
        if (w->failed != 0)
            return 0;
        *minute = found + 1;
        rc = mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT);
    }
    *minute = w->range->to;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int walk_all_blocks(struct walk *w)
{
    uint32_t minute = w->range->from;
    if (minute < w->view->horizon)
        minute = w->view->horizon;
    while (minute < w->range->to && w->failed == 0) {
        int rc = walk_blocks(w, &minute);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Totals of one location, the first that is not below @location; leaves there
 * the next one to look at, 0 at the end. */
static int walk_totals(struct walk *w, uint32_t *location)
{
    uint8_t raw[TOTAL_KEY_SIZE];
    total_key_put(raw, *location, w->range->from, 0);
    MDB_val key = val_of(raw, sizeof raw), value;
    int rc = mdb_cursor_get(w->cursor, &key, &value, MDB_SET_RANGE);
    for (bool first = true; rc == 0; first = false) {
        struct cell cell;
        int kind = total_get(bytes_of_val(&key), bytes_of_val(&value), &cell);
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
            if (!first || cell.minute < w->range->from)
                return 0;
        }
        if (cell.minute >= w->range->to) {
            *location = cell.location == UINT32_MAX ? 0 : cell.location + 1;
            return 0;
        }
        if (in_range(w->view, w->range, &cell))
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
    struct walk w = {.view = v, .range = range, .fn = fn, .arg = arg};
    int rc = mdb_cursor_open(v->txn, range->totals ? env->totals : env->minutes,
                             &w.cursor);
    if (rc == 0) {
        rc = range->totals ? walk_all_totals(&w) : walk_all_blocks(&w);
        mdb_cursor_close(w.cursor);
    }
    if (rc != 0)
        return lmdb_error(rc, "reading", env->path, e);
    if (w.failed == ERR_CORRUPT)
        errmsg_set(e, ERR_CORRUPT, "%s: a damaged row", env->path);
    return w.failed;
}
