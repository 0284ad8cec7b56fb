/* See http_tls.h. */
#define _GNU_SOURCE /* accept4 */
#include "node/http_tls.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FIRST_BYTES_S = 5, /* a connection that says nothing is not accepted */
    TLS_RECORD_HANDSHAKE = 0x16,
    ACCEPTS_A_ROUND = 64,
    LOOK_MS = 2000,
};

/* One connection whose handshake is under way. */
struct https_guest {
    struct https *server;
    struct https_guest *previous, *next;
    struct sockaddr_storage address;
    socklen_t size;
};

void https_init(struct https *s, struct tls *tls, int listener,
                mailbox_wake_fn *wake, https_open_fn *on_open, void *arg)
{
    int seconds = FIRST_BYTES_S;
    *s = (struct https){
        .tls = tls, .listener = listener, .on_open = on_open, .arg = arg};
    tls_inbox_init(&s->inbox, wake, arg);
    /* So that a connection's first byte is there when it is accepted. */
    (void)setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds,
                     sizeof seconds);
}

/* --- guests --------------------------------------------------------------- */

static bool same_host(const struct sockaddr_storage *a,
                      const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr,
                  sizeof(struct in6_addr)) == 0;
}

static size_t count_of_host(const struct https *s,
                            const struct sockaddr_storage *address)
{
    size_t count = 0;
    for (const struct https_guest *g = s->first; g != NULL; g = g->next)
        count += same_host(&g->address, address);
    return count;
}

static void guest_enter(struct https *s, struct https_guest *g)
{
    g->server = s;
    g->next = s->first;
    if (s->first != NULL)
        s->first->previous = g;
    s->first = g;
    s->count++;
}

static void guest_leave(struct https_guest *g)
{
    struct https *s = g->server;
    if (g->previous != NULL)
        g->previous->next = g->next;
    else
        s->first = g->next;
    if (g->next != NULL)
        g->next->previous = g->previous;
    s->count--;
    free(g);
}

static void handshake_done(struct tls_handshake *h, void *arg)
{
    struct https_guest *g = arg;
    struct https *s = g->server;
    tls_peer_free(h->peer);
    if (h->fd >= 0)
        s->on_open(s->arg, h->fd, (const struct sockaddr *)&g->address,
                   g->size);
    guest_leave(g);
}

/* --- accepting ------------------------------------------------------------ */

/* Somebody speaks plain HTTP here, by the first byte. One write into an empty
 * socket; what was sent to us is read first, or the close would be a reset that
 * overtakes the answer. */
static bool refuse_plain(int fd)
{
    static const char answer[] =
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
        "Connection: close\r\nContent-Length: 66\r\n\r\n"
        "{\"msg\":\"this port speaks TLS: use "
        "https://\",\"code\":\"tls_required\"}";
    char question[4096];
    uint8_t first;
    if (recv(fd, &first, 1, MSG_PEEK) != 1 || first == TLS_RECORD_HANDSHAKE)
        return false;
    (void)!recv(fd, question, sizeof question, 0);
    (void)!send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    return true;
}

static void begin_handshake(struct https *s, int fd,
                            const struct sockaddr_storage *address,
                            socklen_t size)
{
    int one = 1;
    struct https_guest *g = calloc(1, sizeof *g);
    struct tls_handshake *h = calloc(1, sizeof *h);
    if (g == NULL || h == NULL) {
        free(g);
        free(h);
        close(fd);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    g->address = *address;
    g->size = size;
    guest_enter(s, g);
    h->fd = fd;
    h->server = true;
    h->done = handshake_done;
    h->arg = g;
    tls_handshake(s->tls, &s->inbox, h);
}

int https_listener(const struct https *s)
{
    return s->count < HTTPS_HANDSHAKES_MAX ? s->listener : -1;
}

void https_accept(struct https *s)
{
    for (int i = 0; i < ACCEPTS_A_ROUND && https_listener(s) >= 0; i++) {
        struct sockaddr_storage address = {0};
        socklen_t size = sizeof address;
        int fd = accept4(s->listener, (struct sockaddr *)&address, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0)
            return; /* none is left; or no descriptor, which passes */
        if (refuse_plain(fd) ||
            count_of_host(s, &address) >= HTTPS_HANDSHAKES_PER_ADDRESS_MAX)
            close(fd);
        else
            begin_handshake(s, fd, &address, size);
    }
}

/* A certificate that could not be reloaded is told when that is new. */
static void look_at_files(struct https *s)
{
    struct tls_status status;
    uint64_t now_ms = clock_mono_ms();
    if (now_ms - s->looked_ms < LOOK_MS)
        return;
    s->looked_ms = now_ms;
    tls_status(s->tls, &status);
    if (strcmp(status.reload_error, s->reload_error) != 0) {
        memcpy(s->reload_error, status.reload_error, sizeof s->reload_error);
        if (status.reload_error[0] != '\0')
            log_warn("tls", "%s; the old certificate stays in use",
                     status.reload_error);
    }
    if (s->loaded_s != 0 && status.loaded_s != s->loaded_s)
        log_info("tls", "HTTPS serves a new certificate");
    s->loaded_s = status.loaded_s;
}

void https_collect(struct https *s)
{
    tls_collect(&s->inbox);
    look_at_files(s);
}

/* --- the end -------------------------------------------------------------- */

void https_quiesce(struct https *s)
{
    if (s->listener >= 0)
        close(s->listener);
    s->listener = -1;
}

static void throw_away(void *arg, int fd, const struct sockaddr *address,
                       socklen_t size)
{
    (void)arg;
    (void)address;
    (void)size;
    close(fd);
}

void https_deinit(struct https *s)
{
    s->on_open = throw_away;
    tls_collect(&s->inbox);
    while (s->first != NULL)
        guest_leave(s->first);
}
