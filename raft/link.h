/* A connection of the forward channel: frames in and out over a stream whose
 * hello is done. Writes gather until the loop's turn ends, so that a batch
 * costs one system call. Raft loop only. */
#pragma once

#include "raft/frame.h"

#include <uv.h>

enum { LINK_UNWRITTEN_BYTES_MAX = 32 * 1024 * 1024 };

struct link {
    uv_stream_t *stream; /* owned; NULL: closed */
    struct buf in, out;
    size_t unwritten; /* bytes given to libuv and not yet written */
    /* A frame of a known type came; borrowed. ERR_* closes the link (the text
     * is for people).*/
    int (*on_frame)(struct link *link, const struct frame *frame);
    /* The other side, or its nonsense, closed the link. */
    void (*on_closed)(struct link *link, const char *why);
};

/* Takes @stream and starts reading. */
void link_open(struct link *link, uv_stream_t *stream);

static inline bool link_is_open(const struct link *link)
{
    return link->stream != NULL;
}

/* Queues a frame; dropped if the link is closed. */
void link_put(struct link *link, const struct frame *frame);

/* Bytes on their way to the peer's kernel. */
static inline size_t link_queued(const struct link *link)
{
    return link->out.size + link->unwritten;
}

/* Hands what was queued to libuv. Closes a link whose peer does not read. */
void link_flush(struct link *link);

/* Stops or goes on reading: the peer is slowed down by TCP. */
void link_pause(struct link *link, bool pause);

/* Closes without a call of on_closed and frees what the link holds. */
void link_close(struct link *link);
