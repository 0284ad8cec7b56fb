/* A socket of the peer port on its way to a proven stream: TCP when it begins;
 * with TLS the pipe to the pump (tls/) when the handshake is done. Used by
 * dial.c and listener.c. Raft loop only. */
#pragma once

#include "raft/events.h"
#include "tls/tls.h"

#include <uv.h>

/* The replica's TLS on peer connections. */
struct peer_tls {
    struct tls *tls; /* borrowed; NULL: peers talk in plain text */
    struct tls_inbox inbox;
    uint64_t looked_ms, loaded_s;    /* what was told of the files */
    char reload_error[TLS_WHY_SIZE]; /* likewise */
};

/* Tells when the certificate files were reloaded, or cannot be. */
void peer_tls_beat(struct peer_tls *p, struct events *events, uint64_t now_ms);

/* Whoever is handed @stream frees it (uv_close, then raft_free) by that
 * address. */
struct peer_socket {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } as; /* first: see above */
    uv_connect_t connect;
    void *owner; /* NULL: being closed, or handed over */
};

/* A TCP handle without a connection. NULL: *code is libuv's. */
struct peer_socket *peer_socket_create(uv_loop_t *loop, void *owner, int *code);

/* NULL is fine. */
void peer_socket_close(struct peer_socket *s);

/* For a socket that is connected or accepted: no delay, keepalive, and a bound
 * on silence, which TLS inherits. */
void peer_socket_prepare(struct peer_socket *s, unsigned silence_ms);

/* Another bound, on the TCP socket @fd. */
void peer_socket_bound_silence(int fd, unsigned silence_ms);

/* A descriptor of the same socket, the caller's; or -1. */
int peer_socket_duplicate(const struct peer_socket *s);

typedef void peer_socket_secured_fn(struct tls_handshake *h, void *arg);

/* Hands the TCP connection to the pump and closes @s. @host: whom the other
 * side's certificate must name; NULL: we accepted it. @done gets what
 * tls_collect has; set its done to NULL to forget it. NULL: out of memory or
 * descriptors, @s is closed all the same. */
struct tls_handshake *peer_socket_secure(struct peer_socket *s,
                                         struct peer_tls *tls, const char *host,
                                         peer_socket_secured_fn *done,
                                         void *arg);

/* The pipe that came of it; takes h->fd. NULL: *code is libuv's. */
struct peer_socket *peer_socket_create_secured(uv_loop_t *loop,
                                               struct tls_handshake *h,
                                               void *owner, int *code);
