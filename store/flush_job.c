#include "store/flush_job.h"

#include "base/assert.h"
#include "store/block.h"
#include "store/state.h"

void flush_job_deinit(struct flush_job *job)
{
    for (enum tier tier = 0; tier < TIERS; tier++)
        cells_deinit(&job->due[tier]);
    cells_deinit(&job->late);
    buf_deinit(&job->checkpoint);
    buf_deinit(&job->addresses);
    buf_deinit(&job->roster);
    *job = (struct flush_job){0};
}

/* The walk over the slots. */
struct gathering {
    struct store *store;
    struct flush_job *job;
    struct block_writer block;
    /* Late cells of the open hour and day, in the order of the slots: they go
     * into the partials. */
    struct cells parts[PARTIALS];
    size_t next_part[PARTIALS];
};

/* --- cells ------------------------------------------------------------------
 */

static struct cell cell_of(const struct slot *slot, uint32_t bucket,
                           uint64_t upload, uint64_t download)
{
    return (struct cell){.bucket = bucket,
                         .location = slot->location,
                         .device = slot->device,
                         .gateway = slot->gateway,
                         .upload = upload,
                         .download = download};
}

static void add_partial(struct slot *slot, size_t i, uint64_t upload,
                        uint64_t download)
{
    if (!slot->partial_used[i])
        slot->partial[i] = (struct partial){0, 0};
    slot->partial_used[i] = true;
    slot->partial[i].upload += upload;
    slot->partial[i].download += download;
}

/* The hour (day) of the partial has closed. */
static int close_partials(struct gathering *g, struct slot *slot)
{
    const struct store *s = g->store;
    for (size_t i = 0; i < PARTIALS; i++) {
        enum tier tier = (enum tier)(i + 1);
        if (!slot->partial_used[i] ||
            !bucket_is_due(tier, s->partial[tier], s->log_time_ms))
            continue;
        struct cell cell =
            cell_of(slot, s->partial[tier], slot->partial[i].upload,
                    slot->partial[i].download);
        slot->partial_used[i] = false;
        if (cells_add(&g->job->due[tier], &cell) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

/* The minute has closed: into its own tier, and where hour and day are open
 * into their partials. */
static int close_minute(struct gathering *g, struct slot *slot,
                        struct open_cell *open)
{
    for (enum tier tier = 0; tier < TIERS; tier++) {
        uint32_t bucket = bucket_of_minute(tier, open->minute);
        if (!bucket_is_due(tier, bucket, g->store->log_time_ms)) {
            add_partial(slot, tier - 1u, open->upload, open->download);
            continue;
        }
        struct cell cell = cell_of(slot, bucket, open->upload, open->download);
        if (cells_add(&g->job->due[tier], &cell) != 0)
            return ERR_NOMEM;
    }
    open->used = false;
    return 0;
}

/* Partials first, then the older minute: so the cells come in order. */
static int close_cells(struct gathering *g, struct slot *slot)
{
    struct store *s = g->store;
    if (close_partials(g, slot) != 0)
        return ERR_NOMEM;
    bool swapped = slot->open[0].minute > slot->open[1].minute;
    for (size_t i = 0; i < 2; i++) {
        struct open_cell *open = &slot->open[i ^ swapped];
        if (!open->used)
            continue;
        if (!bucket_is_due(TIER_MINUTE, open->minute, s->log_time_ms)) {
            if (open->minute < s->earliest_open)
                s->earliest_open = open->minute;
            continue;
        }
        if (close_minute(g, slot, open) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

/* Late cells whose hour (day) is open: by slot, because their bucket is one. */
static int gather_parts(struct gathering *g)
{
    const struct store *s = g->store;
    for (size_t i = 0; i < PARTIALS; i++) {
        enum tier tier = (enum tier)(i + 1);
        for (size_t j = 0; j < g->job->late.count; j++) {
            struct cell cell = g->job->late.items[j];
            cell.bucket = bucket_of_minute(tier, cell.bucket);
            if (!bucket_is_due(tier, cell.bucket, s->log_time_ms) &&
                cells_push(&g->parts[i], &cell) != 0)
                return ERR_NOMEM;
        }
        cells_normalise(&g->parts[i]);
    }
    return 0;
}

static void take_parts(struct gathering *g, struct slot *slot)
{
    for (size_t i = 0; i < PARTIALS; i++) {
        const struct cells *parts = &g->parts[i];
        if (g->next_part[i] == parts->count)
            continue;
        const struct cell *part = &parts->items[g->next_part[i]];
        if (part->location != slot->location || part->device != slot->device ||
            part->gateway != slot->gateway)
            continue;
        add_partial(slot, i, part->upload, part->download);
        g->next_part[i]++;
    }
}

/* --- rows -------------------------------------------------------------------
 */

static void put_row(struct buf *rows, const uint8_t *key, size_t key_size,
                    struct bytes value)
{
    buf_put_bytes(rows, (struct bytes){key, key_size});
    buf_put_bytes(rows, value);
}

static void end_block(struct gathering *g)
{
    struct block_writer *w = &g->block;
    g->job->checkpoint.failed |= buf_failed(&w->value);
    if (w->value.size > 0)
        put_row(&g->job->checkpoint, w->key, CHECKPOINT_KEY_SIZE,
                buf_bytes(&w->value));
}

static void put_slot(struct gathering *g, const struct slot *slot)
{
    struct block_writer *w = &g->block;
    if (w->value.size > 0 && w->location == slot->location &&
        !block_is_full(w)) {
        checkpoint_add(w, slot);
        return;
    }
    end_block(g);
    checkpoint_start(w, g->store->log_time_ms, slot);
}

static void put_address(struct gathering *g, struct slot *slot, bool expired)
{
    if (!slot->address_changed && !expired)
        return;
    uint8_t key[CHECKPOINT_KEY_SIZE];
    be32_put(key, slot->location);
    be32_put(key + 4, slot->device);
    be32_put(key + 8, slot->gateway);
    struct bytes value = {NULL, 0};
    if (!expired && slot->address != NULL)
        value = (struct bytes){slot->address->data, slot->address->size};
    put_row(&g->job->addresses, key, sizeof key, value);
    slot->address_changed = false;
}

static int put_roster_row(void *arg, uint8_t kind, uint32_t id,
                          struct bytes row)
{
    uint8_t key[5] = {kind};
    be32_put(key + 1, id);
    put_row(arg, key, sizeof key, row);
    return 0;
}

static struct meta meta_of(const struct store *s)
{
    struct meta meta = {.applied_index = s->applied_index,
                        .applied_term = s->applied_term,
                        .log_time_ms = s->log_time_ms,
                        .generation = s->generation + 1};
    memcpy(meta.horizon, s->horizon, sizeof meta.horizon);
    const struct settings *settings = roster_settings(s->roster);
    if (settings != NULL)
        memcpy(meta.cluster_id, settings->cluster_id, CLUSTER_ID_SIZE);
    return meta;
}

/* --- the walk ---------------------------------------------------------------
 */

static bool gone(const struct slot *slot, void *arg)
{
    const struct store *s = arg;
    return slot_is_expired(slot, s->log_time_ms);
}

static int walk(struct gathering *g)
{
    struct store *s = g->store;
    s->earliest_open = UINT32_MAX;
    for (size_t i = 0; i < s->table.count; i++) {
        struct slot *slot = &s->table.slots[i];
        if (close_cells(g, slot) != 0)
            return ERR_NOMEM;
        take_parts(g, slot);
        bool expired = slot_is_expired(slot, s->log_time_ms);
        put_address(g, slot, expired);
        if (!expired)
            put_slot(g, slot);
    }
    end_block(g);
    /* A late cell's slot was stored into when the cell came, and with hours
     * still open it cannot have expired since. */
    for (size_t i = 0; i < PARTIALS; i++)
        ASSERT(g->next_part[i] == g->parts[i].count);
    table_remove(&s->table, gone, s);
    for (enum tier tier = 0; tier < TIERS; tier++) {
        s->partial[tier] = bucket_not_due(tier, s->log_time_ms);
        cells_normalise(&g->job->due[tier]);
    }
    return 0;
}

static int gather(struct gathering *g) REQUIRES(applier_thread)
{
    struct store *s = g->store;
    if (table_sort(&s->table) != 0)
        return ERR_NOMEM;
    cells_normalise(&s->late);
    g->job->late = s->late;
    s->late = (struct cells){0};
    if (gather_parts(g) != 0 || walk(g) != 0)
        return ERR_NOMEM;
    int rc = roster_each_dirty(s->roster, put_roster_row, &g->job->roster);
    if (rc == 0)
        roster_flushed(s->roster);
    return rc;
}

int flush_job_fill(struct store *s)
{
    struct flush_job *job = &s->job;
    ASSERT(!job->under_way);
    struct gathering g = {.store = s, .job = job};
    job->under_way = true;
    job->meta = meta_of(s);
    s->unflushed = 0;
    int rc = gather(&g);
    if (buf_failed(&job->checkpoint) || buf_failed(&job->addresses) ||
        buf_failed(&job->roster))
        rc = ERR_NOMEM;
    block_writer_deinit(&g.block);
    for (size_t i = 0; i < PARTIALS; i++)
        cells_deinit(&g.parts[i]);
    return rc;
}
