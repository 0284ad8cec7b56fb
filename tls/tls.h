/* TLS for sockets: one set of certificate files, watched and reloaded, and a
 * pump thread that does the handshakes and carries bytes between a TLS
 * connection and one end of a socketpair. Who uses it sees an ordinary stream
 * and a proven name; no handshake of a stranger runs on the caller's thread.
 * OpenSSL's TLS appears in this folder only. Any thread, unless said otherwise.
 */
#pragma once

#include "base/err.h"
#include "base/mailbox.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TLS_HANDSHAKE_MS_MAX = 5000,
    TLS_RELOAD_MS = 2000,
    TLS_CONNECTIONS_MAX = 1024, /* a pump; with more, the one goes whose
                                   handshake has been silent for longest */
    TLS_HOST_LENGTH_MAX = 255,
    TLS_WHY_SIZE = 160,
};

struct tls;

struct tls_files {
    const char *ca;   /* PEM; several CAs one after the other; may be NULL when
                         peers need no certificate */
    const char *cert; /* PEM chain, own certificate first */
    const char *key;
    bool mutual; /* the other side must show a certificate of @ca */
};

/* Loads the files (ERR_INVALID: the message names the file and what is wrong,
 * e.g. key and certificate do not fit, or expired) and starts the pump. */
NODISCARD int tls_start(const struct tls_files *files, struct tls **out,
                        struct errmsg *e);

/* Ends every connection and the thread. NULL is fine. */
void tls_stop(struct tls *t);

/* Has the files looked at now, and reloaded if they have changed; the pump does
 * it by itself every TLS_RELOAD_MS. What cannot be loaded leaves the old in
 * use; tls_status tells. Connections that are there keep what they have. */
void tls_reload(struct tls *t);

struct tls_status {
    uint64_t not_after_s; /* Unix s, of the own certificate in use */
    uint64_t loaded_s;    /* Unix s, of the last successful load */
    uint64_t handshakes, failures, connections;
    char reload_error[TLS_WHY_SIZE]; /* of the last attempt; "" = fine */
};
void tls_status(struct tls *t, struct tls_status *out);

struct tls_inbox;

/* One connected socket on its way into TLS. From malloc; given to
 * tls_handshake, given back by tls_collect. */
struct tls_handshake {
    struct letter letter;    /* private */
    struct tls_inbox *inbox; /* private */
    int fd;      /* in: the connected TCP socket, now the pump's. out: one end
                    of a socketpair, non-blocking, yours; -1 = failed */
    bool server; /* we accepted it */
    char host[TLS_HOST_LENGTH_MAX + 1]; /* client: whom the certificate must
                                           name (DNS or IP); "" = not checked */
    void *peer; /* out: the proven certificate, for tls_peer_is_named; free
                   with tls_peer_free; NULL = none was shown */
    char why[TLS_WHY_SIZE]; /* out: if it failed, for people */
    bool silent; /* out: it failed, and the other side never said a byte: a
                    check of the port, no news */
    /* Called by tls_collect, which then frees @h; takes fd and peer. The
     * consumer may set it to NULL meanwhile: nobody waits any more. */
    void (*done)(struct tls_handshake *h, void *arg);
    void *arg;
};

/* Where finished handshakes of one consumer gather: @wake is called on the
 * pump's thread when tls_collect has work. Embedded; before it goes away,
 * tls_inbox_close or tls_stop, then a last tls_collect. */
struct tls_inbox {
    struct mailbox box;
};
void tls_inbox_init(struct tls_inbox *inbox, mailbox_wake_fn *wake, void *arg);

/* Fails all handshakes of @inbox that are under way (tls_collect gets them);
 * the pump knows it no more when this returns, in a few ms. */
void tls_inbox_close(struct tls *t, struct tls_inbox *inbox);

/* Any thread. Where TLS_CONNECTIONS_MAX are open already the socket is closed.
 * A client must have been given a CA. */
void tls_handshake(struct tls *t, struct tls_inbox *inbox,
                   struct tls_handshake *h);
/* On the consumer's thread: calls done() of what has come and frees it; what
 * nobody waits for is closed. */
void tls_collect(struct tls_inbox *inbox);

/* Does the certificate's SAN name @host (a DNS name, wildcards as RFC 6125
 * allows them, or an IP address)? The common name does not count. */
bool tls_peer_is_named(const void *peer, const char *host);
/* For people: whom it names, "a.example, 10.0.0.1"; cut to @room. */
void tls_peer_names(const void *peer, char *out, size_t room);
void tls_peer_free(void *peer);
