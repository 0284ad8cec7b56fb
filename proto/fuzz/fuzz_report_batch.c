/* ReportBatch and ReportAck: the hand walk against protobuf-c. */
#include "proto/test/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes message = {data, size};

    (void)oracle_report_batch(message);
    (void)oracle_report_ack(message);
    return 0;
}
