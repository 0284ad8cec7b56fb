/* The body of a batch record: who reports, then a row a peer until the end of
 * the body. Ids, times and stamps are differences to the row before, so that a
 * row of a quiet peer is some ten bytes. Pure code, any thread; the readers
 * take bytes from other nodes and trust nothing. docs/format.md, "Log entry".
 */
#include "store/entry.h"

#include "base/assert.h"

enum {
    HEAD_MACHINE = 1 << 0,
    HEAD_FLAGS = HEAD_MACHINE,

    ROW_BY_KEY = 1 << 0,
    ROW_FROM_ZERO = 1 << 1,
    ROW_ENDPOINT = 1 << 2,
    ROW_NEVER = 1 << 3, /* no handshake yet */
    ROW_FLAGS = ROW_BY_KEY | ROW_FROM_ZERO | ROW_ENDPOINT | ROW_NEVER,

    /* The length of a record that is being written is not known: a varint of
     * always four bytes is filled in by batch_end. */
    LENGTH_SIZE = 4,
    FRAME_SIZE = 1 + LENGTH_SIZE,

    TEXT_SIZE_MAX = 2 + IDENTITY_LENGTH_MAX,
    HEAD_SIZE_MAX = 2 * 5 + 3 * TEXT_SIZE_MAX + 3 * VARINT_SIZE_MAX + 1 + 8,
    ROW_SIZE_MAX = 1 + PUBLIC_KEY_SIZE + 4 * VARINT_SIZE_MAX + 1 +
                   ENDPOINT_LENGTH_MAX + 2 + ALLOWED_IPS_LENGTH_MAX,
};

_Static_assert(FRAME_SIZE + HEAD_SIZE_MAX + BATCH_PEERS_MAX * ROW_SIZE_MAX <=
                   RECORD_SIZE_MAX,
               "the largest batch is a record");
_Static_assert(ENDPOINT_LENGTH_MAX < 1 << 7 && IDENTITY_LENGTH_MAX < 1 << 14 &&
                   ALLOWED_IPS_LENGTH_MAX < 1 << 14,
               "lengths take the bytes counted above");

static void put_text(struct buf *out, struct bytes text, size_t length_max)
{
    if (text.size > length_max)
        text.size = length_max;
    buf_put_bytes(out, text);
}

void batch_begin(struct batch_writer *w, struct buf *out, enum record_kind kind,
                 const struct batch_head *head)
{
    static const uint8_t length[LENGTH_SIZE];
    ASSERT(kind == RECORD_NATIVE_BATCH || kind == RECORD_LEGACY_BATCH);
    *w = (struct batch_writer){.out = out, .start = out->size, .kind = kind};
    buf_put_u8(out, (uint8_t)kind);
    buf_put(out, length, sizeof length);
    buf_put_varint(out, head->location);
    buf_put_varint(out, head->gateway);
    if (head->gateway == 0) {
        put_text(out, head->identity, IDENTITY_LENGTH_MAX);
        put_text(out, head->hostname, IDENTITY_LENGTH_MAX);
        put_text(out, head->name, IDENTITY_LENGTH_MAX);
    }
    if (kind == RECORD_LEGACY_BATCH) {
        put_text(out, head->address, ENDPOINT_LENGTH_MAX);
        return;
    }
    w->time_s = head->sampled_at_ms / 1000;
    buf_put_varint(out, head->session);
    buf_put_varint(out, head->sequence);
    buf_put_varint(out, head->sampled_at_ms);
    buf_put_u8(out, head->has_machine ? HEAD_MACHINE : 0);
    if (head->has_machine)
        buf_put_u64(out, head->machine);
}

/* The difference as a number around zero; wraps, and so does its inverse. */
static size_t put_delta(uint8_t *out, uint64_t value, uint64_t base)
{
    return varint_put(out, zigzag((int64_t)(value - base)));
}

void batch_put(struct batch_writer *w, const struct batch_peer *peer)
{
    ASSERT(w->count < BATCH_PEERS_MAX);
    w->count++;
    uint8_t *row = buf_reserve(w->out, ROW_SIZE_MAX);
    if (row == NULL)
        return;
    bool native = w->kind == RECORD_NATIVE_BATCH;
    size_t n = 0;
    row[n++] = (uint8_t)((peer->device == 0 ? ROW_BY_KEY : 0) |
                         (native && peer->from_zero ? ROW_FROM_ZERO : 0) |
                         (peer->has_endpoint ? ROW_ENDPOINT : 0) |
                         (peer->handshake == 0 ? ROW_NEVER : 0));
    if (peer->device == 0) {
        memcpy(row + n, peer->key, PUBLIC_KEY_SIZE);
        n += PUBLIC_KEY_SIZE;
    } else {
        n += put_delta(row + n, peer->device, w->device);
        w->device = peer->device;
    }
    n += varint_put(row + n, peer->upload);
    n += varint_put(row + n, peer->download);
    if (!native) {
        n += put_delta(row + n, peer->rec_ms, w->rec_ms);
        w->rec_ms = peer->rec_ms;
        w->time_s = peer->rec_ms / 1000;
    }
    if (peer->handshake != 0)
        n += put_delta(row + n, peer->handshake, w->time_s);
    w->out->size += n;
    if (peer->has_endpoint) {
        put_text(w->out, peer->endpoint, ENDPOINT_LENGTH_MAX);
        put_text(w->out, peer->allowed_ips, ALLOWED_IPS_LENGTH_MAX);
    }
}

void batch_end(struct batch_writer *w)
{
    if (buf_failed(w->out))
        return;
    size_t size = w->out->size - w->start - FRAME_SIZE;
    ASSERT(size <= RECORD_SIZE_MAX - FRAME_SIZE);
    uint8_t *length = w->out->data + w->start + 1;
    for (int i = 0; i < LENGTH_SIZE; i++)
        length[i] = (uint8_t)((size >> (7 * i) & 0x7f) |
                              (i < LENGTH_SIZE - 1 ? 0x80 : 0));
}

static struct bytes take_text(struct reader *r, size_t length_max)
{
    struct bytes text = reader_bytes(r);
    if (text.size > length_max)
        r->failed = true;
    return text;
}

int batch_open(struct batch_reader *r, const struct record *record,
               struct batch_head *head)
{
    *head = (struct batch_head){0};
    *r = (struct batch_reader){.rest = reader_of(record->body),
                               .kind = record->kind};
    if (record->kind != RECORD_NATIVE_BATCH &&
        record->kind != RECORD_LEGACY_BATCH)
        return ERR_CORRUPT;
    head->location = reader_varint32(&r->rest);
    head->gateway = reader_varint32(&r->rest);
    if (head->gateway == 0) {
        head->identity = take_text(&r->rest, IDENTITY_LENGTH_MAX);
        head->hostname = take_text(&r->rest, IDENTITY_LENGTH_MAX);
        head->name = take_text(&r->rest, IDENTITY_LENGTH_MAX);
        if (head->identity.size == 0)
            return ERR_CORRUPT; /* nobody */
    }
    if (record->kind == RECORD_LEGACY_BATCH) {
        head->address = take_text(&r->rest, ENDPOINT_LENGTH_MAX);
        return r->rest.failed ? ERR_CORRUPT : 0;
    }
    head->session = reader_varint(&r->rest);
    head->sequence = reader_varint(&r->rest);
    head->sampled_at_ms = reader_varint(&r->rest);
    uint8_t flags = reader_u8(&r->rest);
    head->has_machine = (flags & HEAD_MACHINE) != 0;
    if (head->has_machine)
        head->machine = reader_u64(&r->rest);
    r->time_s = head->sampled_at_ms / 1000;
    return r->rest.failed || (flags & ~HEAD_FLAGS) != 0 ? ERR_CORRUPT : 0;
}

static uint64_t take_delta(struct reader *r, uint64_t base)
{
    return base + (uint64_t)unzigzag(reader_varint(r));
}

/* The device by id or key; false if it is neither. */
static bool take_device(struct batch_reader *r, uint8_t flags,
                        struct batch_peer *peer)
{
    if (flags & ROW_BY_KEY) {
        struct bytes key = reader_take(&r->rest, PUBLIC_KEY_SIZE);
        peer->key = key.data;
        return key.size == PUBLIC_KEY_SIZE;
    }
    uint64_t device = take_delta(&r->rest, r->device);
    if (device == 0 || device > UINT32_MAX)
        return false;
    peer->device = r->device = (uint32_t)device;
    return true;
}

int batch_next(struct batch_reader *r, struct batch_peer *peer)
{
    if (r->rest.failed)
        return ERR_CORRUPT;
    if (r->rest.size == 0)
        return 0;
    *peer = (struct batch_peer){0};
    bool native = r->kind == RECORD_NATIVE_BATCH;
    uint8_t flags = reader_u8(&r->rest);
    bool good = (flags & ~ROW_FLAGS) == 0 &&
                (native || !(flags & ROW_FROM_ZERO)) &&
                r->count++ < BATCH_PEERS_MAX && take_device(r, flags, peer);
    peer->from_zero = (flags & ROW_FROM_ZERO) != 0;
    peer->upload = reader_varint(&r->rest);
    peer->download = reader_varint(&r->rest);
    if (!native) {
        peer->rec_ms = r->rec_ms = take_delta(&r->rest, r->rec_ms);
        r->time_s = peer->rec_ms / 1000;
    }
    if (!(flags & ROW_NEVER)) {
        peer->handshake = take_delta(&r->rest, r->time_s);
        good = good && peer->handshake != 0; /* "never" has one form */
    }
    if (flags & ROW_ENDPOINT) {
        peer->has_endpoint = true;
        peer->endpoint = take_text(&r->rest, ENDPOINT_LENGTH_MAX);
        peer->allowed_ips = take_text(&r->rest, ALLOWED_IPS_LENGTH_MAX);
    }
    if (good && !r->rest.failed)
        return 1;
    r->rest.failed = true; /* the error is for good */
    return ERR_CORRUPT;
}
