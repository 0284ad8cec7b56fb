#include "raft/link.h"

#include "base/mailbox.h"

#include <raft.h>

#include <stdlib.h>

enum { READ_SIZE = 64 * 1024 };

/* One write: the bytes live until libuv is done with them. */
struct parcel {
    uv_write_t req;
    struct link *link;
    uv_stream_t *stream; /* the link may have another one by then */
    struct buf data;
};

static void fail(struct link *link, const char *why)
{
    if (!link_is_open(link))
        return;
    link_close(link);
    link->on_closed(link, why);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct link *link = handle->data;
    uint8_t *room = buf_reserve(&link->in, READ_SIZE);
    *buf = uv_buf_init((char *)room, room == NULL ? 0 : READ_SIZE);
}

static void consume(struct link *link)
{
    size_t at = 0;
    const char *why = NULL;
    while (link_is_open(link) && why == NULL) {
        struct frame frame;
        int n = frame_get(
            (struct bytes){link->in.data + at, link->in.size - at}, &frame);
        if (n == 0)
            break;
        if (n < 0)
            why = "sent something that is no frame";
        else if (frame_is_known(&frame) && link->on_frame(link, &frame) < 0)
            why = "sent a frame that makes no sense";
        if (n > 0)
            at += (size_t)n;
    }
    if (!link_is_open(link))
        return;
    if (why != NULL) {
        fail(link, why);
        return;
    }
    memmove(link->in.data, link->in.data + at, link->in.size - at);
    link->in.size -= at;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct link *link = stream->data;
    if (n == 0 || link == NULL)
        return;
    if (n < 0) {
        fail(link, uv_strerror((int)n));
        return;
    }
    link->in.size += (size_t)n;
    consume(link);
}

void link_open(struct link *link, uv_stream_t *stream)
{
    link->stream = stream;
    stream->data = link;
    link->unwritten = 0;
    if (uv_read_start(stream, on_alloc, on_read) != 0)
        fail(link, "cannot read");
}

void link_put(struct link *link, const struct frame *frame)
{
    if (link_is_open(link))
        frame_put(&link->out, frame);
}

static void on_written(uv_write_t *req, int status)
{
    struct parcel *p = CONTAINER_OF(req, struct parcel, req);
    struct link *link = p->link;
    /* After link_close the link may be gone; only its own stream tells. */
    if (status != UV_ECANCELED && p->stream->data == link) {
        link->unwritten -= p->data.size;
        if (status != 0)
            fail(link, uv_strerror(status));
    }
    buf_deinit(&p->data);
    free(p);
}

void link_flush(struct link *link)
{
    if (!link_is_open(link) || (link->out.size == 0 && !buf_failed(&link->out)))
        return;
    if (buf_failed(&link->out) ||
        link_queued(link) > 2 * (size_t)LINK_UNWRITTEN_BYTES_MAX) {
        fail(link, "does not read what it is sent");
        return;
    }
    struct parcel *p = calloc(1, sizeof *p);
    if (p == NULL)
        return; /* stays queued for the next turn */
    p->link = link;
    p->stream = link->stream;
    p->data = link->out;
    link->out = (struct buf){0};
    link->unwritten += p->data.size;
    uv_buf_t buf = uv_buf_init((char *)p->data.data, (unsigned)p->data.size);
    int rv = uv_write(&p->req, link->stream, &buf, 1, on_written);
    if (rv != 0) {
        buf_deinit(&p->data);
        free(p);
        fail(link, uv_strerror(rv));
    }
}

void link_pause(struct link *link, bool pause)
{
    if (!link_is_open(link))
        return;
    if (pause)
        uv_read_stop(link->stream);
    else
        uv_read_start(link->stream, on_alloc, on_read);
}

static void free_stream(uv_handle_t *handle)
{
    raft_free(handle);
}

void link_close(struct link *link)
{
    if (link_is_open(link)) {
        link->stream->data = NULL;
        uv_close((uv_handle_t *)link->stream, free_stream);
        link->stream = NULL;
    }
    buf_deinit(&link->in);
    buf_deinit(&link->out);
    link->in = (struct buf){0};
    link->out = (struct buf){0};
    link->unwritten = 0;
}
