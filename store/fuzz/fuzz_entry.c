/* Any bytes as a log entry and, as the forward channel sees them, as a run of
 * records. What decodes is encoded again: that must decode to the same, and
 * encode to the same bytes once more. */
#include "base/assert.h"
#include "store/entry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Appends the batch as our writer would; false if it does not decode. */
static bool copy_batch(struct buf *out, const struct record *record)
{
    struct batch_reader r;
    struct batch_head head;
    struct batch_peer peer;
    struct batch_writer w;
    if (batch_open(&r, record, &head) != 0)
        return false;
    batch_begin(&w, out, record->kind, &head);
    int rc;
    while ((rc = batch_next(&r, &peer)) == 1)
        batch_put(&w, &peer);
    batch_end(&w);
    return rc == 0;
}

/* Likewise a presence. */
static bool copy_presence(struct buf *out, const struct record *record)
{
    static uint32_t gateways[PRESENCE_GATEWAYS_MAX];
    struct presence_reader r;
    size_t count = 0;
    uint32_t gateway;
    int rc;
    if (presence_open(&r, record) != 0)
        return false;
    while ((rc = presence_next(&r, &gateway)) == 1)
        gateways[count++] = gateway;
    record_put_presence(out, r.minute, gateways, count);
    return rc == 0;
}

/* Appends all records of the run; false at the first that does not decode. */
static bool copy_records(struct buf *out, struct reader records)
{
    struct record record;
    int rc;
    while ((rc = record_next(&records, &record)) == 1) {
        bool batch = record.kind == RECORD_NATIVE_BATCH ||
                     record.kind == RECORD_LEGACY_BATCH;
        bool presence = record.kind == RECORD_PRESENCE;
        if (!batch && !presence)
            record_put(out, record.kind, record.body);
        else if (batch ? !copy_batch(out, &record)
                       : !copy_presence(out, &record))
            return false;
    }
    return rc == 0;
}

static void check_records(struct reader records)
{
    struct buf first = {0}, second = {0};
    if (copy_records(&first, records)) {
        ASSERT(copy_records(&second, reader_of(buf_bytes(&first))));
        ASSERT(!buf_failed(&first) && !buf_failed(&second));
        ASSERT(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
    }
    buf_deinit(&first);
    buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};
    struct entry_header header;
    struct reader records;
    struct errmsg e;
    if (entry_open(input, &header, &records, &e) == 0) {
        check_records(records);
        struct buf again = {0};
        entry_begin(&again, &header);
        buf_put(&again, records.data, records.size);
        entry_finish(&again);
        ASSERT(bytes_equal(buf_bytes(&again), input));
        buf_deinit(&again);
    }
    check_records(reader_of(input));
    return 0;
}
