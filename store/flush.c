/* store_flush: one LMDB transaction that takes the file from the state at one
 * log index to the state at a later one: due minutes as blocks and totals (late
 * cells merged into what is there), the checkpoint of all slots, addresses, the
 * roster, expiry, and the meta record. docs/format.md, "What a flush does".
 * Applier thread. The lock is taken before (to sort the table) and after (to
 * drop what the file now has), never during the commit. */
#include "store/state.h"

#include "base/clock.h"
#include "store/block.h"
#include "store/flush_cells.h"
#include "store/lmdb_error.h"

#include <errno.h>

/* --- the checkpoint ---------------------------------------------------------
 */

/* The slot as it will be once this flush is committed: without its due cells,
 * which are in the blocks now. */
static struct slot without_due(const struct slot *slot, uint64_t log_time_ms)
{
    struct slot copy = *slot;
    for (size_t i = 0; i < 2; i++)
        if (copy.open[i].used &&
            minute_is_due(copy.open[i].minute, log_time_ms))
            copy.open[i].used = false;
    return copy;
}

static int put_block(MDB_txn *txn, MDB_dbi dbi, struct block_writer *w)
{
    if (buf_failed(&w->value))
        return ENOMEM;
    if (w->value.size == 0)
        return 0;
    MDB_val key = val_of(w->key, CHECKPOINT_KEY_SIZE);
    MDB_val value = val_of(w->value.data, w->value.size);
    return mdb_put(txn, dbi, &key, &value, MDB_APPEND);
}

static int put_slots(struct store *s, MDB_txn *txn, struct block_writer *w)
{
    for (size_t i = 0; i < s->table.count; i++) {
        const struct slot *slot = &s->table.slots[i];
        if (slot_is_expired(slot, s->log_time_ms))
            continue;
        struct slot closed = without_due(slot, s->log_time_ms);
        if (w->value.size > 0 && w->location == slot->location &&
            !block_is_full(w)) {
            checkpoint_add(w, &closed);
            continue;
        }
        int rc = put_block(txn, s->env.checkpoint, w);
        if (rc != 0)
            return rc;
        checkpoint_start(w, s->log_time_ms, &closed);
    }
    return put_block(txn, s->env.checkpoint, w);
}

static int put_checkpoint(struct store *s, MDB_txn *txn)
{
    /* Dropping frees the pages without visiting the rows. */
    int rc = mdb_drop(txn, s->env.checkpoint, 0);
    if (rc != 0)
        return rc;
    struct block_writer w = {0};
    rc = put_slots(s, txn, &w);
    block_writer_deinit(&w);
    return rc;
}

static int put_addresses(struct store *s, MDB_txn *txn)
{
    for (size_t i = 0; i < s->table.count; i++) {
        const struct slot *slot = &s->table.slots[i];
        bool expired = slot_is_expired(slot, s->log_time_ms);
        if (!slot->address_changed && !expired)
            continue;
        uint8_t raw[CHECKPOINT_KEY_SIZE];
        be32_put(raw, slot->location);
        be32_put(raw + 4, slot->device);
        be32_put(raw + 8, slot->gateway);
        MDB_val key = val_of(raw, sizeof raw);
        int rc;
        if (expired || slot->address == NULL) {
            rc = mdb_del(txn, s->env.addresses, &key, NULL);
            rc = rc == MDB_NOTFOUND ? 0 : rc;
        } else {
            MDB_val value = val_of(slot->address->data, slot->address->size);
            rc = mdb_put(txn, s->env.addresses, &key, &value, 0);
        }
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* --- roster and meta --------------------------------------------------------
 */

struct roster_rows {
    MDB_txn *txn;
    MDB_dbi dbi;
    int rc; /* of LMDB */
};

static int put_roster_row(void *arg, uint8_t kind, uint32_t id,
                          struct bytes row)
{
    struct roster_rows *rows = arg;
    uint8_t raw[5] = {kind};
    be32_put(raw + 1, id);
    MDB_val key = val_of(raw, sizeof raw);
    if (row.size == 0) {
        rows->rc = mdb_del(rows->txn, rows->dbi, &key, NULL);
        /* Made and deleted between two flushes. */
        if (rows->rc == MDB_NOTFOUND)
            rows->rc = 0;
    } else {
        MDB_val value = val_of(row.data, row.size);
        rows->rc = mdb_put(rows->txn, rows->dbi, &key, &value, 0);
    }
    return rows->rc == 0 ? 0 : ERR_IO;
}

static int put_roster(struct store *s, MDB_txn *txn) REQUIRES(applier_thread)
{
    struct roster_rows rows = {.txn = txn, .dbi = s->env.roster};
    int rc = roster_each_dirty(s->roster, put_roster_row, &rows);
    if (rows.rc != 0)
        return rows.rc;
    return rc == 0 ? 0 : ENOMEM;
}

static int put_meta(struct store *s, MDB_txn *txn)
{
    struct meta meta = {.applied_index = s->applied_index,
                        .applied_term = s->applied_term,
                        .log_time_ms = s->log_time_ms,
                        .generation = s->generation + 1,
                        .horizon = s->horizon};
    const struct settings *settings = roster_settings(s->roster);
    if (settings != NULL)
        memcpy(meta.cluster_id, settings->cluster_id, CLUSTER_ID_SIZE);
    uint8_t record[META_SIZE];
    meta_put(record, &meta);
    MDB_val key = val_of(meta_key.data, meta_key.size);
    MDB_val value = val_of(record, sizeof record);
    return mdb_put(txn, s->env.meta, &key, &value, 0);
}

/* --- the transaction --------------------------------------------------------
 */

static int fill(struct store *s, MDB_txn *txn) REQUIRES(applier_thread)
{
    int rc = flush_cells(s, txn);
    if (rc == 0)
        rc = flush_expiry(s, txn);
    if (rc == 0)
        rc = put_checkpoint(s, txn);
    if (rc == 0)
        rc = put_addresses(s, txn);
    if (rc == 0)
        rc = put_roster(s, txn);
    if (rc == 0)
        rc = put_meta(s, txn);
    return rc;
}

static int commit(struct store *s, struct errmsg *e) REQUIRES(applier_thread)
{
    int dead;
    int rc = mdb_reader_check(s->env.env, &dead);
    MDB_txn *txn = NULL;
    if (rc == 0)
        rc = mdb_txn_begin(s->env.env, NULL, 0, &txn);
    if (rc == 0) {
        rc = fill(s, txn);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        else
            mdb_txn_abort(txn);
    }
    if (rc != 0)
        return lmdb_error(rc, "writing the store in", s->env.path, e);
    return 0;
}

static bool gone(const struct slot *slot, void *arg)
{
    const struct store *s = arg;
    return slot_is_expired(slot, s->log_time_ms);
}

/* What the file has now, the table lets go: a reader that holds the lock sees
 * either both as before or both as after. */
static void drop_flushed(struct store *s)
{
    s->earliest_open = UINT32_MAX;
    for (size_t i = 0; i < s->table.count; i++) {
        struct slot *slot = &s->table.slots[i];
        slot->address_changed = false;
        for (size_t j = 0; j < 2; j++) {
            struct open_cell *open = &slot->open[j];
            if (open->used && minute_is_due(open->minute, s->log_time_ms))
                open->used = false;
            if (open->used && open->minute < s->earliest_open)
                s->earliest_open = open->minute;
        }
    }
    table_remove(&s->table, gone, s);
    cells_clear(&s->late);
    s->unflushed = 0;
    s->generation++;
    s->flushed_index = s->applied_index;
}

static int flush(struct store *s, struct errmsg *e) REQUIRES(applier_thread)
{
    /* The file holds this index already. */
    if (s->applied_index == s->flushed_index)
        return 0;
    pthread_mutex_lock(&s->lock);
    int rc = table_sort(&s->table);
    cells_normalise(&s->late);
    pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        rc = flush_gather(s);
    if (rc != 0)
        return errmsg_set(e, rc, "flushing the store: out of memory");
    /* What the log may forget after the commit is in the raw reports by then.
     */
    if (s->raw != NULL)
        rc = raw_await(s->raw, e);
    if (rc == 0)
        rc = commit(s, e);
    if (rc != 0)
        return rc;
    roster_flushed(s->roster);
    pthread_mutex_lock(&s->lock);
    drop_flushed(s);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

int store_flush(struct store *s, struct errmsg *e)
{
    thread_role_assert(&applier_thread);
    if (s->failed != 0)
        return errmsg_set(e, s->failed,
                          "the store failed before; restart the process");
    uint64_t start = clock_mono_ns();
    int rc = flush(s, e);
    if (rc != 0) {
        s->failed = rc;
        return rc;
    }
    pthread_mutex_lock(&s->lock);
    s->counters.flushes++;
    s->counters.flush_ns += clock_mono_ns() - start;
    pthread_mutex_unlock(&s->lock);
    return 0;
}
