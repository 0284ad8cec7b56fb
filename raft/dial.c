#include "raft/dial.h"

#include "base/clock.h"
#include "raft/peer_io.h"

#include <stdio.h>
#include <stdlib.h>

struct dial {
    struct dialer *dialer;
    struct dial *next;
    enum hello_channel channel;
    uint64_t target_id;
    dial_fn *fn;
    void *arg;
    uint64_t deadline_ms;
    uint64_t address_deadline_ms;   /* of the one that is tried */
    char host[HOST_LENGTH_MAX + 1]; /* whom a certificate must name */
    struct lookup *lookup; /* owned by the resolver while it is asked */
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t address_count, tried;
    struct peer_socket *socket;      /* owned, or NULL */
    struct tls_handshake *handshake; /* the pump's while it is under way */
    bool connected;                  /* to the one that is tried */
    bool secured;                    /* @socket is behind TLS */
    uint8_t answer[HELLO_ANSWER_SIZE + 1];
    size_t answered;
    char why[160]; /* set: fails at the next beat */
};

static void try_next(struct dial *d);
static void next_or_fail(struct dial *d, const char *what, const char *why);
static void finish(struct dial *d, uv_stream_t *stream,
                   const struct hello_answer *answer, const char *why);

static void fail_later(struct dial *d, const char *why)
{
    snprintf(d->why, sizeof d->why, "%s", why);
    d->deadline_ms = 0;
}

static void on_lookup(struct lookup *lookup, void *arg)
{
    struct dial *d = arg;
    d->lookup = NULL;
    if (lookup->count == 0) {
        snprintf(d->why, sizeof d->why, "%.64s: %s", lookup->host, lookup->why);
        d->deadline_ms = 0;
        return;
    }
    memcpy(d->addresses, lookup->addresses, sizeof d->addresses);
    d->address_count = lookup->count;
    try_next(d);
}

struct dial *dial_start(struct dialer *dialer, enum hello_channel channel,
                        uint64_t target_id, const char *address, dial_fn *fn,
                        void *arg)
{
    struct dial *d = calloc(1, sizeof *d);
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (d == NULL || lookup == NULL) {
        free(d);
        free(lookup);
        return NULL;
    }
    *d = (struct dial){.dialer = dialer,
                       .next = dialer->dials,
                       .channel = channel,
                       .target_id = target_id,
                       .fn = fn,
                       .arg = arg,
                       .deadline_ms = clock_mono_ms() + DIAL_TIMEOUT_MS};
    dialer->dials = d;
    if (lookup_parse(member_address_dial(address), lookup) != 0) {
        fail_later(d, "the address is not host:port");
        free(lookup);
        return d;
    }
    memcpy(d->host, lookup->host, sizeof d->host);
    if (lookup->count > 0) {
        on_lookup(lookup, d);
        free(lookup);
    } else {
        lookup->done = on_lookup;
        lookup->arg = d;
        d->lookup = lookup;
        resolver_ask(dialer->resolver, lookup);
    }
    return d;
}

static void drop_socket(struct dial *d)
{
    peer_socket_close(d->socket);
    d->socket = NULL;
    if (d->handshake != NULL)
        d->handshake->done = NULL;
    d->handshake = NULL;
}

void dial_cancel(struct dial *d)
{
    if (d == NULL)
        return;
    for (struct dial **at = &d->dialer->dials; *at != NULL; at = &(*at)->next)
        if (*at == d) {
            *at = d->next;
            break;
        }
    resolver_cancel(d->dialer->resolver, d->lookup);
    drop_socket(d);
    free(d);
}

void dialer_beat(struct dialer *dialer)
{
    uint64_t now = clock_mono_ms();
    /* A callback may start or cancel dials: look from the start again. */
    for (struct dial *d = dialer->dials; d != NULL;)
        if (d->deadline_ms <= now) {
            char why[sizeof d->why];
            snprintf(why, sizeof why, "%s",
                     d->why[0] != '\0' ? d->why : "timed out");
            finish(d, NULL, NULL, why);
            d = dialer->dials;
        } else {
            if (d->tried > 0 && d->tried < d->address_count && !d->connected &&
                d->address_deadline_ms <= now)
                next_or_fail(d, "connect", "timed out");
            d = d->next;
        }
}

void dialer_close(struct dialer *dialer)
{
    while (dialer->dials != NULL)
        dial_cancel(dialer->dials);
}

/* --- one attempt ---------------------------------------------------------- */

static void finish(struct dial *d, uv_stream_t *stream,
                   const struct hello_answer *answer, const char *why)
{
    dial_fn *fn = d->fn;
    void *arg = d->arg;
    if (stream != NULL) {
        d->socket->owner = NULL;
        d->socket = NULL;
    }
    dial_cancel(d);
    fn(arg, stream, answer, why);
}

/* The next address, or the end. Not inside dial_start's caller: failures wait
 * for the beat. */
static void next_or_fail(struct dial *d, const char *what, const char *why)
{
    snprintf(d->why, sizeof d->why, "%s: %s", what, why);
    drop_socket(d);
    if (d->tried < d->address_count)
        try_next(d);
    else
        d->deadline_ms = 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct dial *d = ((struct peer_socket *)handle)->owner;
    *buf = uv_buf_init((char *)d->answer + d->answered,
                       (unsigned)(sizeof d->answer - d->answered));
}

/* Does the answer come from whom we wanted, and is it a yes? */
static void judge(struct dial *d, const struct hello_answer *answer)
{
    const char *why = NULL;
    if (answer->version != HELLO_VERSION)
        why = "the peer speaks another version of the peer protocol";
    else if (hello_ends_with_answer(d->channel))
        why = NULL;
    else if (answer->code != HELLO_OK)
        why = answer->text;
    else if (d->target_id != 0 && answer->raft_id != d->target_id)
        why = "another node answers at this address";
    else if (memcmp(answer->cluster_id, d->dialer->me.cluster_id,
                    CLUSTER_ID_SIZE) != 0)
        why = "a node of another cluster answers at this address";
    uv_read_stop(&d->socket->as.stream);
    if (why != NULL)
        finish(d, NULL, answer, why);
    else
        finish(d, &d->socket->as.stream, answer, "");
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct dial *d = ((struct peer_socket *)stream)->owner;
    if (n == 0)
        return;
    if (n < 0) {
        /* In TLS 1.3 the client is done before the server has looked at its
         * certificate: a refusal comes as an end. */
        next_or_fail(d, "hello",
                     d->secured && d->answered == 0
                         ? "it hung up, maybe because of this node's "
                           "certificate: its log says why"
                         : uv_strerror((int)n));
        return;
    }
    d->answered += (size_t)n;
    struct hello_answer answer;
    struct errmsg e;
    int rv = hello_answer_decode((struct bytes){d->answer, d->answered},
                                 &answer, &e);
    if (rv < 0)
        finish(d, NULL, NULL, e.text);
    else if (rv == 1)
        judge(d, &answer);
}

static void say_hello(struct dial *d)
{
    struct hello hello = d->dialer->me;
    hello.channel = d->channel;
    hello.target_id = d->target_id;
    uint8_t data[HELLO_SIZE];
    hello_encode(&hello, data);
    uv_buf_t buf = uv_buf_init((char *)data, sizeof data);
    int rv = uv_try_write(&d->socket->as.stream, &buf, 1);
    if (rv == HELLO_SIZE)
        rv = uv_read_start(&d->socket->as.stream, on_alloc, on_read);
    else if (rv >= 0)
        rv = UV_EAGAIN; /* a fresh socket has room for one hello */
    if (rv < 0)
        next_or_fail(d, "hello", uv_strerror(rv));
}

static void on_secured(struct tls_handshake *h, void *arg)
{
    struct dial *d = arg;
    int code = 0;
    d->handshake = NULL;
    tls_peer_free(h->peer); /* it names d->host, that is all */
    if (h->fd < 0) {
        next_or_fail(d, "TLS", h->why);
        return;
    }
    d->socket = peer_socket_create_secured(d->dialer->loop, h, d, &code);
    d->secured = true;
    if (d->socket == NULL)
        next_or_fail(d, "TLS", uv_strerror(code));
    else
        say_hello(d);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct peer_socket *socket = CONTAINER_OF(req, struct peer_socket, connect);
    struct dial *d = socket->owner;
    if (d == NULL)
        return;
    if (status != 0) {
        next_or_fail(d, "connect", uv_strerror(status));
        return;
    }
    d->connected = true;
    peer_socket_prepare(socket, d->channel == HELLO_BULK
                                    ? PEER_IO_SILENCE_S_MAX * 1000
                                    : d->dialer->silence_ms);
    if (d->dialer->tls == NULL) {
        say_hello(d);
        return;
    }
    d->socket = NULL;
    d->handshake =
        peer_socket_secure(socket, d->dialer->tls, d->host, on_secured, d);
    if (d->handshake == NULL)
        next_or_fail(d, "TLS", "out of memory");
}

static void try_next(struct dial *d)
{
    int rv = 0;
    d->socket = peer_socket_create(d->dialer->loop, d, &rv);
    if (d->socket == NULL) {
        fail_later(d, uv_strerror(rv));
        return;
    }
    d->answered = 0;
    d->connected = d->secured = false;
    /* One that swallows what it is sent leaves time for the others. */
    uint64_t now = clock_mono_ms();
    d->address_deadline_ms = now + clock_elapsed(now, d->deadline_ms) /
                                       (d->address_count - d->tried);
    const struct sockaddr *to =
        (const struct sockaddr *)&d->addresses[d->tried++];
    rv =
        uv_tcp_connect(&d->socket->connect, &d->socket->as.tcp, to, on_connect);
    if (rv != 0)
        next_or_fail(d, "connect", uv_strerror(rv));
}

void dial_tell_failure(struct events *events, const char *address,
                       const struct hello_answer *answer, const char *why)
{
    char source[MEMBER_ADDRESS_LENGTH_MAX + 16];
    snprintf(source, sizeof source, "dial %s", address);
    if (!events_may_tell(events, source, clock_mono_ms()))
        return;
    /* A refusal is somebody's mistake; silence is an ordinary outage. */
    if (answer != NULL && answer->code != HELLO_NOT_READY)
        events_warn(events, "peer_refused", "%s: %s", address, why);
    else
        events_info(events, "peer_unreachable", "%s: %s", address, why);
}
