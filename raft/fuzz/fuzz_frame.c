/* The forward channel's decoder, on a stream of frames. What decodes must
 * encode to the same bytes; facts of a later version to the same facts. */
#include "base/assert.h"
#include "raft/frame.h"

static void check(const struct frame *frame, const uint8_t *data, size_t size)
{
    struct buf again = {0};
    struct frame back;
    if (!frame_is_known(frame))
        return;
    frame_put(&again, frame);
    if (frame->type == FRAME_FACTS)
        ASSERT(frame_get(buf_bytes(&again), &back) == (int)again.size &&
               memcmp(&back.facts, &frame->facts, sizeof back.facts) == 0);
    else
        ASSERT(again.size == size && memcmp(again.data, data, size) == 0);
    buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t at = 0;
    struct frame frame;
    int n;
    while ((n = frame_get((struct bytes){data + at, size - at}, &frame)) > 0) {
        check(&frame, data + at, (size_t)n);
        at += (size_t)n;
    }
    return 0;
}
