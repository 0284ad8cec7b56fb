#include "raft/frame.h"

enum {
    RESULT_SIZE = 32,
    PING_SIZE = 16,
    GONE_SIZE = 32,
    FACTS_LOW = 1, /* flags */
    FACTS_DRAINING = 2,
};

/* A payload whose size is known when it is written. */
static size_t begin(struct buf *out, enum frame_type type)
{
    buf_put_u32(out, 0);
    buf_put_u32(out, (uint32_t)type);
    return out->size;
}

static void end(struct buf *out, size_t start)
{
    if (!buf_failed(out))
        le32_put(out->data + start - FRAME_HEADER_SIZE,
                 (uint32_t)(out->size - start));
}

static void put_facts(struct buf *out, const struct repl_facts *f)
{
    size_t start = begin(out, FRAME_FACTS);
    buf_put_u32(out, f->level);
    buf_put_u32(out, (f->disk_low ? FACTS_LOW : 0u) |
                         (f->draining ? FACTS_DRAINING : 0u));
    buf_put_u64(out, f->term);
    buf_put_u64(out, f->last_index);
    buf_put_u64(out, f->commit_index);
    buf_put_u64(out, f->applied_index);
    buf_put_u64(out, f->flushed_index);
    buf_put_u64(out, f->heard_ms_ago);
    buf_put_u64(out, f->store_bytes);
    buf_put_u64(out, f->disk_free_bytes);
    buf_put_string(out, f->release);
    buf_put_string(out, f->zone);
    end(out, start);
}

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
    case FRAME_FACTS:
        put_facts(out, &frame->facts);
        break;
    case FRAME_GONE:
        buf_put_u32(out, GONE_SIZE);
        buf_put_u32(out, FRAME_GONE);
        buf_put_u64(out, frame->gone.leader);
        buf_put_u64(out, frame->gone.term);
        buf_put_u64(out, frame->gone.last_term);
        buf_put_u64(out, frame->gone.last_index);
        break;
    case FRAME_CHANGE: {
        size_t start = begin(out, FRAME_CHANGE);
        buf_put_u64(out, frame->id);
        buf_put_u32(out, (uint32_t)frame->change);
        buf_put_bytes(out, frame->text);
        end(out, start);
        break;
    }
    case FRAME_CHANGED: {
        size_t start = begin(out, FRAME_CHANGED);
        buf_put_u64(out, frame->id);
        buf_put_u32(out, (uint32_t)-frame->status);
        buf_put_bytes(out, frame->text);
        end(out, start);
        break;
    }
    }
}

static bool get_text(struct reader *in, char *out, size_t room)
{
    struct bytes text = reader_bytes(in);
    if (in->failed || text.size >= room || !bytes_are_text(text))
        return false;
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

/* What follows the last field is of a later version. */
static bool get_facts(struct reader *in, struct repl_facts *f)
{
    f->level = reader_u32(in);
    uint32_t flags = reader_u32(in);
    f->disk_low = (flags & FACTS_LOW) != 0;
    f->draining = (flags & FACTS_DRAINING) != 0;
    f->term = reader_u64(in);
    f->last_index = reader_u64(in);
    f->commit_index = reader_u64(in);
    f->applied_index = reader_u64(in);
    f->flushed_index = reader_u64(in);
    f->heard_ms_ago = reader_u64(in);
    f->store_bytes = reader_u64(in);
    f->disk_free_bytes = reader_u64(in);
    return get_text(in, f->release, sizeof f->release) &&
           get_text(in, f->zone, sizeof f->zone) && f->level > 0;
}

static bool get_change(struct reader *in, struct frame *frame)
{
    frame->id = reader_u64(in);
    uint32_t kind = reader_u32(in);
    frame->text = reader_bytes(in);
    if (in->failed || in->size != 0 || kind < REPL_REMOVE ||
        kind > REPL_TRANSFER || frame->text.size > NODE_NAME_LENGTH_MAX ||
        !bytes_are_text(frame->text))
        return false;
    frame->change = (enum repl_change_kind)kind;
    return true;
}

static bool get_changed(struct reader *in, struct frame *frame)
{
    frame->id = reader_u64(in);
    uint32_t status = reader_u32(in);
    frame->text = reader_bytes(in);
    if (in->failed || in->size != 0 || status > -ERR_TIMEOUT ||
        frame->text.size >= sizeof((struct errmsg *)0)->text ||
        !bytes_are_text(frame->text))
        return false;
    frame->status = -(int)status;
    return true;
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
    case FRAME_FACTS:
        return get_facts(in, &frame->facts);
    case FRAME_GONE:
        frame->gone.leader = reader_u64(in);
        frame->gone.term = reader_u64(in);
        frame->gone.last_term = reader_u64(in);
        frame->gone.last_index = reader_u64(in);
        return !in->failed && in->size == 0;
    case FRAME_CHANGE:
        return get_change(in, frame);
    case FRAME_CHANGED:
        return get_changed(in, frame);
    }
    return true; /* of a newer version */
}

bool frame_is_known(const struct frame *frame)
{
    switch (frame->type) {
    case FRAME_SUBMIT:
    case FRAME_RESULT:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_FACTS:
    case FRAME_GONE:
    case FRAME_CHANGE:
    case FRAME_CHANGED:
        return true;
    }
    return false;
}

int frame_get(struct bytes in, struct frame *frame)
{
    *frame = (struct frame){0};
    if (in.size < FRAME_HEADER_SIZE)
        return 0;
    uint32_t size = le32_get(in.data), type = le32_get(in.data + 4);
    if (size > FRAME_PAYLOAD_MAX || type == 0)
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
