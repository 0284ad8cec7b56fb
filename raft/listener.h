/* The peer port: accepts connections, has TLS made, reads one hello, asks the
 * replica what to answer and hands the stream on. Nothing of a peer that has
 * not said a good hello, under a name that its certificate proves, reaches any
 * other decoder. Raft loop only (and before it runs). */
#pragma once

#include "raft/hello.h"
#include "raft/peer_socket.h"

/* In the middle of their hello; beyond it the one who waits longest goes. */
enum {
    LISTENER_GUESTS_MAX = 64,
    LISTENER_GUESTS_OF_SOURCE = 16, /* with more, it is one of that source */
};

struct guest;

struct listener {
    uv_loop_t *loop;      /* borrowed */
    struct peer_tls *tls; /* borrowed; NULL: plain text */
    unsigned silence_ms;  /* as in dial.h */
    /* The host:port that the sender of @hello must be, with TLS; "": anybody.
     * Borrowed until the next call. */
    const char *(*claim)(void *arg, const struct hello *hello);
    /* Fills the answer to @hello. */
    void (*judge)(void *arg, const struct hello *hello,
                  struct hello_answer *answer);
    /* A welcomed peer; @stream is the callee's (uv_close, then raft_free). */
    void (*welcome)(void *arg, const struct hello *hello, uv_stream_t *stream);
    /* Somebody was sent away. @source: an IP address. */
    void (*rejected)(void *arg, const char *source, const char *why);
    void *arg;

    uv_tcp_t tcp;
    bool open;
    bool untaken; /* a connection waits for memory */
    struct guest *guests;
    size_t guest_count;
};

/* @bind: "ip:port", port 0 = any. *port: what was bound. ERR_INVALID, ERR_IO
 * (the message says what is wrong with the address). */
NODISCARD int listener_open(struct listener *l, const char *bind,
                            uint16_t *port, struct errmsg *e);

/* Sends those away who take too long, and takes whom there was no memory for.
 */
void listener_beat(struct listener *l);

void listener_close(struct listener *l);
