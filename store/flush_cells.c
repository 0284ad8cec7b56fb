#include "store/flush_cells.h"

#include "store/block.h"
#include "store/totals.h"

#include <errno.h>

/* The cells of one tier on their way. */
struct writing {
    const struct environment *env;
    const struct flush_job *job;
    MDB_txn *txn;
    enum tier tier;
    MDB_cursor *cursor; /* of the tier's blocks */
    struct cells late, merged;
    struct cells stored, together; /* of one group */
};

/* --- totals -----------------------------------------------------------------
 */

static int write_total(const struct writing *w, struct cell cell)
{
    uint8_t raw_key[TOTAL_KEY_SIZE], raw[TOTAL_VALUE_SIZE];
    total_key_put(raw_key, w->tier, cell.location, cell.bucket, cell.gateway);
    MDB_val key = val_of(raw_key, sizeof raw_key), value;
    int rc = mdb_get(w->txn, w->env->totals, &key, &value);
    if (rc == 0) {
        struct cell stored;
        if (total_get(w->tier, bytes_of_val(&key), bytes_of_val(&value),
                      &stored) != 1)
            return MDB_CORRUPTED;
        cell.upload += stored.upload;
        cell.download += stored.download;
    } else if (rc != MDB_NOTFOUND) {
        return rc;
    }
    total_value_put(raw, &cell);
    value = val_of(raw, sizeof raw);
    return mdb_put(w->txn, w->env->totals, &key, &value, 0);
}

/* --- blocks of one bucket and location --------------------------------------
 */

static int put_block(MDB_cursor *cursor, struct block_writer *w, unsigned flags)
{
    if (buf_failed(&w->value))
        return ENOMEM;
    if (w->value.size == 0)
        return 0;
    MDB_val key = val_of(w->key, BLOCK_KEY_SIZE);
    MDB_val value = val_of(w->value.data, w->value.size);
    int rc = mdb_cursor_put(cursor, &key, &value, flags);
    buf_clear(&w->value);
    return rc;
}

static int put_blocks(MDB_cursor *cursor, const struct cell *cells,
                      size_t count, unsigned flags)
{
    struct block_writer w = {0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        /* Sums wrap at 64 bits: a cell may come to nothing. */
        if (cells[i].upload == 0 && cells[i].download == 0)
            continue;
        if (block_is_full(&w))
            rc = put_block(cursor, &w, flags);
        if (rc == 0 && w.value.size == 0)
            block_start(&w, &cells[i]);
        else if (rc == 0)
            block_add(&w, &cells[i]);
        if (buf_failed(&w.value))
            rc = ENOMEM;
    }
    if (rc == 0)
        rc = put_block(cursor, &w, flags);
    block_writer_deinit(&w);
    return rc;
}

static int decode_into(struct cells *out, const MDB_val *key,
                       const MDB_val *value)
{
    struct block_reader r;
    struct cell cell;
    int rc = block_open(&r, bytes_of_val(key), bytes_of_val(value));
    if (rc != 0)
        return MDB_CORRUPTED;
    while ((rc = block_next(&r, &cell)) > 0)
        if (cells_push(out, &cell) != 0)
            return ENOMEM;
    return rc == 0 ? 0 : MDB_CORRUPTED;
}

static bool is_group(const MDB_val *key, const uint8_t group[BLOCK_KEY_SIZE])
{
    return key->mv_size == BLOCK_KEY_SIZE &&
           memcmp(key->mv_data, group, 8) == 0;
}

/* Takes the blocks of the group out of the file. */
static int take_stored(struct writing *w, const uint8_t group[BLOCK_KEY_SIZE])
{
    cells_clear(&w->stored);
    for (;;) {
        MDB_val key = val_of(group, BLOCK_KEY_SIZE), value;
        int rc = mdb_cursor_get(w->cursor, &key, &value, MDB_SET_RANGE);
        if (rc == MDB_NOTFOUND || (rc == 0 && !is_group(&key, group)))
            return 0;
        if (rc == 0)
            rc = decode_into(&w->stored, &key, &value);
        if (rc == 0)
            rc = mdb_cursor_del(w->cursor, 0);
        if (rc != 0)
            return rc;
    }
}

/* Is everything in the file before this group? */
static int at_the_end(MDB_cursor *cursor, const uint8_t group[BLOCK_KEY_SIZE],
                      bool *end)
{
    MDB_val key, value;
    int rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
    *end = rc == MDB_NOTFOUND || (rc == 0 && key.mv_size == BLOCK_KEY_SIZE &&
                                  memcmp(key.mv_data, group, 8) < 0);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int write_group(struct writing *w, const struct cell *cells,
                       size_t count)
{
    uint8_t group[BLOCK_KEY_SIZE];
    block_key_put(group, cells->bucket, cells->location, 0, 0);
    bool end;
    int rc = at_the_end(w->cursor, group, &end);
    if (rc != 0)
        return rc;
    if (end)
        return put_blocks(w->cursor, cells, count, MDB_APPEND);
    rc = take_stored(w, group);
    if (rc != 0)
        return rc;
    if (cells_merge(cells, count, w->stored.items, w->stored.count,
                    &w->together) != 0)
        return ENOMEM;
    return put_blocks(w->cursor, w->together.items, w->together.count, 0);
}

/* --- a tier -----------------------------------------------------------------
 */

/* The totals of a gateway have device 0, so they come first in their group. */
static int write_cells(struct writing *w, const struct cells *all)
{
    const struct cell *cells = all->items;
    uint32_t horizon = w->job->meta.horizon[w->tier];
    size_t i = 0;
    while (i < all->count) {
        if (cells[i].bucket < horizon) {
            i++;
            continue;
        }
        if (cells[i].device == GATEWAY_TOTAL) {
            int rc = write_total(w, cells[i++]);
            if (rc != 0)
                return rc;
            continue;
        }
        size_t first = i;
        while (i < all->count && cells[i].device != GATEWAY_TOTAL &&
               cells[i].bucket == cells[first].bucket &&
               cells[i].location == cells[first].location)
            i++;
        int rc = write_group(w, cells + first, i - first);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The late cells in buckets of this tier, where those are due. */
static int gather_late(struct writing *w)
{
    const struct cells *late = &w->job->late;
    for (size_t i = 0; i < late->count; i++) {
        struct cell cell = late->items[i];
        cell.bucket = bucket_of_minute(w->tier, cell.bucket);
        if (bucket_is_due(w->tier, cell.bucket, w->job->meta.log_time_ms) &&
            cells_push(&w->late, &cell) != 0)
            return ENOMEM;
    }
    cells_normalise(&w->late);
    return 0;
}

static int write_tier(struct writing *w)
{
    const struct cells *due = &w->job->due[w->tier];
    int rc = gather_late(w);
    if (rc != 0)
        return rc;
    if (w->late.count == 0)
        return write_cells(w, due);
    if (cells_merge(due->items, due->count, w->late.items, w->late.count,
                    &w->merged) != 0)
        return ENOMEM;
    return write_cells(w, &w->merged);
}

static int flush_tier(const struct environment *env,
                      const struct flush_job *job, MDB_txn *txn, enum tier tier)
{
    struct writing w = {.env = env, .job = job, .txn = txn, .tier = tier};
    int rc = mdb_cursor_open(txn, env->blocks[tier], &w.cursor);
    if (rc != 0)
        return rc;
    rc = write_tier(&w);
    mdb_cursor_close(w.cursor);
    cells_deinit(&w.late);
    cells_deinit(&w.merged);
    cells_deinit(&w.stored);
    cells_deinit(&w.together);
    return rc;
}

int flush_cells(const struct environment *env, const struct flush_job *job,
                MDB_txn *txn)
{
    int rc = 0;
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++)
        rc = flush_tier(env, job, txn, tier);
    return rc;
}
