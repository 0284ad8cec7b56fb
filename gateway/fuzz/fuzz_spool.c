/* Any bytes as the payload of a spool record: no crash, and what is accepted is
 * used up to its last byte. */
#include "base/assert.h"
#include "gateway/spool_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spool_record record;
    struct spool_peer peer;
    struct bytes batch;
    if (spool_record_open((struct bytes){data, size}, &record) != 0)
        return 0;
    size_t batches = record.batch_count, peers = record.peer_count;
    while (spool_record_batch(&record, &batch)) {
        batches--;
        ASSERT(batch.size <= size);
    }
    while (spool_record_peer(&record, &peer))
        peers--;
    ASSERT(batches == 0 && peers == 0);
    ASSERT(!record.batches.failed && !record.peers.failed);
    ASSERT(record.peers.size == 0);
    return 0;
}
