/* An answer of unknown length that a thread of its own makes while it is sent:
 * bounded memory on both sides, and the http thread never waits for it. The
 * maker puts pieces and waits where nobody takes them; the request is suspended
 * (http_wait.c, WAIT_STREAM) where there is nothing to send.
 *
 *   handler: http_stream_start --> 200, headers --> pieces ... --> the end
 *
 * Two hold a stream: its request, until that is over, and its maker, until it
 * has said so (http_task_end). Whoever is last destroys it; both on the http
 * thread. An error after the first byte cannot be told in an answer any more:
 * the body ends without its end, which every client notices. */
#pragma once

#include "node/http.h"

enum {
    STREAM_READY_BYTES_MAX = 512 * 1024, /* then the maker waits */
    STREAMS_MAX = 4,                     /* at once, of a node */
    STREAM_WAIT_MS = 5 * 60 * 1000,      /* for the next piece */
    STREAM_SEND_MS = 60 * 1000,          /* for a client to take one */
};

/* Embedded in what the maker needs. Zero-initialise, and set the first two. */
struct http_stream {
    /* On its own thread, all the way to the end: 0, or an error, whose message
     * is logged. */
    int (*make)(struct http_stream *s, struct errmsg *e);
    /* Http thread, once: frees it. */
    void (*destroy)(struct http_stream *s);

    struct http_task task; /* its end is the maker's */
    pthread_t thread;
    unsigned holders; /* http thread */

    pthread_mutex_t lock;
    pthread_cond_t room;
    struct buf ready; /* under the lock; owned */
    size_t sent;      /* of those; under the lock */
    bool ended;       /* under the lock: nothing comes any more */
    int status;       /* then */
};

/* Starts the maker and answers 200 with what it puts; headers are the caller's.
 * On an error it is answered too, and @s is the caller's still. */
NODISCARD int http_stream_start(struct http_request *rq, struct http_stream *s);

/* The maker: hands over what @piece holds and empties it. ERR_CLOSED: nobody
 * wants it any more. ERR_NOMEM. */
NODISCARD int http_stream_put(struct http_stream *s, struct buf *piece);

/* Any thread. */
bool http_stream_is_closed(const struct http_stream *s);

/* --- for the server ------------------------------------------------------- */

enum { STREAM_NOT_YET = 0, STREAM_OVER = -1, STREAM_FAILED = -2 };

/* Bytes for the client into @out, how many; or one of the above. */
long http_stream_take(struct http_stream *s, char *out, size_t capacity);

/* Is there something to take? */
bool http_stream_is_ready(struct http_stream *s);

/* The request is over. */
void http_stream_leave(struct http_stream *s);
