#include "raft/listener.h"

#include "base/clock.h"
#include "raft/peer_io.h"
#include "raft/resolver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BACKLOG = 64,
    TLS_RECORD_HANDSHAKE = 0x16, /* the first byte of who begins TLS */
};

/* A connection before its hello is complete. */
struct guest {
    struct listener *listener;
    struct guest *next;
    uint64_t deadline_ms;
    struct peer_socket *socket;      /* owned; NULL while @handshake goes on */
    struct tls_handshake *handshake; /* the pump's while it is under way */
    void *peer;                      /* owned: its certificate, with TLS */
    int tcp; /* owned: a descriptor of its TCP socket, which with TLS the pump
                has; or -1 */
    char source[INET6_ADDRSTRLEN];
    uint8_t data[HELLO_SIZE + 1]; /* one more: to see what must not be there */
    size_t size;
};

static void on_connection(uv_stream_t *server, int status);
static void take(struct listener *l);

int listener_open(struct listener *l, const char *bind, uint16_t *port,
                  struct errmsg *e)
{
    struct lookup lookup = {0};
    if (lookup_parse(bind, &lookup) != 0 || lookup.count == 0)
        return errmsg_set(e, ERR_INVALID, "peer bind address %s: not ip:port",
                          bind);
    int rv = uv_tcp_init(l->loop, &l->tcp);
    if (rv != 0)
        return errmsg_set(e, ERR_IO, "peer port: %s", uv_strerror(rv));
    l->open = true;
    l->tcp.data = l;
    rv = uv_tcp_bind(&l->tcp, (const struct sockaddr *)&lookup.addresses[0], 0);
    if (rv == 0)
        rv = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
    struct sockaddr_storage bound;
    int size = sizeof bound;
    if (rv == 0)
        rv = uv_tcp_getsockname(&l->tcp, (struct sockaddr *)&bound, &size);
    if (rv != 0)
        return errmsg_set(e, ERR_IO, "peer port %s: %s", bind, uv_strerror(rv));
    *port = ntohs(bound.ss_family == AF_INET6
                      ? ((struct sockaddr_in6 *)&bound)->sin6_port
                      : ((struct sockaddr_in *)&bound)->sin_port);
    return 0;
}

static void unlink_guest(struct guest *g)
{
    struct listener *l = g->listener;
    for (struct guest **at = &l->guests; *at != NULL; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            l->guest_count--;
            break;
        }
}

static void free_guest(struct guest *g)
{
    unlink_guest(g);
    peer_socket_close(g->socket);
    if (g->handshake != NULL)
        g->handshake->done = NULL;
    tls_peer_free(g->peer);
    if (g->tcp >= 0)
        close(g->tcp);
    free(g);
}

static void send_away(struct guest *g, const char *why)
{
    struct listener *l = g->listener;
    if (why != NULL)
        l->rejected(l->arg, g->source, why);
    free_guest(g);
}

void listener_beat(struct listener *l)
{
    uint64_t now = clock_mono_ms();
    struct guest *next;
    for (struct guest *g = l->guests; g != NULL; g = next) {
        next = g->next;
        if (g->deadline_ms <= now)
            send_away(g, g->handshake != NULL
                             ? "made no TLS handshake in time"
                             : "said no complete hello in time");
    }
    if (l->untaken)
        take(l);
}

void listener_close(struct listener *l)
{
    while (l->guests != NULL)
        send_away(l->guests, NULL);
    if (l->open && !uv_is_closing((uv_handle_t *)&l->tcp))
        uv_close((uv_handle_t *)&l->tcp, NULL);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct guest *g = ((struct peer_socket *)handle)->owner;
    *buf = uv_buf_init((char *)g->data + g->size,
                       (unsigned)(sizeof g->data - g->size));
}

/* Is it, by its certificate, who it says it is? */
static bool is_proven(struct guest *g, const struct hello *hello,
                      struct hello_answer *answer)
{
    struct listener *l = g->listener;
    const char *address = l->tls == NULL ? "" : l->claim(l->arg, hello);
    struct lookup claimed;
    if (address[0] == '\0')
        return true;
    if (lookup_parse(address, &claimed) == 0 &&
        tls_peer_is_named(g->peer, claimed.host))
        return true;
    char names[64];
    tls_peer_names(g->peer, names, sizeof names);
    answer->code = HELLO_UNPROVEN;
    answer->raft_id = 1; /* nothing is told to it */
    snprintf(answer->text, sizeof answer->text,
             "the certificate names %.48s, not %.48s", names, address);
    return false;
}

static void decide(struct guest *g, const struct hello *hello)
{
    struct listener *l = g->listener;
    struct hello_answer answer = {0};
    if (hello->version != HELLO_VERSION) {
        answer.code = HELLO_BAD_VERSION;
        snprintf(answer.text, sizeof answer.text,
                 "this node speaks version %d of the peer protocol, not %u",
                 HELLO_VERSION, hello->version);
        answer.raft_id = 1; /* no id is told to a version we do not know */
    } else if (is_proven(g, hello, &answer)) {
        l->judge(l->arg, hello, &answer);
    }
    uint8_t data[HELLO_ANSWER_SIZE];
    hello_answer_encode(&answer, data);
    uv_buf_t buf = uv_buf_init((char *)data, sizeof data);
    uv_stream_t *stream = &g->socket->as.stream;
    uv_read_stop(stream);
    bool told = uv_try_write(stream, &buf, 1) == HELLO_ANSWER_SIZE;
    if (answer.code != HELLO_OK) {
        /* Who is only too early will be back. */
        send_away(g, answer.code == HELLO_NOT_READY ? NULL : answer.text);
    } else if (hello_ends_with_answer(hello->channel) || !told) {
        send_away(g, NULL);
    } else {
        if (hello->channel == HELLO_BULK)
            peer_socket_bound_silence(g->tcp, PEER_IO_SILENCE_S_MAX * 1000);
        g->socket->owner = NULL;
        g->socket = NULL;
        free_guest(g);
        l->welcome(l->arg, hello, stream);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct guest *g = ((struct peer_socket *)stream)->owner;
    if (n == 0)
        return;
    if (n < 0) {
        send_away(g, g->size == 0 ? NULL : "hung up in its hello");
        return;
    }
    g->size += (size_t)n;
    struct hello hello;
    struct errmsg e;
    int rv = hello_decode((struct bytes){g->data, g->size}, &hello, &e);
    if (rv < 0)
        send_away(g, g->data[0] == TLS_RECORD_HANDSHAKE
                         ? "speaks TLS, and this node was started without"
                         : e.text);
    else if (rv == 1)
        decide(g, &hello);
}

static void name_source(struct guest *g)
{
    struct sockaddr_storage from;
    int size = sizeof from;
    if (uv_tcp_getpeername(&g->socket->as.tcp, (struct sockaddr *)&from,
                           &size) != 0)
        snprintf(g->source, sizeof g->source, "?");
    else if (from.ss_family == AF_INET6)
        uv_ip6_name((struct sockaddr_in6 *)&from, g->source, sizeof g->source);
    else
        uv_ip4_name((struct sockaddr_in *)&from, g->source, sizeof g->source);
}

/* Who makes room for @newest. Those who say nothing must not keep peers out: a
 * source with many guests loses its own oldest, or else the oldest of all goes.
 * A peer says its hello at once, so it is hardly ever that one. */
static struct guest *longest_waiting(struct guest *newest)
{
    struct guest *oldest = newest, *oldest_of_source = newest;
    size_t of_source = 0;
    for (struct guest *g = newest; g != NULL; g = g->next) {
        oldest = g;
        if (strcmp(g->source, newest->source) == 0) {
            oldest_of_source = g;
            of_source++;
        }
    }
    return of_source > LISTENER_GUESTS_OF_SOURCE ? oldest_of_source : oldest;
}

static void listen_to(struct guest *g)
{
    if (uv_read_start(&g->socket->as.stream, on_alloc, on_read) != 0)
        send_away(g, NULL);
}

static void on_secured(struct tls_handshake *h, void *arg)
{
    struct guest *g = arg;
    int code = 0;
    g->handshake = NULL;
    g->peer = h->peer;
    if (h->fd < 0) {
        char why[sizeof h->why + 8];
        snprintf(why, sizeof why, "TLS: %s", h->why);
        send_away(g, h->silent ? NULL : why);
        return;
    }
    g->socket = peer_socket_create_secured(g->listener->loop, h, g, &code);
    if (g->socket == NULL)
        send_away(g, uv_strerror(code));
    else
        listen_to(g);
}

static struct guest *add_guest(struct listener *l)
{
    struct guest *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    int code;
    g->socket = peer_socket_create(l->loop, g, &code);
    if (g->socket == NULL) {
        free(g);
        return NULL;
    }
    g->listener = l;
    g->tcp = -1;
    g->next = l->guests;
    g->deadline_ms = clock_mono_ms() + HELLO_TIMEOUT_MS;
    l->guests = g;
    l->guest_count++;
    return g;
}

/* libuv stops listening until the connection that it told of is accepted: when
 * there is no memory for it, the next beat tries again. */
static void take(struct listener *l)
{
    struct guest *g = add_guest(l);
    l->untaken = g == NULL;
    if (g == NULL)
        return;
    if (uv_accept((uv_stream_t *)&l->tcp, &g->socket->as.stream) != 0) {
        send_away(g, NULL);
        return;
    }
    name_source(g);
    peer_socket_prepare(g->socket, l->silence_ms);
    g->tcp = peer_socket_duplicate(g->socket);
    if (l->guest_count > LISTENER_GUESTS_MAX)
        send_away(longest_waiting(g), "too many connections without a hello");
    if (l->tls == NULL) {
        listen_to(g);
        return;
    }
    struct peer_socket *socket = g->socket;
    g->socket = NULL;
    g->handshake = peer_socket_secure(socket, l->tls, NULL, on_secured, g);
    if (g->handshake == NULL)
        send_away(g, "out of memory or descriptors");
}

static void on_connection(uv_stream_t *server, int status)
{
    if (status == 0)
        take(server->data);
}
