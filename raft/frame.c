#include "raft/frame.h"

enum { RESULT_SIZE = 32, PING_SIZE = 16 };

void frame_put(struct buf *out, const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_SUBMIT:
        buf_put_u32(out, (uint32_t)(8 + frame->record.size));
        buf_put_u32(out, FRAME_SUBMIT);
        buf_put_u64(out, frame->id);
        buf_put(out, frame->record.data, frame->record.size);
        break;
    case FRAME_RESULT:
        buf_put_u32(out, RESULT_SIZE);
        buf_put_u32(out, FRAME_RESULT);
        buf_put_u64(out, frame->id);
        buf_put_u32(out, (uint32_t)-frame->status);
        buf_put_u32(out, (uint32_t)frame->outcome.code);
        buf_put_u64(out, frame->outcome.value);
        buf_put_u64(out, frame->outcome.index);
        break;
    case FRAME_PING:
    case FRAME_PONG:
        buf_put_u32(out, PING_SIZE);
        buf_put_u32(out, (uint32_t)frame->type);
        buf_put_u64(out, frame->mono_ns);
        buf_put_u64(out, frame->wall_ms);
        break;
    }
}

static bool get_payload(struct reader *in, struct frame *frame)
{
    switch (frame->type) {
    case FRAME_SUBMIT:
        frame->id = reader_u64(in);
        frame->record = reader_take(in, in->size);
        return !in->failed && frame->record.size > 0;
    case FRAME_RESULT: {
        frame->id = reader_u64(in);
        uint32_t status = reader_u32(in), code = reader_u32(in);
        frame->outcome.value = reader_u64(in);
        frame->outcome.index = reader_u64(in);
        if (status > -ERR_TIMEOUT || code > OUTCOME_INVALID)
            return false;
        frame->status = -(int)status;
        frame->outcome.code = (enum outcome_code)code;
        return !in->failed && in->size == 0;
    }
    case FRAME_PING:
    case FRAME_PONG:
        frame->mono_ns = reader_u64(in);
        frame->wall_ms = reader_u64(in);
        return !in->failed && in->size == 0;
    }
    return false;
}

int frame_get(struct bytes in, struct frame *frame)
{
    *frame = (struct frame){0};
    if (in.size < FRAME_HEADER_SIZE)
        return 0;
    uint32_t size = le32_get(in.data), type = le32_get(in.data + 4);
    if (size > FRAME_PAYLOAD_MAX || type < FRAME_SUBMIT || type > FRAME_PONG)
        return ERR_CORRUPT;
    if (in.size - FRAME_HEADER_SIZE < size)
        return 0;
    frame->type = (enum frame_type)type;
    struct reader payload =
        reader_of((struct bytes){in.data + FRAME_HEADER_SIZE, size});
    if (!get_payload(&payload, frame))
        return ERR_CORRUPT;
    return (int)(FRAME_HEADER_SIZE + size);
}
