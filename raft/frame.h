/* Messages of the forward channel: u32 payload size, u32 type, payload. Submits
 * and changes go to the leader and results come back; pings measure round trips
 * and compare clocks (DESIGN, rule 6), and with each goes what its sender knows
 * of itself. Types of newer versions are skipped. Bytes: docs/format.md,
 * "Forward channel". Pure codec, no thread. */
#pragma once

#include "base/bytes.h"
#include "raft/replica.h"

enum {
    FRAME_HEADER_SIZE = 8,
    FRAME_PAYLOAD_MAX = 8 + RECORD_SIZE_MAX,
};

enum frame_type {
    FRAME_SUBMIT = 1,
    FRAME_RESULT,
    FRAME_PING,
    FRAME_PONG,
    FRAME_FACTS,
    FRAME_GONE,   /* raft/leader_gone.h */
    FRAME_CHANGE, /* what an operator asks the leader for */
    FRAME_CHANGED,
};

struct frame {
    enum frame_type type;
    uint64_t id;            /* submit, result, change, changed: the asker's */
    struct bytes record;    /* submit: borrowed from the input */
    int status;             /* result, changed: 0 or ERR_* */
    struct outcome outcome; /* result */
    uint64_t mono_ns;       /* ping: of its sender; pong: echoed */
    uint64_t wall_ms;       /* of this frame's sender */
    struct repl_facts facts;
    struct frame_gone {
        uint64_t leader, term;
        uint64_t last_term, last_index; /* of its sender's log */
    } gone;
    enum repl_change_kind change;
    struct bytes text; /* change: the node's name, may be empty; changed: for
                          people. Borrowed from the input */
};

void frame_put(struct buf *out, const struct frame *frame);

/* Is it of this version? Others decode to their type and nothing else. */
bool frame_is_known(const struct frame *frame);

/* Bytes of @in that made @frame, 0 when more must come, ERR_CORRUPT. */
NODISCARD int frame_get(struct bytes in, struct frame *frame);
