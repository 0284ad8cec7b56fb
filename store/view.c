#include "store/view.h"

#include "base/assert.h"
#include "store/block.h"
#include "store/lmdb_error.h"
#include "store/totals.h"

#include <stdlib.h>

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
            v->file_is_ahead = meta.generation > s->generation;
            v->applied_index = s->applied_index;
            v->log_time_ms = s->log_time_ms;
            memcpy(v->horizon, s->horizon, sizeof v->horizon);
            return 0;
        }
        /* Memory has let cells go that this transaction cannot see: a flush
         * fell between the two. At most once a minute. */
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

static int compare_ids(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static bool device_is_asked(const struct view_range *range, uint32_t device)
{
    if ((device == GATEWAY_TOTAL) != range->totals)
        return false;
    return range->totals || range->device_count == 0 ||
           bsearch(&device, range->devices, range->device_count, sizeof device,
                   compare_ids) != NULL;
}

static bool in_range(const struct view *v, const struct view_range *range,
                     const struct cell *cell)
{
    return cell->bucket >= range->from && cell->bucket < range->to &&
           cell->bucket >= v->horizon[range->tier] &&
           (range->location == 0 || cell->location == range->location) &&
           (range->gateway == 0 || cell->gateway == range->gateway) &&
           device_is_asked(range, cell->device);
}

/* --- the table --------------------------------------------------------------
 */

/* Looking into memory. */
struct look {
    const struct view *view;
    const struct view_range *range;
    view_cell_fn *fn;
    void *arg;
};

static int visit_cell(const struct look *l, const struct cell *cell)
{
    return in_range(l->view, l->range, cell) ? l->fn(l->arg, cell) : 0;
}

static int visit_slot(const struct look *l, const struct slot *slot)
{
    enum tier tier = l->range->tier;
    struct cell cell = {.location = slot->location,
                        .device = slot->device,
                        .gateway = slot->gateway};
    int rc = 0;
    if (tier != TIER_MINUTE && slot->partial_used[tier - 1]) {
        cell.bucket = l->view->store->partial[tier];
        cell.upload = slot->partial[tier - 1].upload;
        cell.download = slot->partial[tier - 1].download;
        rc = visit_cell(l, &cell);
    }
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        const struct open_cell *open = &slot->open[i];
        if (!open->used)
            continue;
        cell.bucket = bucket_of_minute(tier, open->minute);
        cell.upload = open->upload;
        cell.download = open->download;
        rc = visit_cell(l, &cell);
    }
    return rc;
}

/* The slots of a location are together, its totals in front of its devices. */
static int visit_sorted(const struct look *l)
{
    const struct view_range *range = l->range;
    const struct table *t = &l->view->store->table;
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
        int rc = visit_slot(l, slot);
        if (rc != 0)
            return rc;
        i++;
    }
    return 0;
}

static int visit_table(const struct look *l)
{
    const struct table *t = &l->view->store->table;
    int rc = visit_sorted(l);
    for (size_t i = t->sorted; i < t->count && rc == 0; i++)
        rc = visit_slot(l, &t->slots[i]);
    return rc;
}

/* --- cells on their way -----------------------------------------------------
 */

/* Late cells are of minutes. Those of a flush are in the partials where their
 * hour (day) was not due: only what is before @end counts. */
static int visit_late(const struct look *l, const struct cells *late,
                      uint32_t end)
{
    int rc = 0;
    for (size_t i = 0; i < late->count && rc == 0; i++) {
        struct cell cell = late->items[i];
        cell.bucket = bucket_of_minute(l->range->tier, cell.bucket);
        if (cell.bucket < end)
            rc = visit_cell(l, &cell);
    }
    return rc;
}

static bool is_beside(const struct view_range *range, const struct cell *cell)
{
    return (range->location != 0 && cell->location != range->location) ||
           (range->totals && cell->device != GATEWAY_TOTAL);
}

/* Where a cell of the range can be after @cell, which is beside it. */
static struct cell next_place(const struct view_range *range,
                              const struct cell *cell)
{
    struct cell next = {.bucket = cell->bucket,
                        .location = range->location,
                        .device = range->totals ? 0 : 1};
    if (range->location == 0 && cell->location < UINT32_MAX)
        next.location = cell->location + 1;
    else if (cell->location >= range->location)
        next.bucket++;
    return next;
}

/* The cells of a flush are in order of bucket and location, totals in front. */
static int visit_due(const struct look *l, const struct cells *due)
{
    const struct view_range *range = l->range;
    struct cell first = {.bucket = range->from,
                         .location = range->location,
                         .device = range->totals ? 0 : 1};
    size_t i = cells_lower_bound(due, &first);
    while (i < due->count && due->items[i].bucket < range->to) {
        const struct cell *cell = &due->items[i];
        if (is_beside(range, cell)) {
            struct cell next = next_place(range, cell);
            i = cells_lower_bound(due, &next);
            continue;
        }
        int rc = visit_cell(l, cell);
        if (rc != 0)
            return rc;
        i++;
    }
    return 0;
}

static int visit_job(const struct look *l)
{
    const struct store *s = l->view->store;
    enum tier tier = l->range->tier;
    if (!s->job.under_way || l->view->file_is_ahead)
        return 0;
    int rc = visit_due(l, &s->job.due[tier]);
    return rc == 0 ? visit_late(l, &s->job.late, s->partial[tier]) : rc;
}

int view_each_open(struct view *v, const struct view_range *range,
                   view_cell_fn *fn, void *arg)
{
    ASSERT(v->locked);
    struct look l = {.view = v, .range = range, .fn = fn, .arg = arg};
    int rc = visit_table(&l);
    if (rc == 0)
        rc = visit_late(&l, &v->store->late, UINT32_MAX);
    return rc == 0 ? visit_job(&l) : rc;
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

/* What is before the horizon may still be there. */
static uint32_t first_bucket(const struct walk *w)
{
    uint32_t horizon = w->view->horizon[w->range->tier];
    return w->range->from < horizon ? horizon : w->range->from;
}

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

/* Blocks from @bucket on, of the range's location: up to its end, or for one
 * location to the end of the bucket. Sets the next bucket to look at. */
static int walk_blocks(struct walk *w, uint32_t *bucket)
{
    uint8_t raw[BLOCK_KEY_SIZE];
    block_key_put(raw, *bucket, w->range->location, 0, 0);
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
            *bucket = w->range->to;
            return 0;
        }
        if (w->range->location != 0 && location != w->range->location) {
            *bucket = location < w->range->location ? found : found + 1;
            return 0;
        }
        w->failed = visit_block(w, &key, &value);
        if (w->failed != 0)
            return 0;
        *bucket = found + 1;
        rc = mdb_cursor_get(w->cursor, &key, &value, MDB_NEXT);
    }
    *bucket = w->range->to;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int walk_all_blocks(struct walk *w)
{
    uint32_t bucket = first_bucket(w);
    while (bucket < w->range->to && w->failed == 0) {
        int rc = walk_blocks(w, &bucket);
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
    total_key_put(raw, w->range->tier, *location, first_bucket(w), 0);
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
            if (!first || cell.bucket < first_bucket(w))
                return 0;
        }
        if (cell.bucket >= w->range->to) {
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
    int rc = mdb_cursor_open(
        v->txn, range->totals ? env->totals : env->blocks[range->tier],
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
