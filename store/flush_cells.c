#include "store/flush_cells.h"

#include "store/block.h"
#include "store/totals.h"

#include <errno.h>

static int push_due(struct store *s, const struct slot *slot)
{
    for (size_t i = 0; i < 2; i++) {
        const struct open_cell *open = &slot->open[i];
        if (!open->used || !minute_is_due(open->minute, s->log_time_ms))
            continue;
        struct cell cell = {.minute = open->minute,
                            .location = slot->location,
                            .device = slot->device,
                            .gateway = slot->gateway,
                            .upload = open->upload,
                            .download = open->download};
        int rc = cells_push(&s->due, &cell);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int flush_gather(struct store *s)
{
    cells_clear(&s->due);
    for (size_t i = 0; i < s->table.count; i++) {
        int rc = push_due(s, &s->table.slots[i]);
        if (rc != 0)
            return rc;
    }
    /* As a rule one minute is due, and the table is in its order already. */
    cells_normalise(&s->due);
    return cells_merge(s->due.items, s->due.count, s->late.items, s->late.count,
                       &s->merged);
}

/* --- totals -----------------------------------------------------------------
 */

static int write_total(struct store *s, MDB_txn *txn, struct cell cell)
{
    uint8_t raw_key[TOTAL_KEY_SIZE], raw[TOTAL_VALUE_SIZE];
    total_key_put(raw_key, cell.location, cell.minute, cell.gateway);
    MDB_val key = val_of(raw_key, sizeof raw_key), value;
    int rc = mdb_get(txn, s->env.totals, &key, &value);
    if (rc == 0) {
        struct cell stored;
        if (total_get(bytes_of_val(&key), bytes_of_val(&value), &stored) != 1)
            return MDB_CORRUPTED;
        cell.upload += stored.upload;
        cell.download += stored.download;
    } else if (rc != MDB_NOTFOUND) {
        return rc;
    }
    total_value_put(raw, &cell);
    value = val_of(raw, sizeof raw);
    return mdb_put(txn, s->env.totals, &key, &value, 0);
}

/* --- blocks of one minute and location --------------------------------------
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

/* Takes the blocks of the group out of the file, into s->stored. */
static int take_stored(struct store *s, MDB_cursor *cursor,
                       const uint8_t group[BLOCK_KEY_SIZE])
{
    cells_clear(&s->stored);
    for (;;) {
        MDB_val key = val_of(group, BLOCK_KEY_SIZE), value;
        int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc == MDB_NOTFOUND || (rc == 0 && !is_group(&key, group)))
            return 0;
        if (rc == 0)
            rc = decode_into(&s->stored, &key, &value);
        if (rc == 0)
            rc = mdb_cursor_del(cursor, 0);
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

static int write_group(struct store *s, MDB_cursor *cursor,
                       const struct cell *cells, size_t count)
{
    uint8_t group[BLOCK_KEY_SIZE];
    block_key_put(group, cells->minute, cells->location, 0, 0);
    bool end;
    int rc = at_the_end(cursor, group, &end);
    if (rc != 0)
        return rc;
    if (end)
        return put_blocks(cursor, cells, count, MDB_APPEND);
    rc = take_stored(s, cursor, group);
    if (rc != 0)
        return rc;
    struct cells together = {0};
    if (cells_merge(cells, count, s->stored.items, s->stored.count,
                    &together) != 0)
        rc = ENOMEM;
    if (rc == 0)
        rc = put_blocks(cursor, together.items, together.count, 0);
    cells_deinit(&together);
    return rc;
}

/* The totals of a gateway have device 0, so they come first in their group. */
static int write_cells(struct store *s, MDB_txn *txn, MDB_cursor *cursor)
{
    const struct cell *cells = s->merged.items;
    size_t i = 0;
    while (i < s->merged.count) {
        if (cells[i].minute < s->horizon) {
            i++;
            continue;
        }
        if (cells[i].device == GATEWAY_TOTAL) {
            int rc = write_total(s, txn, cells[i++]);
            if (rc != 0)
                return rc;
            continue;
        }
        size_t first = i;
        while (i < s->merged.count && cells[i].device != GATEWAY_TOTAL &&
               cells[i].minute == cells[first].minute &&
               cells[i].location == cells[first].location)
            i++;
        int rc = write_group(s, cursor, cells + first, i - first);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int flush_cells(struct store *s, MDB_txn *txn)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->env.minutes, &cursor);
    if (rc != 0)
        return rc;
    rc = write_cells(s, txn, cursor);
    mdb_cursor_close(cursor);
    return rc;
}

/* --- expiry -----------------------------------------------------------------
 */

static int expire_blocks(struct store *s, MDB_cursor *cursor)
{
    MDB_val key, value;
    int rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_FIRST)) == 0) {
        if (key.mv_size != BLOCK_KEY_SIZE)
            return MDB_CORRUPTED;
        if (be32_get(key.mv_data) >= s->horizon)
            return 0;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            return rc;
    }
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Location by location, since the location comes first in the key. */
static int expire_totals(struct store *s, MDB_cursor *cursor)
{
    uint32_t location = 0, minute = 0;
    for (;;) {
        uint8_t raw[TOTAL_KEY_SIZE];
        total_key_put(raw, location, minute, 0);
        MDB_val key = val_of(raw, sizeof raw), value;
        struct cell cell;
        int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (rc == MDB_NOTFOUND)
            return 0;
        if (rc != 0)
            return rc;
        int kind = total_get(bytes_of_val(&key), bytes_of_val(&value), &cell);
        if (kind <= 0)
            return kind == 0 ? 0 : MDB_CORRUPTED;
        if (cell.minute < s->horizon) {
            if ((rc = mdb_cursor_del(cursor, 0)) != 0)
                return rc;
            location = cell.location;
            minute = 0;
        } else if (cell.location == UINT32_MAX) {
            return 0;
        } else {
            location = cell.location + 1;
            minute = 0;
        }
    }
}

int flush_expiry(struct store *s, MDB_txn *txn)
{
    if (s->horizon == 0)
        return 0;
    MDB_cursor *blocks = NULL, *totals = NULL;
    int rc = mdb_cursor_open(txn, s->env.minutes, &blocks);
    if (rc == 0)
        rc = mdb_cursor_open(txn, s->env.totals, &totals);
    if (rc == 0)
        rc = expire_blocks(s, blocks);
    if (rc == 0)
        rc = expire_totals(s, totals);
    if (totals != NULL)
        mdb_cursor_close(totals);
    if (blocks != NULL)
        mdb_cursor_close(blocks);
    return rc;
}
