/* Outgoing connections to peers: resolve, connect, TLS (the certificate must
 * name the host that was dialed), say hello, check the answer. What comes out
 * is a stream on which both sides have agreed who they are. Raft loop only. */
#pragma once

#include "raft/hello.h"
#include "raft/resolver.h"
#include "raft/peer_socket.h"

enum {
    DIAL_TIMEOUT_MS = HELLO_TIMEOUT_MS,
    DIAL_FAILURES_TOLD = 3, /* in a row; fewer are no news */
};

struct dial;

/* The end of a dial. Success: @stream is the callee's (uv_close it, then
 * raft_free) and @answer is HELLO_OK of the expected peer. Failure: @stream is
 * NULL; @answer is what the peer said, or NULL; @why is for people. Never
 * called inside dial_start; the dial is gone afterwards. */
typedef void dial_fn(void *arg, uv_stream_t *stream,
                     const struct hello_answer *answer, const char *why);

struct dialer {
    uv_loop_t *loop;           /* borrowed */
    struct resolver *resolver; /* borrowed */
    struct peer_tls *tls;      /* borrowed; NULL: plain text */
    struct hello me;           /* what every hello says about this node */
    /* TCP_USER_TIMEOUT; for copies of the store it is PEER_IO_SILENCE_S_MAX. */
    unsigned silence_ms;
    struct dial *dials; /* those under way */
};

/* @address: host:port, or a member's (raft/member_address.h). @target_id 0:
 * whoever is there. NULL: out of memory. */
struct dial *dial_start(struct dialer *dialer, enum hello_channel channel,
                        uint64_t target_id, const char *address, dial_fn *fn,
                        void *arg);

/* Tells why a member could not be reached, once a minute for each address,
 * whatever channel was dialed. */
void dial_tell_failure(struct events *events, const char *address,
                       const struct hello_answer *answer, const char *why);

/* Ends it; the callback is not called. NULL is fine. */
void dial_cancel(struct dial *dial);

/* Starts what waits and fails what took too long. Call every few ms. */
void dialer_beat(struct dialer *dialer);

/* Cancels everything. */
void dialer_close(struct dialer *dialer);
