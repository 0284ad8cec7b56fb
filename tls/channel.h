/* One connection in the pump: the handshake on its TCP socket, then bytes both
 * ways between that and one end of a socketpair, whose other end the consumer
 * has. Everything is non-blocking and edge-triggered: what was seen ready is
 * tried until it says "again". A full buffer stops reading at its source, so
 * that TCP slows the sender down. Pump thread.
 *
 *   SHAKING --> OPEN --(each direction ends by itself)--> over
 *      +-- refused, too late --> over                                        */
#pragma once

#include "base/thread.h"
#include "tls/tls.h"

#include <openssl/ssl.h>

#include <stddef.h>

enum {
    CHANNEL_BUFFER_SIZE = 64 * 1024, /* a direction */
    /* In one go, so that one busy connection does not starve the others. */
    CHANNEL_GO_BYTES_MAX = 256 * 1024,
    /* For the last bytes of a consumer that has closed its end. */
    CHANNEL_LINGER_MS_MAX = 5000,
};

extern struct thread_role pump_thread;

struct channel;

/* A file descriptor in the pump's epoll. */
struct channel_end {
    struct channel *channel;
    int fd;                  /* owned; -1: not there (yet) */
    bool readable, writable; /* worth a try */
    bool hung_up;
};

/* Bytes on their way in one direction. */
struct flow {
    uint8_t *data; /* owned, CHANNEL_BUFFER_SIZE */
    size_t begin, end;
    bool ended;  /* the source has no more */
    bool closed; /* the sink was told, or takes nothing more */
};

enum channel_state { CHANNEL_SHAKING, CHANNEL_OPEN, CHANNEL_OVER };

struct channel {
    struct channel *next; /* the pump's: in one of its queues */
    bool queued;
    size_t slot; /* the pump's */
    enum channel_state state;
    int epoll; /* borrowed */
    struct channel_end tcp, pipe;
    SSL *ssl;                /* owned */
    struct flow up, down;    /* from the consumer; to it */
    struct tls_handshake *h; /* while SHAKING: owned */
    struct tls_inbox *inbox; /* where @h goes; borrowed */
    uint64_t deadline_ms;    /* monotonic; 0: none */
    char why[TLS_WHY_SIZE];  /* of the certificate that was refused */
};

/* Takes @h and its socket; NULL: out of memory, @h is still the caller's. The
 * channel is in @epoll. */
struct channel *channel_create(SSL_CTX *context, int epoll,
                               struct tls_handshake *h) REQUIRES(pump_thread);

/* Closes what is open, without a word to the other side. @h must have gone. */
void channel_destroy(struct channel *c) REQUIRES(pump_thread);

/* What epoll said of one of its ends. */
void channel_note(struct channel_end *end, uint32_t events)
    REQUIRES(pump_thread);

/* One step of the handshake. When it has succeeded the state is OPEN and the
 * consumer's end is in @h, which is the caller's to give back; the same, with
 * OVER, when it has failed. */
void channel_shake(struct channel *c) REQUIRES(pump_thread);

/* Ends the handshake as failed. */
void channel_refuse(struct channel *c, const char *why) REQUIRES(pump_thread);

/* Moves bytes. True if there is more to move at once. */
bool channel_go(struct channel *c, uint64_t now_ms) REQUIRES(pump_thread);
