/* The body of a presence record: a minute of log time and the gateways that
 * somebody heard in it, in rising order of their ids, as differences. Pure
 * code, any thread; readers trust nothing. docs/format.md, "Presence". */
#include "store/entry.h"

enum { PRESENCE_VERSION = 1 };

_Static_assert(1 + 5 + PRESENCE_GATEWAYS_MAX * 5 < RECORD_SIZE_MAX / 4,
               "the largest presence leaves an entry room for batches");

void record_put_presence(struct buf *out, uint32_t minute,
                         const uint32_t *gateways, size_t count)
{
    struct buf body = {0};
    buf_put_u8(&body, PRESENCE_VERSION);
    buf_put_varint(&body, minute);
    uint32_t last = 0;
    for (size_t i = 0; i < count; i++) {
        buf_put_varint(&body, gateways[i] - last);
        last = gateways[i];
    }
    record_put(out, RECORD_PRESENCE, buf_bytes(&body));
    out->failed |= buf_failed(&body);
    buf_deinit(&body);
}

int presence_open(struct presence_reader *r, const struct record *record)
{
    *r = (struct presence_reader){.rest = reader_of(record->body)};
    uint8_t version = reader_u8(&r->rest);
    r->minute = reader_varint32(&r->rest);
    return r->rest.failed || version != PRESENCE_VERSION ? ERR_CORRUPT : 0;
}

int presence_next(struct presence_reader *r, uint32_t *gateway)
{
    if (r->rest.size == 0)
        return 0;
    uint32_t step = reader_varint32(&r->rest);
    if (r->rest.failed || step == 0 || step > UINT32_MAX - r->gateway ||
        ++r->count > PRESENCE_GATEWAYS_MAX)
        return ERR_CORRUPT;
    *gateway = r->gateway += step;
    return 1;
}
