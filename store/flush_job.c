#include "store/flush_job.h"

#include "base/assert.h"
#include "store/state.h"

#include <stdlib.h>

void flush_job_deinit(struct flush_job *job)
{
    for (enum tier tier = 0; tier < TIERS; tier++)
        cells_deinit(&job->due[tier]);
    cells_deinit(&job->late);
    buf_deinit(&job->checkpoint);
    buf_deinit(&job->addresses);
    buf_deinit(&job->roster);
    block_writer_deinit(&job->block);
    free(job->kept.items);
    free(job->slice);
    *job = (struct flush_job){0};
}

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
static int close_partials(struct flush_job *job, struct slot *slot)
{
    for (size_t i = 0; i < PARTIALS; i++) {
        enum tier tier = (enum tier)(i + 1);
        if (!slot->partial_used[i] ||
            !bucket_is_due(tier, job->partial_before[tier],
                           job->meta.log_time_ms))
            continue;
        struct cell cell =
            cell_of(slot, job->partial_before[tier], slot->partial[i].upload,
                    slot->partial[i].download);
        slot->partial_used[i] = false;
        if (cells_add(&job->due[tier], &cell) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

/* The minute has closed: into its own tier, and where hour and day are open
 * into their partials. */
static int close_minute(struct flush_job *job, struct slot *slot,
                        struct open_cell *open)
{
    for (enum tier tier = 0; tier < TIERS; tier++) {
        uint32_t bucket = bucket_of_minute(tier, open->minute);
        if (!bucket_is_due(tier, bucket, job->meta.log_time_ms)) {
            add_partial(slot, tier - 1u, open->upload, open->download);
            continue;
        }
        struct cell cell = cell_of(slot, bucket, open->upload, open->download);
        if (cells_add(&job->due[tier], &cell) != 0)
            return ERR_NOMEM;
    }
    open->used = false;
    return 0;
}

/* Partials first, then the older minute: so the cells come in order. By the log
 * time at X, whatever it is meanwhile. */
static int close_cells(struct store *s, struct slot *slot)
{
    struct flush_job *job = &s->job;
    if (close_partials(job, slot) != 0)
        return ERR_NOMEM;
    bool swapped = slot->open[0].minute > slot->open[1].minute;
    for (size_t i = 0; i < 2; i++) {
        struct open_cell *open = &slot->open[i ^ swapped];
        if (!open->used)
            continue;
        if (!bucket_is_due(TIER_MINUTE, open->minute, job->meta.log_time_ms)) {
            if (open->minute < s->earliest_open)
                s->earliest_open = open->minute;
            continue;
        }
        if (close_minute(job, slot, open) != 0)
            return ERR_NOMEM;
    }
    return 0;
}

/* --- rows -------------------------------------------------------------------
 */

static void put_row(struct buf *rows, const uint8_t *key, size_t key_size,
                    struct bytes value)
{
    buf_put_bytes(rows, (struct bytes){key, key_size});
    buf_put_bytes(rows, value);
}

static void end_block(struct flush_job *job)
{
    struct block_writer *w = &job->block;
    job->checkpoint.failed |= buf_failed(&w->value);
    if (w->value.size > 0)
        put_row(&job->checkpoint, w->key, CHECKPOINT_KEY_SIZE,
                buf_bytes(&w->value));
}

static void put_slot(struct flush_job *job, const struct slot *slot)
{
    struct block_writer *w = &job->block;
    if (w->value.size > 0 && w->location == slot->location &&
        !block_is_full(w)) {
        checkpoint_add(w, slot);
        return;
    }
    end_block(job);
    checkpoint_start(w, job->meta.log_time_ms, slot);
}

static void put_address(struct flush_job *job, struct slot *slot)
{
    if (!slot->address_changed && !slot->gone)
        return;
    uint8_t key[CHECKPOINT_KEY_SIZE];
    be32_put(key, slot->location);
    be32_put(key + 4, slot->device);
    be32_put(key + 8, slot->gateway);
    struct bytes value = {NULL, 0};
    if (!slot->gone && slot->address != NULL)
        value = (struct bytes){slot->address->data, slot->address->size};
    put_row(&job->addresses, key, sizeof key, value);
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

/* --- a slot -----------------------------------------------------------------
 */

/* Takes out of the slot what the file shall hold elsewhere. Nobody has changed
 * it since X. */
static int close_slot(struct store *s, struct slot *slot)
{
    struct flush_job *job = &s->job;
    if (slot_is_closed(s, slot))
        return 0;
    slot->closed_by = (uint32_t)job->meta.generation;
    slot->kept = 0;
    slot->gone = slot_is_expired(slot, job->meta.log_time_ms);
    s->gone += slot->gone;
    put_address(job, slot);
    return close_cells(s, slot);
}

static int keep_copy(struct flush_job *job, struct slot *slot)
{
    struct kept_slots *kept = &job->kept;
    if (kept->count == kept->capacity) {
        size_t capacity = kept->capacity == 0 ? 64 : kept->capacity * 2;
        struct slot *items = realloc(kept->items, capacity * sizeof *items);
        if (items == NULL)
            return ERR_NOMEM;
        kept->items = items;
        kept->capacity = capacity;
    }
    kept->items[kept->count++] = *slot;
    slot->kept = (uint32_t)kept->count;
    return 0;
}

void flush_job_leave_out(const struct store *s, struct slot *slot)
{
    slot->closed_by = (uint32_t)s->job.meta.generation;
    slot->kept = SLOT_WALKED;
}

int flush_job_keep(struct store *s, struct slot *slot)
{
    int rc = 0;
    if (s->job.under_way) {
        rc = close_slot(s, slot);
        if (rc == 0 && slot->kept == 0)
            rc = keep_copy(&s->job, slot);
    }
    s->gone -= slot->gone;
    slot->gone = false;
    return rc;
}

/* --- the beginning ----------------------------------------------------------
 */

/* What the flush before took for expired, and what is new since. */
static int tidy(struct store *s)
{
    size_t count = 0;
    for (size_t i = 0; i < s->gone_keys.count; i++) {
        const struct slot *slot = table_find(&s->table, s->gone_keys.items[i]);
        if (slot->gone)
            s->gone_keys.items[count++] = s->gone_keys.items[i];
    }
    if (table_sort(&s->table) != 0)
        return ERR_NOMEM;
    table_remove(&s->table, s->gone_keys.items, count);
    s->gone_keys.count = s->gone = 0;
    return 0;
}

/* Late cells whose hour (day) is open. */
static int gather_parts(const struct flush_job *job, enum tier tier,
                        struct cells *parts)
{
    for (size_t i = 0; i < job->late.count; i++) {
        struct cell cell = job->late.items[i];
        cell.bucket = bucket_of_minute(tier, cell.bucket);
        if (!bucket_is_due(tier, cell.bucket, job->meta.log_time_ms) &&
            cells_gather(parts, &cell) != 0)
            return ERR_NOMEM;
    }
    cells_normalise(parts);
    return 0;
}

/* They go into the partials. */
static int put_parts(struct store *s, enum tier tier, const struct cells *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        const struct cell *part = &parts->items[i];
        struct slot_key key = {part->location, part->device, part->gateway};
        struct slot *slot = table_find(&s->table, key);
        /* It was stored into when the cell came, and with hours still open it
         * cannot have expired since. */
        ASSERT(slot != NULL);
        if (close_slot(s, slot) != 0)
            return ERR_NOMEM;
        add_partial(slot, tier - 1u, part->upload, part->download);
    }
    return 0;
}

static int take_late(struct store *s)
{
    struct flush_job *job = &s->job;
    int rc = 0;
    cells_normalise(&s->late);
    job->late = s->late;
    s->late = (struct cells){0};
    for (enum tier tier = TIER_HOUR; tier < TIERS && rc == 0; tier++) {
        struct cells parts = {0};
        rc = gather_parts(job, tier, &parts);
        if (rc == 0)
            rc = put_parts(s, tier, &parts);
        cells_deinit(&parts);
    }
    return rc;
}

/* One cell of each slot where a bucket may close: to let them grow would copy
 * them under the lock. */
static int reserve_due(const struct store *s, struct flush_job *job)
{
    int rc = 0;
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++)
        if (job->slots > 0 && job->partial_before[tier] != s->partial[tier])
            rc = cells_reserve(&job->due[tier], job->slots);
    return rc;
}

int flush_job_begin(struct store *s)
{
    struct flush_job *job = &s->job;
    ASSERT(!job->under_way);
    if (tidy(s) != 0)
        return ERR_NOMEM;
    *job = (struct flush_job){.under_way = true,
                              .walking = true,
                              .meta = meta_of(s),
                              .slots = s->table.count,
                              .slice = calloc(FLUSH_SLICE, sizeof *job->slice)};
    for (enum tier tier = 0; tier < TIERS; tier++) {
        job->partial_before[tier] = s->partial[tier];
        s->partial[tier] = bucket_not_due(tier, s->log_time_ms);
    }
    s->unflushed = 0;
    s->earliest_open = UINT32_MAX; /* of the slots that are closed */
    int rc = job->slice == NULL ? ERR_NOMEM : reserve_due(s, job);
    if (rc == 0)
        rc = take_late(s);
    if (rc == 0)
        rc = roster_each_dirty(s->roster, put_roster_row, &job->roster);
    if (rc == 0)
        roster_flushed(s->roster);
    return rc == 0 && buf_failed(&job->roster) ? ERR_NOMEM : rc;
}

/* --- the walk ---------------------------------------------------------------
 */

static int note_gone(struct store *s, const struct slot *slot)
{
    struct slot_keys *keys = &s->gone_keys;
    if (!slot->gone)
        return 0;
    if (keys->count == keys->capacity) {
        size_t capacity = keys->capacity == 0 ? 64 : keys->capacity * 2;
        struct slot_key *items = realloc(keys->items, capacity * sizeof *items);
        if (items == NULL)
            return ERR_NOMEM;
        keys->items = items;
        keys->capacity = capacity;
    }
    keys->items[keys->count++] = slot_key_of(slot);
    return 0;
}

/* The next slots as they were at X, into the slice. Their addresses are the
 * table's. */
static int take_slice(struct store *s, size_t count, size_t *taken)
{
    struct flush_job *job = &s->job;
    *taken = 0;
    for (; count > 0 && job->walked < job->slots; count--) {
        struct slot *slot = table_at(&s->table, job->walked);
        if (close_slot(s, slot) != 0 || note_gone(s, slot) != 0)
            return ERR_NOMEM;
        const struct slot *then =
            slot->kept == 0 ? slot : &job->kept.items[slot->kept - 1];
        if (!then->gone)
            job->slice[(*taken)++] = *then;
        slot->kept = SLOT_WALKED;
        job->walked++;
    }
    return 0;
}

/* Puts the due cells in order: a copy of them, because readers look at them. */
static int settle(struct store *s)
{
    struct flush_job *job = &s->job;
    struct cells sorted[TIERS] = {{0}};
    int rc = 0;
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++)
        rc = cells_copy(&job->due[tier], &sorted[tier]);
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++)
        cells_normalise(&sorted[tier]);
    pthread_mutex_lock(&s->lock);
    for (enum tier tier = 0; tier < TIERS && rc == 0; tier++) {
        struct cells before = job->due[tier];
        job->due[tier] = sorted[tier];
        sorted[tier] = before;
    }
    job->walking = rc != 0;
    pthread_mutex_unlock(&s->lock);
    for (enum tier tier = 0; tier < TIERS; tier++)
        cells_deinit(&sorted[tier]);
    return rc;
}

/* All slots have been taken: nobody looks at their copies again. */
static void drop_copies(struct store *s)
{
    struct flush_job *job = &s->job;
    free(job->slice);
    job->slice = NULL;
    pthread_mutex_lock(&s->lock);
    struct kept_slots kept = job->kept;
    job->kept = (struct kept_slots){0};
    pthread_mutex_unlock(&s->lock);
    free(kept.items);
}

static int finish(struct store *s)
{
    struct flush_job *job = &s->job;
    end_block(job);
    if (buf_failed(&job->checkpoint) || buf_failed(&job->addresses))
        return ERR_NOMEM;
    drop_copies(s);
    return settle(s);
}

int flush_job_walk(struct store *s, size_t count)
{
    struct flush_job *job = &s->job;
    size_t taken;
    ASSERT(count <= FLUSH_SLICE);
    if (!job->walking)
        return 0;
    pthread_mutex_lock(&s->lock);
    int rc = take_slice(s, count, &taken);
    pthread_mutex_unlock(&s->lock);
    if (rc != 0)
        return rc;
    /* Without the lock, so that who waits for it gets it. */
    for (size_t i = 0; i < taken; i++)
        put_slot(job, &job->slice[i]);
    return job->walked < job->slots ? 1 : finish(s);
}
