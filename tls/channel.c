#define _GNU_SOURCE /* EPOLLRDHUP */
#include "tls/channel.h"

#include "base/clock.h"
#include "tls/peer.h"
#include "tls/refusal.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct thread_role pump_thread = {"tls pump"};

static int prepare_ssl(struct channel *c, SSL_CTX *context);
static int watch(struct channel_end *end);

struct channel *channel_create(SSL_CTX *context, int epoll,
                               struct tls_handshake *h)
{
    struct channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->tcp = (struct channel_end){.channel = c, .fd = -1};
    c->pipe = (struct channel_end){.channel = c, .fd = -1};
    c->epoll = epoll;
    c->h = h;
    c->inbox = h->inbox;
    c->deadline_ms = clock_mono_ms() + TLS_HANDSHAKE_MS_MAX;
    int flags = fcntl(h->fd, F_GETFL);
    c->tcp.fd = h->fd;
    if (flags < 0 || fcntl(h->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        prepare_ssl(c, context) != 0 || watch(&c->tcp) != 0) {
        c->tcp.fd = -1; /* stays the caller's */
        c->h = NULL;
        channel_destroy(c);
        return NULL;
    }
    h->fd = -1;
    return c;
}

static void flow_deinit(struct flow *f)
{
    free(f->data);
}

static void end_close(struct channel_end *end)
{
    if (end->fd < 0)
        return;
    /* Closing would do, were it the last descriptor of this socket; the one
     * who gave it to us may still have another. */
    epoll_ctl(end->channel->epoll, EPOLL_CTL_DEL, end->fd, NULL);
    close(end->fd);
    end->fd = -1;
}

void channel_destroy(struct channel *c)
{
    if (c == NULL)
        return;
    SSL_free(c->ssl);
    end_close(&c->tcp);
    end_close(&c->pipe);
    flow_deinit(&c->up);
    flow_deinit(&c->down);
    free(c);
}

void channel_note(struct channel_end *end, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
        end->readable = true;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0)
        end->writable = true;
    if ((events & EPOLLHUP) != 0)
        end->hung_up = true;
}

static int watch(struct channel_end *end)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end};
    return epoll_ctl(end->channel->epoll, EPOLL_CTL_ADD, end->fd, &event);
}

/* --- the handshake -------------------------------------------------------- */

/* OpenSSL calls it for each certificate of the other side's chain. */
static int on_verify(int good, X509_STORE_CTX *check)
{
    SSL *ssl =
        X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct channel *c = SSL_get_app_data(ssl);
    if (good != 1 && c->why[0] == '\0')
        refusal_of_certificate(check, c->h->host, c->why, sizeof c->why);
    return good;
}

/* As a client: whom the certificate must name, and the name that a server with
 * several certificates chooses by. */
static int expect_host(SSL *ssl, const char *host)
{
    if (host[0] == '\0')
        return 1;
    if (host_is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host);
    size_t length = strlen(host);
    if (host[length - 1] == '.') /* the root of a fully qualified name */
        length--;
    char name[TLS_HOST_LENGTH_MAX + 1];
    memcpy(name, host, length);
    name[length] = '\0';
    SSL_set_hostflags(ssl, HOST_CHECK_FLAGS);
    return SSL_set1_host(ssl, name) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

static int prepare_ssl(struct channel *c, SSL_CTX *context)
{
    c->ssl = SSL_new(context);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->tcp.fd) != 1)
        return -1;
    SSL_set_app_data(c->ssl, c);
    if (!c->h->server) {
        SSL_set_connect_state(c->ssl);
        SSL_set_verify(c->ssl, SSL_VERIFY_PEER, on_verify);
        return expect_host(c->ssl, c->h->host) == 1 ? 0 : -1;
    }
    SSL_set_accept_state(c->ssl);
    if ((SSL_CTX_get_verify_mode(context) & SSL_VERIFY_PEER) != 0)
        SSL_set_verify(c->ssl, SSL_CTX_get_verify_mode(context), on_verify);
    return 0;
}

void channel_refuse(struct channel *c, const char *why)
{
    snprintf(c->h->why, sizeof c->h->why, "%s", why);
    c->state = CHANNEL_OVER;
}

static int flow_init(struct flow *f)
{
    f->data = malloc(CHANNEL_BUFFER_SIZE);
    return f->data == NULL ? -1 : 0;
}

/* The consumer's end goes into the handshake. */
static void open_pipe(struct channel *c) REQUIRES(pump_thread)
{
    int ends[2];
    if (flow_init(&c->up) != 0 || flow_init(&c->down) != 0) {
        channel_refuse(c, "out of memory");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   ends) != 0) {
        char why[sizeof c->h->why];
        snprintf(why, sizeof why, "socketpair: %s", strerror(errno));
        channel_refuse(c, why);
        return;
    }
    c->pipe.fd = ends[0];
    if (watch(&c->pipe) != 0) {
        close(ends[1]);
        channel_refuse(c, "epoll: out of memory");
        return;
    }
    c->h->fd = ends[1];
    c->h->peer = SSL_get1_peer_certificate(c->ssl);
    c->deadline_ms = 0;
    c->state = CHANNEL_OPEN;
    /* The handshake may have read further than its own end, and epoll does not
     * announce what is not in the socket any more. */
    c->tcp.readable = c->tcp.writable = true;
}

void channel_shake(struct channel *c)
{
    ERR_clear_error();
    errno = 0;
    int rv = SSL_do_handshake(c->ssl);
    if (rv == 1) {
        open_pipe(c);
        return;
    }
    int error = SSL_get_error(c->ssl, rv);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return;
    char why[sizeof c->why];
    c->h->silent = BIO_number_read(SSL_get_rbio(c->ssl)) == 0;
    refusal_of_handshake(error, why, sizeof why);
    channel_refuse(c, c->why[0] != '\0' ? c->why : why);
}

/* --- bytes ---------------------------------------------------------------- */

static size_t flow_size(const struct flow *f)
{
    return f->end - f->begin;
}

/* Room at the end, where it is contiguous. */
static size_t flow_room(struct flow *f)
{
    if (f->begin == f->end)
        f->begin = f->end = 0;
    if (f->end == CHANNEL_BUFFER_SIZE && f->begin > 0) {
        memmove(f->data, f->data + f->begin, flow_size(f));
        f->end -= f->begin;
        f->begin = 0;
    }
    return CHANNEL_BUFFER_SIZE - f->end;
}

/* Neither will come any more nor can be sent. */
static void break_up(struct channel *c)
{
    c->up.closed = true;
    c->up.begin = c->up.end = 0;
    /* The consumer's next write fails instead of waiting for ever. */
    shutdown(c->pipe.fd, SHUT_RD);
}

/* From the other side. */
static size_t read_tls(struct channel *c)
{
    size_t moved = 0, room;
    while (c->tcp.readable && !c->down.ended && !c->pipe.hung_up &&
           (room = flow_room(&c->down)) > 0) {
        size_t n = 0;
        ERR_clear_error();
        int rv = SSL_read_ex(c->ssl, c->down.data + c->down.end, room, &n);
        c->down.end += n;
        moved += n;
        if (rv == 1)
            continue;
        switch (SSL_get_error(c->ssl, rv)) {
        case SSL_ERROR_WANT_READ:
            c->tcp.readable = false;
            break;
        case SSL_ERROR_WANT_WRITE:
            return moved;
        case SSL_ERROR_ZERO_RETURN: /* it half-closed, in order */
            c->down.ended = true;
            break;
        default: /* it is gone: what it had sent still gets delivered */
            c->down.ended = true;
            break_up(c);
        }
    }
    return moved;
}

/* To the consumer. */
static size_t write_pipe(struct channel *c)
{
    size_t moved = 0;
    while (flow_size(&c->down) > 0 && c->pipe.writable && !c->pipe.hung_up) {
        ssize_t n = send(c->pipe.fd, c->down.data + c->down.begin,
                         flow_size(&c->down), MSG_NOSIGNAL);
        if (n >= 0) {
            c->down.begin += (size_t)n;
            moved += (size_t)n;
        } else if (errno == EAGAIN) {
            c->pipe.writable = false;
        } else if (errno != EINTR) {
            c->pipe.hung_up = true;
        }
    }
    if (flow_size(&c->down) == 0 && c->down.ended && !c->down.closed) {
        shutdown(c->pipe.fd, SHUT_WR);
        c->down.closed = true;
    }
    return moved;
}

/* From the consumer. */
static size_t read_pipe(struct channel *c)
{
    size_t moved = 0, room;
    while (c->pipe.readable && !c->up.ended && !c->up.closed &&
           (room = flow_room(&c->up)) > 0) {
        ssize_t n = recv(c->pipe.fd, c->up.data + c->up.end, room, 0);
        if (n > 0) {
            c->up.end += (size_t)n;
            moved += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            c->pipe.readable = false;
        } else if (n == 0 || errno != EINTR) {
            c->up.ended = true;
        }
    }
    return moved;
}

/* All was sent: a TLS end, so that the other side can tell it from a cut, and
 * TCP's. */
static void end_tls(struct channel *c)
{
    ERR_clear_error();
    int rv = SSL_shutdown(c->ssl);
    if (rv < 0 && SSL_get_error(c->ssl, rv) == SSL_ERROR_WANT_WRITE) {
        c->tcp.writable = false;
        return;
    }
    c->up.closed = true;
    shutdown(c->tcp.fd, SHUT_WR);
}

/* To the other side. */
static size_t write_tls(struct channel *c)
{
    size_t moved = 0;
    while (flow_size(&c->up) > 0 && c->tcp.writable) {
        size_t n = 0;
        ERR_clear_error();
        int rv = SSL_write_ex(c->ssl, c->up.data + c->up.begin,
                              flow_size(&c->up), &n);
        c->up.begin += n;
        moved += n;
        if (rv == 1)
            continue;
        switch (SSL_get_error(c->ssl, rv)) {
        case SSL_ERROR_WANT_WRITE:
            c->tcp.writable = false;
            break;
        case SSL_ERROR_WANT_READ:
            return moved;
        default:
            /* What came before the break is still there to be read; reading
             * finds its end, too. */
            break_up(c);
            c->tcp.readable = true;
        }
    }
    if (flow_size(&c->up) == 0 && c->up.ended && !c->up.closed &&
        c->tcp.writable)
        end_tls(c);
    return moved;
}

bool channel_go(struct channel *c, uint64_t now_ms)
{
    size_t moved, all = 0;
    do {
        moved = read_tls(c);
        moved += write_pipe(c);
        moved += read_pipe(c);
        moved += write_tls(c);
        all += moved;
    } while (moved > 0 && all < CHANNEL_GO_BYTES_MAX);
    /* A consumer that closed its end wants nothing more; what it had sent goes
     * out first. */
    if (c->up.closed && (c->down.closed || c->pipe.hung_up))
        c->state = CHANNEL_OVER;
    else if (c->pipe.hung_up && c->deadline_ms == 0)
        c->deadline_ms = now_ms + CHANNEL_LINGER_MS_MAX;
    return c->state == CHANNEL_OPEN && moved > 0;
}
