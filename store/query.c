/* query_run: sums first, to know which series are the largest, then the points
 * of those that were asked for; both from one view (store/view.h), which is
 * read a second time only if its cells are too many to be kept. Who asks for
 * devices gets their cells, anyone else the totals of the gateways. A device
 * that has cells in several locations is one series, observed when any of them
 * was. */
#include "store/query.h"

#include "store/view.h"

#include <stdlib.h>

enum {
    GROUPS_FIRST = 64,
    CELLS_KEPT_MAX = 128 * 1024, /* 4 MiB; 2,000 devices in an hour */
};

static const uint32_t no_series = UINT32_MAX;

/* What cells are summed into before they are series: by the id of the series
 * and, for cells of devices, the observer: the location, or by gateway the
 * gateway. */
struct group {
    uint32_t observer, id;
    uint64_t upload, download;
    uint32_t series; /* in the answer, or no_series */
};

/* Which buckets of the range an observer was heard in: one bit a bucket. */
struct watch {
    uint32_t observer;
    uint8_t *bits; /* owned */
};

struct run {
    const struct query *query;
    struct answer *out;
    struct view view;
    struct view_range range;
    struct cells open; /* cells of the table, copied under the lock */
    struct cells kept; /* all that were summed, unless they were too many */
    bool all_kept;
    struct group *groups; /* owned */
    size_t group_count, group_capacity;
    uint32_t *index;       /* owned; hash of groups: number + 1, load <= 1/2 */
    struct watch *watches; /* owned; in order of the observers */
    size_t watch_count, watch_capacity;
    size_t bucket_count;
};

/* --- groups -----------------------------------------------------------------
 */

static size_t group_place(const struct run *r, uint32_t observer, uint32_t id)
{
    size_t mask = r->group_capacity * 2 - 1;
    uint64_t h = ((uint64_t)observer << 32 | id) * 0x9e3779b97f4a7c15u;
    size_t at = (h ^ h >> 32) & mask;
    for (; r->index[at] != 0; at = (at + 1) & mask) {
        const struct group *g = &r->groups[r->index[at] - 1];
        if (g->observer == observer && g->id == id)
            break;
    }
    return at;
}

static int grow_groups(struct run *r)
{
    size_t capacity =
        r->group_capacity == 0 ? GROUPS_FIRST : r->group_capacity * 2;
    struct group *groups = realloc(r->groups, capacity * sizeof *groups);
    if (groups == NULL)
        return ERR_NOMEM;
    r->groups = groups;
    uint32_t *index = calloc(capacity * 2, sizeof *index);
    if (index == NULL)
        return ERR_NOMEM;
    free(r->index);
    r->index = index;
    r->group_capacity = capacity;
    for (size_t i = 0; i < r->group_count; i++)
        r->index[group_place(r, groups[i].observer, groups[i].id)] =
            (uint32_t)i + 1;
    return 0;
}

static uint32_t group_id(const struct run *r, const struct cell *cell)
{
    switch (r->query->by) {
    case BY_NONE:
        return r->query->location;
    case BY_GATEWAY:
        return cell->gateway;
    case BY_GROUP:
        return r->query->group(r->query->group_arg, cell->device);
    case BY_DEVICE:
        break;
    }
    return cell->device;
}

static uint32_t observer_of(const struct run *r, const struct cell *cell)
{
    return r->query->by == BY_GATEWAY ? cell->gateway : cell->location;
}

static struct group *group_of(struct run *r, const struct cell *cell)
{
    uint32_t observer = r->range.totals ? 0 : observer_of(r, cell);
    uint32_t id = group_id(r, cell);
    if (r->group_capacity == 0 && grow_groups(r) != 0)
        return NULL;
    size_t at = group_place(r, observer, id);
    if (r->index[at] == 0) {
        if (r->group_count == r->group_capacity) {
            if (grow_groups(r) != 0)
                return NULL;
            at = group_place(r, observer, id);
        }
        r->groups[r->group_count] =
            (struct group){.observer = observer, .id = id, .series = no_series};
        r->index[at] = (uint32_t)++r->group_count;
    }
    return &r->groups[r->index[at] - 1];
}

static int add_to_group(void *arg, const struct cell *cell)
{
    struct group *group = group_of(arg, cell);
    if (group == NULL)
        return ERR_NOMEM;
    group->upload += cell->upload;
    group->download += cell->download;
    return 0;
}

static int add_and_keep(void *arg, const struct cell *cell)
{
    struct run *r = arg;
    if (r->kept.count == CELLS_KEPT_MAX)
        r->all_kept = false;
    else if (cells_push(&r->kept, cell) != 0)
        return ERR_NOMEM;
    return add_to_group(r, cell);
}

static int add_to_points(void *arg, const struct cell *cell)
{
    struct run *r = arg;
    const struct group *group = group_of(r, cell);
    if (group == NULL)
        return ERR_NOMEM;
    if (group->series == no_series)
        return 0;
    struct point *point =
        &r->out->series[group->series].points[cell->bucket - r->range.from];
    point->upload += cell->upload;
    point->download += cell->download;
    point->observed = true;
    return 0;
}

/* --- who observed (cells of devices: their gateways' totals) ----------------
 */

/* The watch of an observer, made if it is missing. Totals come in order of
 * location from the file, and in any order from the table. */
static struct watch *watch_of(struct run *r, uint32_t observer, bool make)
{
    size_t low = 0, high = r->watch_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->watches[middle].observer < observer)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < r->watch_count && r->watches[low].observer == observer)
        return &r->watches[low];
    if (!make)
        return NULL;
    if (r->watch_count == r->watch_capacity) {
        size_t capacity = r->watch_capacity == 0 ? 8 : r->watch_capacity * 2;
        struct watch *watches = realloc(r->watches, capacity * sizeof *watches);
        if (watches == NULL)
            return NULL;
        r->watches = watches;
        r->watch_capacity = capacity;
    }
    uint8_t *bits = calloc(r->bucket_count / 8 + 1, 1);
    if (bits == NULL)
        return NULL;
    memmove(r->watches + low + 1, r->watches + low,
            (r->watch_count - low) * sizeof *r->watches);
    r->watch_count++;
    r->watches[low] = (struct watch){observer, bits};
    return &r->watches[low];
}

static int add_to_watch(void *arg, const struct cell *cell)
{
    struct run *r = arg;
    struct watch *watch = watch_of(r, observer_of(r, cell), true);
    if (watch == NULL)
        return ERR_NOMEM;
    size_t bucket = cell->bucket - r->range.from;
    watch->bits[bucket / 8] |= (uint8_t)(1u << bucket % 8);
    return 0;
}

static void mark_points(const struct run *r, struct point *points,
                        const struct watch *watch)
{
    for (size_t b = 0; b < r->bucket_count; b++)
        if (watch->bits[b / 8] >> b % 8 & 1)
            points[b].observed = true;
}

static void mark_observed(struct run *r)
{
    for (size_t i = 0; i < r->group_count; i++) {
        const struct group *group = &r->groups[i];
        if (group->series == no_series)
            continue;
        struct point *points = r->out->series[group->series].points;
        const struct watch *watch = watch_of(r, group->observer, false);
        if (watch != NULL)
            mark_points(r, points, watch);
        /* Devices that are idle everywhere: whoever was heard. */
        for (size_t w = 0; group->observer == 0 && w < r->watch_count; w++)
            mark_points(r, points, &r->watches[w]);
    }
}

/* --- ranking ----------------------------------------------------------------
 */

static int compare_ids(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int compare_sizes(const void *a, const void *b)
{
    const struct series *x = a, *y = b;
    uint64_t x_total = x->upload + x->download;
    uint64_t y_total = y->upload + y->download;
    if (x_total != y_total)
        return x_total < y_total ? 1 : -1;
    return compare_ids(a, b);
}

/* One series for every id, in order of size. */
static int sum_series(struct run *r, struct series **series, size_t *count)
{
    *count = 0;
    *series = calloc(r->group_count + 1, sizeof **series);
    if (*series == NULL)
        return ERR_NOMEM;
    struct series *all = *series;
    for (size_t i = 0; i < r->group_count; i++)
        all[i] = (struct series){.id = r->groups[i].id,
                                 .upload = r->groups[i].upload,
                                 .download = r->groups[i].download};
    qsort(all, r->group_count, sizeof *all, compare_ids);
    for (size_t i = 0; i < r->group_count; i++) {
        if (*count > 0 && all[*count - 1].id == all[i].id) {
            all[*count - 1].upload += all[i].upload;
            all[*count - 1].download += all[i].download;
        } else {
            all[(*count)++] = all[i];
        }
    }
    qsort(all, *count, sizeof *all, compare_sizes);
    return 0;
}

/* Keeps the page that was asked for, with empty points. */
static int choose_series(struct run *r, struct errmsg *e)
{
    struct answer *out = r->out;
    struct series *all;
    int rc = sum_series(r, &all, &out->series_total);
    if (rc != 0)
        return rc;
    size_t first = r->query->after;
    if (first > out->series_total)
        first = out->series_total;
    size_t count = out->series_total - first;
    if (r->query->limit != 0 && count > r->query->limit)
        count = r->query->limit;
    memmove(all, all + first, count * sizeof *all);
    out->series = all;
    out->series_count = 0;
    if (r->query->sums_only) {
        out->series_count = count;
        return 0;
    }
    if (count > QUERY_SERIES_MAX || count * r->bucket_count > QUERY_POINTS_MAX)
        return errmsg_set(e, ERR_LIMIT,
                          "%zu series of %zu points are too many; ask for a "
                          "shorter time or with a limit",
                          count, r->bucket_count);
    for (size_t i = 0; i < count; i++) {
        all[i].points = calloc(r->bucket_count, sizeof *all[i].points);
        if (all[i].points == NULL)
            return ERR_NOMEM;
        out->series_count++;
    }
    return 0;
}

struct id_place {
    uint32_t id, place;
};

static int compare_places(const void *a, const void *b)
{
    const struct id_place *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

/* Tells the groups which series they belong to: by device and over all
 * locations a series has several. */
static int link_groups(struct run *r)
{
    const struct answer *out = r->out;
    struct id_place *places = calloc(out->series_count + 1, sizeof *places);
    if (places == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < out->series_count; i++)
        places[i] = (struct id_place){out->series[i].id, (uint32_t)i};
    qsort(places, out->series_count, sizeof *places, compare_places);
    for (size_t i = 0; i < r->group_count; i++) {
        const struct id_place key = {.id = r->groups[i].id};
        const struct id_place *found = bsearch(&key, places, out->series_count,
                                               sizeof *places, compare_places);
        if (found != NULL)
            r->groups[i].series = found->place;
    }
    free(places);
    return 0;
}

/* --- the run ----------------------------------------------------------------
 */

static int push_cell(void *arg, const struct cell *cell)
{
    return cells_push(arg, cell);
}

/* What is in the table only, copied while the lock is held. */
static int copy_open(struct run *r)
{
    struct view_range totals = r->range;
    totals.totals = true;
    int rc = view_each_open(&r->view, &r->range, push_cell, &r->open);
    if (rc == 0 && !r->range.totals)
        rc = view_each_open(&r->view, &totals, push_cell, &r->open);
    r->out->applied_index = r->view.applied_index;
    r->out->log_time_ms = r->view.log_time_ms;
    r->out->kept_from_s =
        (uint64_t)r->view.horizon[r->range.tier] * r->query->resolution;
    view_unlock(&r->view);
    return rc;
}

/* Every cell of the range once: of the table, then of the file. */
static int each_cell(struct run *r, bool totals, view_cell_fn *fn,
                     struct errmsg *e)
{
    for (size_t i = 0; i < r->open.count; i++) {
        const struct cell *cell = &r->open.items[i];
        if ((cell->device == GATEWAY_TOTAL) != totals)
            continue;
        int rc = fn(r, cell);
        if (rc != 0)
            return rc;
    }
    struct view_range range = r->range;
    range.totals = totals;
    return view_each_closed(&r->view, &range, fn, r, e);
}

static int each_kept(struct run *r, view_cell_fn *fn)
{
    int rc = 0;
    for (size_t i = 0; i < r->kept.count && rc == 0; i++)
        rc = fn(r, &r->kept.items[i]);
    return rc;
}

/* Of the series that were chosen. */
static int fill_points(struct run *r, struct errmsg *e)
{
    bool totals = r->range.totals;
    int rc = link_groups(r);
    if (rc == 0)
        rc = r->all_kept ? each_kept(r, add_to_points)
                         : each_cell(r, totals, add_to_points, e);
    if (rc == 0 && !totals) {
        rc = each_cell(r, true, add_to_watch, e);
        if (rc == 0)
            mark_observed(r);
    }
    return rc;
}

static int collect(struct run *r, struct errmsg *e)
{
    bool totals = r->range.totals;
    int rc = copy_open(r);
    r->all_kept = !r->query->sums_only;
    if (rc == 0)
        rc = each_cell(r, totals, r->all_kept ? add_and_keep : add_to_group, e);
    /* The one series is there when it is idle. */
    if (rc == 0 && r->query->by == BY_NONE && r->group_count == 0)
        rc = add_to_group(r, &(struct cell){.location = r->query->location});
    if (rc == 0)
        rc = choose_series(r, e);
    return rc != 0 || r->query->sums_only ? rc : fill_points(r, e);
}

static int check(const struct query *q, struct errmsg *e)
{
    unsigned step = q->resolution;
    if (step != BY_MINUTE && step != BY_HOUR && step != BY_DAY)
        return errmsg_set(e, ERR_INVALID, "resolution %u is not kept", step);
    for (size_t i = 1; i < q->device_count; i++)
        if (q->devices[i - 1] >= q->devices[i])
            return errmsg_set(e, ERR_INVALID, "the devices are not in order");
    if (q->from_s >= q->to_s || q->from_s % step != 0 || q->to_s % step != 0)
        return errmsg_set(e, ERR_INVALID,
                          "the range must be full buckets of %u s", step);
    if (!q->sums_only && (q->to_s - q->from_s) / step > QUERY_BUCKETS_MAX)
        return errmsg_set(e, ERR_INVALID,
                          "more than %d buckets; ask for a shorter time or a "
                          "coarser resolution",
                          QUERY_BUCKETS_MAX);
    if (q->to_s / BY_MINUTE > UINT32_MAX)
        return errmsg_set(e, ERR_INVALID, "the range ends beyond time");
    return 0;
}

static enum tier tier_of(enum query_resolution resolution)
{
    switch (resolution) {
    case BY_HOUR:
        return TIER_HOUR;
    case BY_DAY:
        return TIER_DAY;
    case BY_MINUTE:
        break;
    }
    return TIER_MINUTE;
}

static struct view_range range_of(const struct query *q)
{
    return (struct view_range){
        .tier = tier_of(q->resolution),
        .from = (uint32_t)(q->from_s / q->resolution),
        .to = (uint32_t)(q->to_s / q->resolution),
        .location = q->location,
        .gateway = q->gateway,
        .totals =
            q->by != BY_DEVICE && q->by != BY_GROUP && q->device_count == 0,
        .devices = q->devices,
        .device_count = q->device_count,
    };
}

int query_run(struct store *s, const struct query *q, struct answer *out,
              struct errmsg *e)
{
    *out = (struct answer){0};
    int rc = check(q, e);
    if (rc != 0)
        return rc;
    struct run r = {.query = q, .out = out, .range = range_of(q)};
    out->from_s = q->from_s;
    if (!q->sums_only)
        out->bucket_count = r.bucket_count = r.range.to - r.range.from;
    rc = view_begin(&r.view, s, e);
    if (rc == 0) {
        rc = collect(&r, e);
        view_end(&r.view);
    }
    if (rc == ERR_NOMEM)
        errmsg_set(e, rc, "answering a query: out of memory");
    for (size_t i = 0; i < r.watch_count; i++)
        free(r.watches[i].bits);
    free(r.watches);
    free(r.groups);
    free(r.index);
    cells_deinit(&r.open);
    cells_deinit(&r.kept);
    if (rc != 0)
        answer_deinit(out);
    return rc;
}

void answer_deinit(struct answer *a)
{
    for (size_t i = 0; i < a->series_count; i++)
        free(a->series[i].points);
    free(a->series);
    *a = (struct answer){0};
}
