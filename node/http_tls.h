/* HTTPS: takes connections from the listener, sends them through TLS (tls/tls.h
 * does that on a thread of its own) and hands on what came out: one end of a
 * socketpair that carries plain HTTP. Knows nothing of libmicrohttpd. Http
 * thread. */
#pragma once

#include "tls/tls.h"

#include <stddef.h>
#include <sys/socket.h>

enum {
    HTTPS_HANDSHAKES_MAX = 256,            /* under way; the others wait in the
                                              listener's queue */
    HTTPS_HANDSHAKES_PER_ADDRESS_MAX = 64, /* more are closed at once */
};

/* @fd is the receiver's. */
typedef void https_open_fn(void *arg, int fd, const struct sockaddr *address,
                           socklen_t size);

struct https {
    struct tls *tls; /* borrowed: stopped before https_deinit */
    int listener;    /* owned until https_quiesce */
    struct tls_inbox inbox;
    https_open_fn *on_open;
    void *arg;
    struct https_guest *first; /* handshakes under way */
    size_t count;
    uint64_t looked_ms, loaded_s; /* at the files' state */
    char reload_error[TLS_WHY_SIZE];
};

/* @listener is taken over. @wake, on any thread: call https_collect. */
void https_init(struct https *s, struct tls *tls, int listener,
                mailbox_wake_fn *wake, https_open_fn *on_open, void *arg);

/* The descriptor to poll for https_accept, -1 while there is no room. */
int https_listener(const struct https *s);
void https_accept(struct https *s);
void https_collect(struct https *s);

/* Takes no more: closes the listener. */
void https_quiesce(struct https *s);
/* After tls_stop, which ends what is under way. */
void https_deinit(struct https *s);
