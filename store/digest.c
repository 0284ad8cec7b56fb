/* The digest: XXH3-64 over the logical state in key order, right after a
 * flush, so that every due cell is in the file and every open one in the table,
 * on every replica and whenever it flushed before. Cells are hashed as cells:
 * where blocks begin and end does not matter. docs/format.md, "Digest". */
#include "store/state.h"

#include "store/block.h"
#include "store/lmdb_error.h"
#include "store/totals.h"

#include <xxhash.h>

/* Two seconds of a slow disk, if they all are far apart. */
enum { ROWS_A_BEAT = 256 };

struct hashing {
    XXH3_state_t *state; /* owned */
    uint8_t bytes[128];
    size_t size;
    enum tier tier; /* that is being read */
    const struct store *store;
};

static void add_u64(struct hashing *h, uint64_t value)
{
    le64_put(h->bytes + h->size, value);
    h->size += 8;
    if (h->size == sizeof h->bytes) {
        (void)XXH3_64bits_update(h->state, h->bytes, h->size);
        h->size = 0;
    }
}

static void add_bytes(struct hashing *h, struct bytes b)
{
    add_u64(h, b.size);
    (void)XXH3_64bits_update(h->state, h->bytes, h->size);
    h->size = 0;
    (void)XXH3_64bits_update(h->state, b.data, b.size);
}

static void add_cell(struct hashing *h, const struct cell *cell)
{
    add_u64(h, (uint64_t)cell->bucket << 32 | cell->location);
    add_u64(h, (uint64_t)cell->device << 32 | cell->gateway);
    add_u64(h, cell->upload);
    add_u64(h, cell->download);
}

static void add_open(struct hashing *h, const struct slot *slot,
                     const struct open_cell *open)
{
    struct cell cell = {.bucket = open->minute,
                        .location = slot->location,
                        .device = slot->device,
                        .gateway = slot->gateway,
                        .upload = open->upload,
                        .download = open->download};
    if (open->used)
        add_cell(h, &cell);
}

static void add_slot(struct hashing *h, const struct slot *slot)
{
    add_u64(h, slot->location);
    add_u64(h, (uint64_t)slot->device << 32 | slot->gateway);
    add_u64(h, slot->last.upload);
    add_u64(h, slot->last.download);
    add_u64(h, slot->last.handshake_s);
    add_u64(h, slot->last.time_ms);
    add_u64(h, slot->last.origin);
    add_u64(h, slot->seen_ms);
    add_u64(h, slot->connected_s);
    /* By age, not by parity. */
    bool swapped = slot->open[0].minute > slot->open[1].minute;
    add_open(h, slot, &slot->open[swapped]);
    add_open(h, slot, &slot->open[!swapped]);
    for (size_t i = 0; i < PARTIALS; i++) {
        if (!slot->partial_used[i])
            continue;
        add_u64(h, i + 1);
        add_u64(h, slot->partial[i].upload);
        add_u64(h, slot->partial[i].download);
    }
    if (slot->address != NULL)
        add_bytes(h, (struct bytes){slot->address->data, slot->address->size});
    else
        add_u64(h, UINT64_MAX);
}

/* What has expired is gone, whether a flush has deleted it yet or not. */
static void add_stored(struct hashing *h, const struct cell *cell)
{
    if (cell->bucket >= h->store->horizon[h->tier])
        add_cell(h, cell);
}

static int add_block(struct hashing *h, struct bytes key, struct bytes value)
{
    struct block_reader r;
    struct cell cell;
    int rc = block_open(&r, key, value);
    if (rc != 0)
        return rc;
    while ((rc = block_next(&r, &cell)) > 0)
        add_stored(h, &cell);
    return rc;
}

static int add_total(struct hashing *h, struct bytes key, struct bytes value)
{
    struct cell cell;
    int rc = total_get(h->tier, key, value, &cell);
    if (rc > 0)
        add_stored(h, &cell);
    return rc < 0 ? rc : 0;
}

typedef int add_row_fn(struct hashing *h, struct bytes key, struct bytes value);

static int add_database(struct store *s, MDB_txn *txn, MDB_dbi dbi,
                        add_row_fn *add, struct hashing *h, struct errmsg *e)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return lmdb_error(rc, "reading", s->env.path, e);
    MDB_val key, value;
    int failed = 0;
    for (size_t rows = 0; failed == 0; rows++) {
        if (rows % ROWS_A_BEAT == 0 && s->beat != NULL)
            s->beat(s->beat_arg);
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
        if (rc != 0)
            break;
        failed = add(h, bytes_of_val(&key), bytes_of_val(&value));
    }
    mdb_cursor_close(cursor);
    if (failed != 0)
        return errmsg_set(e, failed, "%s: a damaged row", s->env.path);
    if (rc != MDB_NOTFOUND)
        return lmdb_error(rc, "reading", s->env.path, e);
    return 0;
}

static int add_roster_row(void *arg, uint8_t kind, uint32_t id,
                          struct bytes row)
{
    struct hashing *h = arg;
    add_u64(h, (uint64_t)kind << 32 | id);
    add_bytes(h, row);
    return 0;
}

static int add_everything(struct store *s, struct hashing *h, struct errmsg *e)
{
    add_u64(h, s->log_time_ms);
    for (enum tier tier = 0; tier < TIERS; tier++)
        add_u64(h, s->horizon[tier]);
    for (size_t i = 0; i < s->table.count; i++)
        if (!table_at(&s->table, i)->gone)
            add_slot(h, table_at(&s->table, i));
    MDB_txn *txn;
    struct meta meta;
    int rc = environment_read(&s->env, &txn, &meta, e);
    if (rc != 0)
        return rc;
    for (h->tier = 0; h->tier < TIERS && rc == 0; h->tier++) {
        rc = add_database(s, txn, s->env.blocks[h->tier], add_block, h, e);
        if (rc == 0)
            rc = add_database(s, txn, s->env.totals, add_total, h, e);
    }
    mdb_txn_abort(txn);
    if (rc == 0 && (rc = roster_each_row(s->roster, add_roster_row, h)) != 0)
        errmsg_set(e, rc, "reading the roster: %s", err_text(rc));
    return rc;
}

int digest_compute(struct store *s, uint64_t index, uint64_t *digest,
                   struct errmsg *e)
{
    struct hashing h = {.state = XXH3_createState(), .store = s};
    if (h.state == NULL)
        return errmsg_set(e, ERR_NOMEM, "digest: out of memory");
    (void)XXH3_64bits_reset(h.state);
    int rc = add_everything(s, &h, e);
    (void)XXH3_64bits_update(h.state, h.bytes, h.size);
    *digest = XXH3_64bits_digest(h.state);
    XXH3_freeState(h.state);
    if (rc != 0)
        return rc;
    pthread_mutex_lock(&s->lock);
    size_t place = s->digest_count++ % DIGESTS_KEPT;
    s->digests[place].index = index;
    s->digests[place].digest = *digest;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

int store_digest_at(struct store *s, uint64_t index, uint64_t *digest)
{
    int rc = ERR_NOTFOUND;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < DIGESTS_KEPT && i < s->digest_count; i++)
        if (s->digests[i].index == index) {
            *digest = s->digests[i].digest;
            rc = 0;
        }
    pthread_mutex_unlock(&s->lock);
    return rc;
}
