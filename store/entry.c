/* The frame of a log entry: header, records, padding. The batches inside are
 * store/batch.c. Pure code, any thread; docs/format.md, "Log entry". */
#include "store/entry.h"

#include "base/assert.h"

enum {
    FRAME_SIZE_MAX = 1 + 4, /* kind, length: four varint bytes reach 2^28 */
    SIZE_OFFSET = 4,        /* of the header's "size of records" */
};

_Static_assert(RECORD_SIZE_MAX < 1 << 28, "a record's length is four bytes");
_Static_assert(ENTRY_HEADER_SIZE % ENTRY_ALIGNMENT == 0,
               "the padding is counted from the records");

void entry_begin(struct buf *out, const struct entry_header *header)
{
    buf_clear(out);
    buf_put_u32(out, ENTRY_FORMAT); /* one byte and three zero ones */
    buf_put_u32(out, 0);            /* size of records: entry_finish */
    buf_put_u64(out, header->term);
    buf_put_u64(out, header->log_time_ms);
    buf_put_u64(out, header->proposer);
    buf_put_u64(out, header->number);
}

void entry_finish(struct buf *out)
{
    static const uint8_t zeros[ENTRY_ALIGNMENT];
    if (buf_failed(out))
        return;
    ASSERT(out->size >= ENTRY_HEADER_SIZE && out->size <= ENTRY_SIZE_MAX);
    size_t size = out->size - ENTRY_HEADER_SIZE;
    le32_put(out->data + SIZE_OFFSET, (uint32_t)size);
    buf_put(out, zeros, -size % ENTRY_ALIGNMENT);
    /* libraft loses entries of other sizes: the one place where they end. */
    ASSERT(buf_failed(out) || out->size % ENTRY_ALIGNMENT == 0);
}

int entry_open(struct bytes entry, struct entry_header *header,
               struct reader *records, struct errmsg *e)
{
    if (entry.size < ENTRY_HEADER_SIZE || entry.size > ENTRY_SIZE_MAX ||
        entry.size % ENTRY_ALIGNMENT != 0)
        return errmsg_set(e, ERR_CORRUPT, "log entry of %zu bytes", entry.size);
    struct reader r = reader_of(entry);
    uint32_t format = reader_u32(&r);
    if (format != ENTRY_FORMAT)
        return errmsg_set(e, ERR_CORRUPT,
                          "log entry of format %u, this version knows %d",
                          (unsigned)format, ENTRY_FORMAT);
    uint32_t size = reader_u32(&r);
    header->term = reader_u64(&r);
    header->log_time_ms = reader_u64(&r);
    header->proposer = reader_u64(&r);
    header->number = reader_u64(&r);
    if (size > r.size || r.size - size >= ENTRY_ALIGNMENT)
        return errmsg_set(e, ERR_CORRUPT,
                          "log entry: %u bytes of records in %zu",
                          (unsigned)size, r.size);
    *records = reader_of(reader_take(&r, size));
    while (r.size > 0) {
        if (reader_u8(&r) != 0)
            return errmsg_set(e, ERR_CORRUPT, "log entry: padding is not zero");
    }
    return 0;
}

int record_next(struct reader *records, struct record *record)
{
    if (records->size == 0)
        return records->failed ? ERR_CORRUPT : 0;
    uint8_t kind = reader_u8(records);
    struct bytes body = reader_bytes(records);
    if (records->failed || kind == 0 ||
        body.size > RECORD_SIZE_MAX - FRAME_SIZE_MAX) {
        records->failed = true; /* what follows has no meaning */
        return ERR_CORRUPT;
    }
    record->kind = (enum record_kind)kind;
    record->body = body;
    return 1;
}

void record_put(struct buf *out, enum record_kind kind, struct bytes body)
{
    if (body.size > RECORD_SIZE_MAX - FRAME_SIZE_MAX) {
        out->failed = true;
        return;
    }
    buf_put_u8(out, (uint8_t)kind);
    buf_put_bytes(out, body);
}

void record_put_tick(struct buf *out)
{
    record_put(out, RECORD_TICK, (struct bytes){0});
}

void record_put_digest(struct buf *out)
{
    record_put(out, RECORD_DIGEST, (struct bytes){0});
}
