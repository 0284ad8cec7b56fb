/* What the file holds, into memory: at start, before any other thread. Every
 * row is checked; a row that is wrong stops the start with its place named,
 * because a guess would make this replica differ from the others. */
#include "store/state.h"

#include "store/block.h"
#include "store/lmdb_error.h"

static int damaged(const struct store *s, const char *database, size_t row,
                   struct errmsg *e)
{
    return errmsg_set(e, ERR_CORRUPT,
                      "%s: row %zu of %s is damaged; remove this node's data "
                      "and let it join again",
                      s->env.path, row, database);
}

static int load_block(struct store *s, struct bytes key, struct bytes value)
{
    struct block_reader r;
    struct slot slot;
    int rc = checkpoint_open(&r, key, value);
    if (rc != 0)
        return rc;
    while ((rc = checkpoint_next(&r, &slot)) > 0) {
        if (table_find(&s->table, slot_key_of(&slot)) != NULL)
            return ERR_CORRUPT;
        struct slot *added = table_add(&s->table, slot_key_of(&slot));
        if (added == NULL)
            return ERR_NOMEM;
        *added = slot;
        for (size_t i = 0; i < 2; i++)
            if (slot.open[i].used && slot.open[i].minute < s->earliest_open)
                s->earliest_open = slot.open[i].minute;
    }
    return rc;
}

static int load_address(struct store *s, struct bytes key, struct bytes value)
{
    if (key.size != CHECKPOINT_KEY_SIZE)
        return ERR_CORRUPT;
    struct slot_key slot_key = {be32_get(key.data), be32_get(key.data + 4),
                                be32_get(key.data + 8)};
    struct slot *slot = table_find(&s->table, slot_key);
    return slot == NULL ? ERR_CORRUPT : slot_load_address(slot, value);
}

static int load_roster_row(struct store *s, struct bytes key,
                           struct bytes value, struct errmsg *e)
{
    if (key.size != 5)
        return errmsg_set(e, ERR_CORRUPT, "a key of %zu bytes", key.size);
    return roster_load_row(s->roster, key.data[0], be32_get(key.data + 1),
                           value, e);
}

enum database { CHECKPOINT, ADDRESSES, ROSTER };

static const char *const database_names[] = {"ck", "ep", "roster"};

static int load_row(struct store *s, enum database which, size_t row,
                    struct bytes key, struct bytes value, struct errmsg *e)
{
    int rc = ERR_CORRUPT;
    if (which == ROSTER) {
        rc = load_roster_row(s, key, value, e);
        return rc == 0 ? 0 : errmsg_wrap(e, rc, "%s", s->env.path);
    }
    if (which == CHECKPOINT)
        rc = load_block(s, key, value);
    else
        rc = load_address(s, key, value);
    if (rc == ERR_NOMEM)
        return errmsg_set(e, rc, "loading %s: out of memory", s->env.path);
    return rc == 0 ? 0 : damaged(s, database_names[which], row, e);
}

static int load_database(struct store *s, MDB_txn *txn, enum database which,
                         struct errmsg *e)
{
    const MDB_dbi handles[] = {s->env.checkpoint, s->env.addresses,
                               s->env.roster};
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, handles[which], &cursor);
    if (rc != 0)
        return lmdb_error(rc, "loading", s->env.path, e);
    MDB_val key, value;
    int failed = 0;
    for (size_t row = 0; failed == 0; row++) {
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        if (rc != 0)
            break;
        failed = load_row(s, which, row, bytes_of_val(&key),
                          bytes_of_val(&value), e);
    }
    mdb_cursor_close(cursor);
    if (failed != 0)
        return failed;
    if (rc != MDB_NOTFOUND)
        return lmdb_error(rc, "loading", s->env.path, e);
    return 0;
}

/* Settings in the roster and the meta record name the same cluster. */
static int check_cluster(const struct store *s, const struct meta *meta,
                         struct errmsg *e)
{
    static const uint8_t none[CLUSTER_ID_SIZE];
    const struct settings *settings = roster_settings(s->roster);
    const uint8_t *id = settings == NULL ? none : settings->cluster_id;
    if (memcmp(id, meta->cluster_id, CLUSTER_ID_SIZE) == 0)
        return 0;
    return errmsg_set(e, ERR_CORRUPT,
                      "%s: settings and meta record are of two clusters",
                      s->env.path);
}

int store_load(struct store *s, struct errmsg *e)
{
    MDB_txn *txn;
    struct meta meta;
    int rc = environment_read(&s->env, &txn, &meta, e);
    if (rc != 0)
        return rc;
    for (enum database which = CHECKPOINT; which <= ROSTER && rc == 0; which++)
        rc = load_database(s, txn, which, e);
    mdb_txn_abort(txn);
    if (rc == 0)
        rc = check_cluster(s, &meta, e);
    if (rc != 0)
        return rc;
    s->applied_index = meta.applied_index;
    atomic_store(&s->flushed_index, meta.applied_index);
    s->applied_term = meta.applied_term;
    s->log_time_ms = meta.log_time_ms;
    s->generation = meta.generation;
    for (enum tier tier = 0; tier < TIERS; tier++) {
        s->horizon[tier] = meta.horizon[tier];
        s->partial[tier] = bucket_not_due(tier, meta.log_time_ms);
    }
    return 0;
}
