#include "store/slice.h"

#include "store/block.h"
#include "store/lmdb_error.h"
#include "store/view.h"

/* --- bounds --------------------------------------------------------------- */

/* The first bucket of the file; UINT32_MAX if there is none. */
static int first_closed(const struct view *v, enum tier tier, uint32_t *bucket)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    uint8_t raw[BLOCK_KEY_SIZE];
    *bucket = UINT32_MAX;
    int rc = mdb_cursor_open(v->txn, v->store->env.blocks[tier], &cursor);
    if (rc != 0)
        return rc;
    block_key_put(raw, v->horizon[tier], 0, 0, 0);
    key = val_of(raw, sizeof raw);
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    if (rc == 0 && key.mv_size == BLOCK_KEY_SIZE)
        *bucket = be32_get(key.mv_data);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

struct earliest {
    uint32_t bucket;
};

static int take_earliest(void *arg, const struct cell *cell)
{
    struct earliest *earliest = arg;
    if (cell->bucket < earliest->bucket)
        earliest->bucket = cell->bucket;
    return 0;
}

int slice_bounds(struct store *s, enum tier tier, uint32_t *first,
                 uint32_t *end, struct errmsg *e)
{
    struct view v;
    struct view_range all = {.tier = tier, .to = UINT32_MAX};
    struct earliest open = {UINT32_MAX};
    *first = *end = 0;
    int rc = view_begin(&v, s, e);
    if (rc != 0)
        return rc;
    rc = view_each_open(&v, &all, take_earliest, &open);
    view_unlock(&v);
    if (rc == 0 && (rc = first_closed(&v, tier, first)) != 0)
        rc = lmdb_error(rc, "reading", s->env.path, e);
    /* No sample is of later than log time. */
    *end = bucket_of(tier, v.log_time_ms) + 1;
    view_end(&v);
    if (open.bucket < *first)
        *first = open.bucket;
    if (*first >= *end)
        *first = *end = 0;
    return rc;
}

/* --- cells ---------------------------------------------------------------- */

static int take_cell(void *arg, const struct cell *cell)
{
    return cells_add(arg, cell);
}

int slice_read(struct store *s, enum tier tier, uint32_t location,
               uint32_t from, uint32_t to, struct cells *out, struct errmsg *e)
{
    struct view v;
    struct view_range range = {
        .tier = tier, .from = from, .to = to, .location = location};
    cells_clear(out);
    int rc = view_begin(&v, s, e);
    if (rc != 0)
        return rc;
    rc = view_each_open(&v, &range, take_cell, out);
    view_unlock(&v);
    if (rc == 0)
        rc = view_each_closed(&v, &range, take_cell, out, e);
    view_end(&v);
    if (rc == ERR_NOMEM)
        errmsg_set(e, rc, "reading buckets: out of memory");
    if (rc == 0)
        cells_normalise(out);
    return rc;
}
