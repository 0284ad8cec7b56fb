/* The forward channel's decoder, on a stream of frames. What decodes must
 * encode to the same bytes. */
#include "base/assert.h"
#include "raft/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    struct frame frame;
    int n;
    while ((n = frame_get((struct bytes){data + at, size - at}, &frame)) > 0) {
        struct buf again = {0};
        frame_put(&again, &frame);
        ASSERT(again.size == (size_t)n &&
               memcmp(again.data, data + at, again.size) == 0);
        buf_deinit(&again);
        at += (size_t)n;
    }
    return 0;
}
