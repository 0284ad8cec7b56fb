#define _GNU_SOURCE /* accept4's friends: SOCK_CLOEXEC */
#include "raft/probe.h"

#include "base/clock.h"
#include "raft/resolver.h"
#include "tls/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Until @fd is ready or the time is over. */
static bool wait_ready(int fd, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        if (now >= until_ms)
            return false;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int)(until_ms - now));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
    }
}

static int connect_to(const struct addrinfo *to, uint64_t until_ms)
{
    int fd =
        socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int error = 0;
    socklen_t size = sizeof error;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return fd;
    if (errno == EINPROGRESS) {
        if (!wait_ready(fd, POLLOUT, until_ms))
            error = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
                 error == 0)
            return fd;
    }
    if (error != 0)
        errno = error;
    close(fd);
    return -1;
}

/* A connected socket to the first of the addresses that takes us, or -1. */
static int dial_any(const struct lookup *where, char why[])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rv = getaddrinfo(where->host, where->port, &hints, &list);
    if (rv != 0) {
        snprintf(why, 160, "%.64s: %s", where->host, gai_strerror(rv));
        return -1;
    }
    /* One that swallows what it is sent takes no time from the others. */
    int fd = -1;
    for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next)
        fd = connect_to(a, clock_mono_ms() + PROBE_WAIT_MS_MAX);
    if (fd < 0)
        snprintf(why, 160, "connect: %s", strerror(errno));
    freeaddrinfo(list);
    return fd;
}

/* --- TLS ------------------------------------------------------------------ */

struct secured {
    int fd;
    char why[160];
    bool done;
};

static void on_mail(void *arg)
{
    sem_post(arg);
}

static void on_secured(struct tls_handshake *h, void *arg)
{
    struct secured *s = arg;
    s->fd = h->fd;
    s->done = true;
    snprintf(s->why, sizeof s->why, "%s", h->why);
    tls_peer_free(h->peer);
    h->peer = NULL;
}

/* The plain end of a TLS connection over @fd (which is taken), or -1. */
static int secure(struct tls *tls, int fd, const char *host, char why[])
{
    struct tls_handshake *h = calloc(1, sizeof *h);
    if (h == NULL) {
        close(fd);
        snprintf(why, 160, "out of memory");
        return -1;
    }
    struct secured result = {.fd = -1};
    struct tls_inbox inbox;
    sem_t mail;
    sem_init(&mail, 0, 0);
    tls_inbox_init(&inbox, on_mail, &mail);
    h->fd = fd;
    snprintf(h->host, sizeof h->host, "%s", host);
    h->done = on_secured;
    h->arg = &result;
    tls_handshake(tls, &inbox, h);
    /* The pump ends every handshake within TLS_HANDSHAKE_MS_MAX. */
    while (!result.done) {
        while (sem_wait(&mail) != 0)
            continue;
        tls_collect(&inbox);
    }
    tls_inbox_close(tls, &inbox); /* it may still be about to wake us */
    sem_destroy(&mail);
    snprintf(why, 160, "%s", result.why);
    return result.fd;
}

/* --- hello ---------------------------------------------------------------- */

static bool send_all(int fd, const uint8_t *data, size_t size,
                     uint64_t until_ms)
{
    while (size > 0) {
        ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR) ||
                   !wait_ready(fd, POLLOUT, until_ms)) {
            return false;
        }
    }
    return true;
}

static enum probe_result read_answer(int fd, uint64_t until_ms,
                                     struct hello_answer *answer, char why[])
{
    uint8_t data[HELLO_ANSWER_SIZE + 1];
    size_t size = 0;
    struct errmsg e = {"it hung up"};
    for (;;) {
        if (!wait_ready(fd, POLLIN, until_ms)) {
            snprintf(why, 160, "no answer in time");
            return PROBE_STRANGE;
        }
        ssize_t n = recv(fd, data + size, sizeof data - size, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n > 0)
            size += (size_t)n;
        int rv = n <= 0 ? ERR_CORRUPT
                        : hello_answer_decode((struct bytes){data, size},
                                              answer, &e);
        if (rv == 1)
            return PROBE_ANSWERED;
        if (rv < 0) {
            snprintf(why, 160, "%.150s", e.text);
            return PROBE_STRANGE;
        }
    }
}

enum probe_result probe_peer(const char *address, struct tls *tls,
                             struct hello_answer *answer, char why[160])
{
    struct lookup where = {0};
    if (lookup_parse(address, &where) != 0) {
        snprintf(why, 160, "%.100s is not host:port", address);
        return PROBE_NOBODY;
    }
    int fd = dial_any(&where, why);
    if (fd < 0)
        return PROBE_NOBODY;
    if (tls != NULL && (fd = secure(tls, fd, where.host, why)) < 0)
        return PROBE_STRANGE;
    uint64_t until = clock_mono_ms() + PROBE_WAIT_MS_MAX;
    /* A probe is answered whoever asks; an id is wanted all the same. */
    struct hello hello = {
        .channel = HELLO_PROBE, .level = LEVEL_NEWEST, .raft_id = 1};
    snprintf(hello.name, sizeof hello.name, "holdfastctl");
    uint8_t data[HELLO_SIZE];
    hello_encode(&hello, data);
    enum probe_result result = PROBE_STRANGE;
    if (send_all(fd, data, sizeof data, until))
        result = read_answer(fd, until, answer, why);
    else
        snprintf(why, 160, "it hung up");
    close(fd);
    return result;
}
