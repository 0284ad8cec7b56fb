/* Two pumps that talk over loopback, for the tests of tls/: a directory with
 * certificates, sockets, and handshakes that are waited for. */
#pragma once

#include "tls/test/certs.h"
#include "tls/tls.h"

/* Files "<dir>/ca.pem", "<dir>/<name>.pem" and "<dir>/<name>.key". */
struct pair {
    char dir[64];
    struct test_ca ca, foreign;
};

void pair_init(struct pair *p);
void pair_deinit(struct pair *p);

/* Writes a certificate of @ca under @name. */
void pair_cert(struct pair *p, const struct test_ca *ca, const char *name,
               const struct test_wish *wish);
/* A pump with the certificate @name; asserts that it starts. */
struct tls *pair_start(struct pair *p, const char *name, bool mutual);
int pair_try_start(struct pair *p, const char *name, bool mutual,
                   struct tls **out, struct errmsg *e);
const char *pair_path(struct pair *p, const char *name, const char *suffix,
                      char out[128]);

/* Two connected TCP sockets. */
void pair_sockets(int out[2]);

/* One side of a handshake. */
struct side {
    struct tls *tls;
    struct tls_inbox inbox;
    bool finished, silent;
    int fd; /* -1: refused */
    void *peer;
    char why[TLS_WHY_SIZE];
};
void side_begin(struct side *s, struct tls *t, int fd, bool server,
                const char *host);
void side_wait(struct side *s); /* fd gets a receive timeout, blocking */
void side_end(struct side *s);

/* A handshake of both; [0] is the server. */
void pair_shake(struct tls *server, struct tls *client, const char *host,
                struct side out[2]);

void pair_sleep_ms(unsigned ms);
