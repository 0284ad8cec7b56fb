#include "raft/listener.h"

#include "base/clock.h"
#include "raft/dial.h"

#include <raft.h>

#include <stdio.h>
#include <string.h>

enum { BACKLOG = 64 };

/* A connection before its hello is complete. The stream comes first: whoever
 * gets it frees it by that address. */
struct guest {
    uv_tcp_t tcp;
    struct listener *listener;
    struct guest *next;
    uint64_t deadline_ms;
    char source[INET6_ADDRSTRLEN];
    uint8_t data[HELLO_SIZE + 1]; /* one more: to see what must not be there */
    size_t size;
};

static void on_connection(uv_stream_t *server, int status);

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

static void on_guest_closed(uv_handle_t *handle)
{
    raft_free(handle);
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

static void send_away(struct guest *g, const char *why)
{
    struct listener *l = g->listener;
    unlink_guest(g);
    uv_close((uv_handle_t *)&g->tcp, on_guest_closed);
    if (why != NULL)
        l->rejected(l->arg, g->source, why);
}

void listener_beat(struct listener *l)
{
    uint64_t now = clock_mono_ms();
    struct guest *next;
    for (struct guest *g = l->guests; g != NULL; g = next) {
        next = g->next;
        if (g->deadline_ms <= now)
            send_away(g, "said no complete hello in time");
    }
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
    struct guest *g = (struct guest *)handle;
    *buf = uv_buf_init((char *)g->data + g->size,
                       (unsigned)(sizeof g->data - g->size));
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
    } else {
        l->judge(l->arg, hello, &answer);
    }
    uint8_t data[HELLO_ANSWER_SIZE];
    hello_answer_encode(&answer, data);
    uv_buf_t buf = uv_buf_init((char *)data, sizeof data);
    uv_read_stop((uv_stream_t *)&g->tcp);
    bool told =
        uv_try_write((uv_stream_t *)&g->tcp, &buf, 1) == HELLO_ANSWER_SIZE;
    if (answer.code != HELLO_OK) {
        send_away(g, answer.text);
    } else if (hello_ends_with_answer(hello->channel) || !told) {
        send_away(g, NULL);
    } else {
        unlink_guest(g);
        l->welcome(l->arg, hello, (uv_stream_t *)&g->tcp);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct guest *g = (struct guest *)stream;
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
        send_away(g, e.text);
    else if (rv == 1)
        decide(g, &hello);
}

static void name_source(struct guest *g)
{
    struct sockaddr_storage from;
    int size = sizeof from;
    if (uv_tcp_getpeername(&g->tcp, (struct sockaddr *)&from, &size) != 0)
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

static void on_connection(uv_stream_t *server, int status)
{
    struct listener *l = server->data;
    if (status != 0)
        return;
    struct guest *g = raft_malloc(sizeof *g);
    if (g == NULL)
        return; /* libuv asks again at the next connection */
    memset(g, 0, sizeof *g);
    if (uv_tcp_init(l->loop, &g->tcp) != 0) {
        raft_free(g);
        return;
    }
    g->listener = l;
    g->next = l->guests;
    g->deadline_ms = clock_mono_ms() + HELLO_TIMEOUT_MS;
    l->guests = g;
    l->guest_count++;
    if (uv_accept(server, (uv_stream_t *)&g->tcp) != 0) {
        send_away(g, NULL);
        return;
    }
    name_source(g);
    peer_socket_prepare(&g->tcp, l->silence_ms);
    if (l->guest_count > LISTENER_GUESTS_MAX)
        send_away(longest_waiting(g), "too many connections without a hello");
    if (uv_read_start((uv_stream_t *)&g->tcp, on_alloc, on_read) != 0)
        send_away(g, NULL);
}
