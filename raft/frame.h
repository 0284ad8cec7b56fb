/* Messages of the forward channel: u32 payload size, u32 type, payload. Submits
 * go to the leader and results come back; pings measure round trips and compare
 * clocks (DESIGN, rule 6). Bytes: docs/format.md, "Forward channel". Pure
 * codec, no thread. */
#pragma once

#include "base/bytes.h"
#include "store/entry.h"

enum {
    FRAME_HEADER_SIZE = 8,
    FRAME_PAYLOAD_MAX = 8 + RECORD_SIZE_MAX,
};

enum frame_type {
    FRAME_SUBMIT = 1,
    FRAME_RESULT,
    FRAME_PING,
    FRAME_PONG,
};

struct frame {
    enum frame_type type;
    uint64_t id;            /* submit, result: of the sender of the submit */
    struct bytes record;    /* submit: borrowed from the input */
    int status;             /* result: 0 or ERR_* */
    struct outcome outcome; /* result */
    uint64_t mono_ns;       /* ping: of its sender; pong: echoed */
    uint64_t wall_ms;       /* of this frame's sender */
};

void frame_put(struct buf *out, const struct frame *frame);

/* Bytes of @in that made @frame, 0 when more must come, ERR_CORRUPT. */
NODISCARD int frame_get(struct bytes in, struct frame *frame);
