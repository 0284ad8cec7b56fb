/* libraft's view of the peer port: it asks for connections by id and address
 * and gets streams on which the hello is done. A peer that cannot be reached is
 * asked more and more rarely (with jitter, up to a second), at once again when
 * it shows up at our own port. Raft loop only. */
#pragma once

#include "raft/dial.h"
#include "raft/events.h"

#include <raft/uv.h>

enum { TRANSPORT_BACKOFF_MS_MAX = 1000 };

struct attempt;

struct transport {
    struct raft_uv_transport base; /* what libraft holds on to */
    struct dialer *dialer;         /* borrowed */
    struct events *events;         /* borrowed */
    raft_uv_accept_cb accept;      /* NULL until libraft listens */
    struct attempt *attempts;      /* connect requests under way */
    /* Is it somebody to talk to? libraft goes on with those that it removed. */
    bool (*knows)(void *arg, uint64_t id);
    /* There is a new stream to or from that peer. */
    void (*linked)(void *arg, uint64_t id);
    void *arg;
    bool closing;
    struct {
        uint64_t id;
        unsigned failures; /* in a row */
        /* The stream that libraft was given last; the inode tells whether the
         * descriptor still is that socket. 0: none. */
        int fd;
        uint64_t inode;
    } peers[PEERS_MAX];
};

void transport_init(struct transport *t, struct dialer *dialer,
                    struct events *events);

/* A peer's raft stream arrived; takes @stream. */
void transport_accept(struct transport *t, uint64_t id, const char *address,
                      uv_stream_t *stream);

/* The peer is there: what waits to be tried again is tried now. */
void transport_peer_seen(struct transport *t, uint64_t id);

void transport_beat(struct transport *t);

/* Milliseconds to wait after @failures in a row: doubling from 50, at most
 * TRANSPORT_BACKOFF_MS_MAX, the upper half random. */
unsigned backoff_ms(unsigned failures);
