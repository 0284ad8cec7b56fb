#include "store/block.h"

enum {
    ORIGINS_MAX = sizeof((struct block_writer){0}.origins) / sizeof(uint64_t),
    FLAG_OTHER_GATEWAY = 1, /* it follows the step */

    /* What a checkpoint row has besides, in this order. */
    HAS_OPEN = 1 << 0,    /* and the next: cells of an even and an odd minute */
    HAS_PARTIAL = 1 << 2, /* and the next: of the hour and the day */
    HAS_CONNECTED = 1 << 4,
    HAS_ALL = (1 << 5) - 1,
};

_Static_assert(BLOCK_KEY_SIZE == 4 * sizeof(uint32_t), "docs/format.md");
_Static_assert(CHECKPOINT_KEY_SIZE == 3 * sizeof(uint32_t), "docs/format.md");

void block_writer_deinit(struct block_writer *w)
{
    buf_deinit(&w->value);
}

void block_key_put(uint8_t key[BLOCK_KEY_SIZE], uint32_t bucket,
                   uint32_t location, uint32_t device, uint32_t gateway)
{
    be32_put(key, bucket);
    be32_put(key + 4, location);
    be32_put(key + 8, device);
    be32_put(key + 12, gateway);
}

/* --- which row: the step of the device, and the gateway if it is another ---
 */

static void put_step(struct block_writer *w, uint32_t device, uint32_t gateway)
{
    uint64_t step = (uint64_t)(device - w->device) << 1;
    if (gateway == w->gateway) {
        buf_put_varint(&w->value, step);
    } else {
        buf_put_varint(&w->value, step | FLAG_OTHER_GATEWAY);
        buf_put_varint(&w->value, gateway);
    }
    w->device = device;
    w->gateway = gateway;
}

/* The next row's device and gateway: larger than the last, except that the
 * first row repeats the key. */
static bool take_step(struct block_reader *r)
{
    uint64_t step = reader_varint(&r->rest);
    uint32_t gateway = r->gateway;
    if ((step & FLAG_OTHER_GATEWAY) != 0)
        gateway = reader_varint32(&r->rest);
    step >>= 1;
    if (r->rest.failed || step > UINT32_MAX - r->device)
        return false;
    bool ascends = step > 0 || gateway > r->gateway;
    if (r->first ? step > 0 || gateway != r->gateway : !ascends)
        return false;
    r->first = false;
    r->device += (uint32_t)step;
    r->gateway = gateway;
    return true;
}

/* --- blocks of cells --------------------------------------------------------
 */

void block_start(struct block_writer *w, const struct cell *first)
{
    block_key_put(w->key, first->bucket, first->location, first->device,
                  first->gateway);
    buf_clear(&w->value);
    buf_put_u8(&w->value, BLOCK_VERSION);
    w->device = first->device;
    w->gateway = first->gateway;
    block_add(w, first);
}

void block_add(struct block_writer *w, const struct cell *cell)
{
    put_step(w, cell->device, cell->gateway);
    buf_put_varint(&w->value, cell->upload);
    buf_put_varint(&w->value, cell->download);
}

int block_open(struct block_reader *r, struct bytes key, struct bytes value)
{
    if (key.size != BLOCK_KEY_SIZE)
        return ERR_CORRUPT;
    *r = (struct block_reader){.rest = reader_of(value),
                               .first = true,
                               .bucket = be32_get(key.data),
                               .location = be32_get(key.data + 4),
                               .device = be32_get(key.data + 8),
                               .gateway = be32_get(key.data + 12)};
    return reader_u8(&r->rest) == BLOCK_VERSION ? 0 : ERR_CORRUPT;
}

int block_next(struct block_reader *r, struct cell *cell)
{
    if (r->rest.size == 0)
        return r->first ? ERR_CORRUPT : 0; /* a block has at least one row */
    if (!take_step(r))
        return ERR_CORRUPT;
    *cell = (struct cell){.bucket = r->bucket,
                          .location = r->location,
                          .device = r->device,
                          .gateway = r->gateway,
                          .upload = reader_varint(&r->rest),
                          .download = reader_varint(&r->rest)};
    return r->rest.failed ? ERR_CORRUPT : 1;
}

/* --- checkpoint blocks ------------------------------------------------------
 */

/* Times are near the log time: their distance is short. Unsigned arithmetic
 * wraps, so that any value survives. */
static void put_distance(struct buf *out, uint64_t base, uint64_t value)
{
    buf_put_varint(out, zigzag((int64_t)(base - value)));
}

static uint64_t take_distance(struct reader *r, uint64_t base)
{
    return base - (uint64_t)unzigzag(reader_varint(r));
}

/* Slots of one gateway share their origin: it is told once in a block (0, then
 * eight bytes) and referred to by number after that. */
static void put_origin(struct block_writer *w, uint64_t origin)
{
    for (size_t i = 0; i < w->origin_count; i++)
        if (w->origins[i] == origin) {
            buf_put_varint(&w->value, i + 1);
            return;
        }
    buf_put_varint(&w->value, 0);
    buf_put_u64(&w->value, origin);
    if (w->origin_count < ORIGINS_MAX)
        w->origins[w->origin_count++] = origin;
}

static uint64_t take_origin(struct block_reader *r)
{
    uint64_t number = reader_varint(&r->rest);
    if (number > r->origin_count) {
        r->rest.failed = true;
        return 0;
    }
    if (number > 0)
        return r->origins[number - 1];
    uint64_t origin = reader_u64(&r->rest);
    if (r->origin_count < ORIGINS_MAX)
        r->origins[r->origin_count++] = origin;
    return origin;
}

static uint8_t extras_of(const struct slot *slot)
{
    unsigned has = 0;
    for (size_t i = 0; i < 2; i++)
        has |= slot->open[i].used ? (unsigned)HAS_OPEN << i : 0;
    for (size_t i = 0; i < PARTIALS; i++)
        has |= slot->partial_used[i] ? (unsigned)HAS_PARTIAL << i : 0;
    has |= slot->connected_s != 0 ? HAS_CONNECTED : 0;
    return (uint8_t)has;
}

static void put_extras(struct block_writer *w, const struct slot *slot)
{
    buf_put_u8(&w->value, extras_of(slot));
    for (size_t i = 0; i < 2; i++) {
        if (!slot->open[i].used)
            continue;
        put_distance(&w->value, w->base_ms / 60000, slot->open[i].minute);
        buf_put_varint(&w->value, slot->open[i].upload);
        buf_put_varint(&w->value, slot->open[i].download);
    }
    for (size_t i = 0; i < PARTIALS; i++) {
        if (!slot->partial_used[i])
            continue;
        buf_put_varint(&w->value, slot->partial[i].upload);
        buf_put_varint(&w->value, slot->partial[i].download);
    }
    if (slot->connected_s != 0)
        put_distance(&w->value, w->base_ms / 1000, slot->connected_s);
}

void checkpoint_start(struct block_writer *w, uint64_t log_time_ms,
                      const struct slot *first)
{
    be32_put(w->key, first->location);
    be32_put(w->key + 4, first->device);
    be32_put(w->key + 8, first->gateway);
    w->location = first->location;
    w->device = first->device;
    w->gateway = first->gateway;
    w->base_ms = log_time_ms;
    w->origin_count = 0;
    buf_clear(&w->value);
    buf_put_u8(&w->value, BLOCK_VERSION);
    buf_put_varint(&w->value, log_time_ms);
    checkpoint_add(w, first);
}

void checkpoint_add(struct block_writer *w, const struct slot *slot)
{
    put_step(w, slot->device, slot->gateway);
    put_origin(w, slot->last.origin);
    buf_put_varint(&w->value, slot->last.upload);
    buf_put_varint(&w->value, slot->last.download);
    put_distance(&w->value, w->base_ms / 1000, slot->last.handshake_s);
    put_distance(&w->value, w->base_ms, slot->last.time_ms);
    put_distance(&w->value, w->base_ms, slot->seen_ms);
    put_extras(w, slot);
}

int checkpoint_open(struct block_reader *r, struct bytes key,
                    struct bytes value)
{
    if (key.size != CHECKPOINT_KEY_SIZE)
        return ERR_CORRUPT;
    *r = (struct block_reader){.rest = reader_of(value),
                               .first = true,
                               .location = be32_get(key.data),
                               .device = be32_get(key.data + 4),
                               .gateway = be32_get(key.data + 8)};
    if (reader_u8(&r->rest) != BLOCK_VERSION)
        return ERR_CORRUPT;
    r->base_ms = reader_varint(&r->rest);
    return r->rest.failed ? ERR_CORRUPT : 0;
}

static bool take_open_cell(struct block_reader *r, struct slot *slot, size_t i)
{
    struct open_cell *open = &slot->open[i];
    uint64_t minute = take_distance(&r->rest, r->base_ms / 60000);
    open->used = true;
    open->minute = (uint32_t)minute;
    open->upload = reader_varint(&r->rest);
    open->download = reader_varint(&r->rest);
    return minute <= UINT32_MAX && (minute & 1) == i;
}

static bool take_extras(struct block_reader *r, struct slot *slot)
{
    uint8_t has = reader_u8(&r->rest);
    if ((has & ~HAS_ALL) != 0)
        return false;
    for (size_t i = 0; i < 2; i++)
        if ((has & HAS_OPEN << i) != 0 && !take_open_cell(r, slot, i))
            return false;
    for (size_t i = 0; i < PARTIALS; i++) {
        if ((has & HAS_PARTIAL << i) == 0)
            continue;
        slot->partial_used[i] = true;
        slot->partial[i].upload = reader_varint(&r->rest);
        slot->partial[i].download = reader_varint(&r->rest);
    }
    if ((has & HAS_CONNECTED) != 0) {
        slot->connected_s = take_distance(&r->rest, r->base_ms / 1000);
        if (slot->connected_s == 0) /* "not" has one form */
            return false;
    }
    return !r->rest.failed;
}

int checkpoint_next(struct block_reader *r, struct slot *slot)
{
    if (r->rest.size == 0)
        return r->first ? ERR_CORRUPT : 0;
    if (!take_step(r))
        return ERR_CORRUPT;
    *slot = (struct slot){
        .location = r->location, .device = r->device, .gateway = r->gateway};
    slot->last.origin = take_origin(r);
    slot->last.upload = reader_varint(&r->rest);
    slot->last.download = reader_varint(&r->rest);
    slot->last.handshake_s = take_distance(&r->rest, r->base_ms / 1000);
    slot->last.time_ms = take_distance(&r->rest, r->base_ms);
    slot->seen_ms = take_distance(&r->rest, r->base_ms);
    return take_extras(r, slot) ? 1 : ERR_CORRUPT;
}
