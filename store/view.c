#include "store/view.h"

#include "base/assert.h"

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

struct view_range view_range_kept(const struct view *v,
                                  const struct view_range *range)
{
    struct view_range kept = *range;
    if (kept.from < v->horizon[kept.tier])
        kept.from = v->horizon[kept.tier];
    return kept;
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
    return view_range_has(l->range, cell) ? l->fn(l->arg, cell) : 0;
}

static int visit_slot(const struct look *l, const struct slot *slot)
{
    enum tier tier = l->range->tier;
    struct cell cell = {.location = slot->location,
                        .device = slot->device,
                        .gateway = slot->gateway};
    int rc = 0;
    if (tier != TIER_MINUTE && slot->partial_used[tier - 1]) {
        const struct store *s = l->view->store;
        cell.bucket = slot_is_closed(s, slot) ? s->partial[tier]
                                              : s->job.partial_before[tier];
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

static size_t find_slot(const struct table *t, const struct cell *cell)
{
    return table_lower_bound(
        t, (struct slot_key){cell->location, cell->device, cell->gateway});
}

/* Slots are in the order of the cells of one bucket, and here it is number 0.
 */
static int visit_sorted(const struct look *l)
{
    const struct table *t = &l->view->store->table;
    struct cell next = view_range_first(l->range);
    size_t i = find_slot(t, &next);
    while (i < t->sorted) {
        const struct slot *slot = table_at(t, i);
        struct cell at = {.location = slot->location,
                          .device = slot->device,
                          .gateway = slot->gateway};
        if (view_range_skip(l->range, &at, &next)) {
            if (next.bucket > 0)
                break;
            i = find_slot(t, &next);
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
        rc = visit_slot(l, table_at(t, i));
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

static int visit_due(const struct look *l, const struct cells *due)
{
    struct cell next = view_range_first(l->range);
    size_t i = cells_lower_bound(due, &next);
    while (i < due->count && due->items[i].bucket < l->range->to) {
        const struct cell *cell = &due->items[i];
        if (view_range_skip(l->range, cell, &next)) {
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

/* Of a job that is being gathered: in any order. */
static int visit_gathered(const struct look *l, const struct cells *due)
{
    int rc = 0;
    for (size_t i = 0; i < due->count && rc == 0; i++)
        rc = visit_cell(l, &due->items[i]);
    return rc;
}

static int visit_job(const struct look *l)
{
    const struct store *s = l->view->store;
    enum tier tier = l->range->tier;
    if (!s->job.under_way || l->view->file_is_ahead)
        return 0;
    int rc = s->job.walking ? visit_gathered(l, &s->job.due[tier])
                            : visit_due(l, &s->job.due[tier]);
    return rc == 0 ? visit_late(l, &s->job.late, s->partial[tier]) : rc;
}

int view_each_open(struct view *v, const struct view_range *range,
                   view_cell_fn *fn, void *arg)
{
    ASSERT(v->locked);
    struct view_range kept = view_range_kept(v, range);
    struct look l = {.view = v, .range = &kept, .fn = fn, .arg = arg};
    int rc = visit_table(&l);
    if (rc == 0)
        rc = visit_late(&l, &v->store->late, UINT32_MAX);
    return rc == 0 ? visit_job(&l) : rc;
}
