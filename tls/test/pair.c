#define _GNU_SOURCE /* nftw */
#include "tls/test/pair.h"

#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

void pair_init(struct pair *p)
{
    char path[128];
    strcpy(p->dir, "/tmp/holdfast-tls-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    test_ca_init(&p->ca, "the CA");
    test_ca_init(&p->foreign, "a foreign CA");
    test_ca_write(pair_path(p, "ca", "pem", path), &p->ca, NULL);
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

void pair_deinit(struct pair *p)
{
    test_ca_deinit(&p->ca);
    test_ca_deinit(&p->foreign);
    nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *pair_path(struct pair *p, const char *name, const char *suffix,
                      char out[128])
{
    snprintf(out, 128, "%s/%s.%s", p->dir, name, suffix);
    return out;
}

void pair_cert(struct pair *p, const struct test_ca *ca, const char *name,
               const struct test_wish *wish)
{
    char cert[128], key[128];
    test_cert_write(ca, wish, pair_path(p, name, "pem", cert),
                    pair_path(p, name, "key", key));
}

int pair_try_start(struct pair *p, const char *name, bool mutual,
                   struct tls **out, struct errmsg *e)
{
    char ca[128], cert[128], key[128];
    struct tls_files files = {.ca = pair_path(p, "ca", "pem", ca),
                              .cert = pair_path(p, name, "pem", cert),
                              .key = pair_path(p, name, "key", key),
                              .mutual = mutual};
    return tls_start(&files, out, e);
}

struct tls *pair_start(struct pair *p, const char *name, bool mutual)
{
    struct tls *t;
    struct errmsg e = {""};
    int rv = pair_try_start(p, name, mutual, &t, &e);
    if (rv != 0)
        print_message("%s: %s\n", name, e.text);
    assert_int_equal(rv, 0);
    return t;
}

void pair_sockets(int out[2])
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &size), 0);
    out[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(out[1], (struct sockaddr *)&a, size), 0);
    out[0] = accept(listener, NULL, NULL);
    assert_true(out[0] >= 0);
    close(listener);
    for (int i = 0, on = 1; i < 2; i++)
        setsockopt(out[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static void on_done(struct tls_handshake *h, void *arg)
{
    struct side *s = arg;
    s->finished = true;
    s->silent = h->silent;
    s->fd = h->fd;
    s->peer = h->peer;
    memcpy(s->why, h->why, sizeof s->why);
}

void side_begin(struct side *s, struct tls *t, int fd, bool server,
                const char *host)
{
    memset(s, 0, sizeof *s);
    s->fd = -1;
    s->tls = t;
    tls_inbox_init(&s->inbox, NULL, NULL);
    struct tls_handshake *h = calloc(1, sizeof *h);
    assert_non_null(h);
    h->fd = fd;
    h->server = server;
    snprintf(h->host, sizeof h->host, "%s", host);
    h->done = on_done;
    h->arg = s;
    tls_handshake(t, &s->inbox, h);
}

void side_wait(struct side *s)
{
    for (unsigned i = 0; i < 20000 && !s->finished; i++) {
        tls_collect(&s->inbox);
        if (!s->finished)
            pair_sleep_ms(1);
    }
    assert_true(s->finished);
    tls_inbox_close(s->tls, &s->inbox);
    assert_true((s->fd < 0) == (s->why[0] != '\0'));
    if (s->fd < 0)
        return;
    struct timeval timeout = {.tv_sec = 20};
    assert_true((fcntl(s->fd, F_GETFL) & O_NONBLOCK) != 0);
    assert_int_equal(fcntl(s->fd, F_SETFL, 0), 0);
    setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

void side_end(struct side *s)
{
    if (s->fd >= 0)
        close(s->fd);
    tls_peer_free(s->peer);
}

void pair_shake(struct tls *server, struct tls *client, const char *host,
                struct side out[2])
{
    int fds[2];
    pair_sockets(fds);
    side_begin(&out[0], server, fds[0], true, "");
    side_begin(&out[1], client, fds[1], false, host);
    side_wait(&out[0]);
    side_wait(&out[1]);
}

void pair_sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000,
                         .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}
