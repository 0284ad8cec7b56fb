/* defguard's StatsUpdate: the hand walk against protobuf-c. */
#include "proto/test/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)oracle_stats_update((struct bytes){data, size});
    return 0;
}
