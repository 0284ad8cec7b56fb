#define _GNU_SOURCE /* TCP_USER_TIMEOUT */
#include "raft/dial.h"

#include "base/clock.h"

#include <raft.h>

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>

/* A socket of a dial. The stream comes first, because whoever gets it frees it
 * by that address. */
struct wire {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct dial *dial; /* NULL: being closed, or handed over */
};

struct dial {
    struct dialer *dialer;
    struct dial *next;
    enum hello_channel channel;
    uint64_t target_id;
    dial_fn *fn;
    void *arg;
    uint64_t deadline_ms;
    struct lookup *lookup; /* owned by the resolver while it is asked */
    struct sockaddr_storage addresses[LOOKUP_ADDRESSES_MAX];
    size_t address_count, tried;
    struct wire *wire; /* owned, or NULL */
    uint8_t answer[HELLO_ANSWER_SIZE + 1];
    size_t answered;
    char why[160]; /* set: fails at the next beat */
};

static void try_next(struct dial *d);
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
    } else if (lookup->count > 0) {
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

static void on_wire_closed(uv_handle_t *handle)
{
    raft_free(handle);
}

static void drop_wire(struct dial *d)
{
    if (d->wire == NULL)
        return;
    d->wire->dial = NULL;
    uv_close((uv_handle_t *)&d->wire->tcp, on_wire_closed);
    d->wire = NULL;
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
    if (d->lookup != NULL)
        d->lookup->done = NULL;
    drop_wire(d);
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
            d = d->next;
        }
}

void dialer_close(struct dialer *dialer)
{
    while (dialer->dials != NULL)
        dial_cancel(dialer->dials);
}

void peer_socket_prepare(uv_tcp_t *tcp, unsigned silence_ms)
{
    /* Measured: without no-delay 461 instead of 6,000 entries/s; without the
     * user timeout a dead peer is noticed after a quarter of an hour. A socket
     * that refuses an option still works, so errors are ignored. */
    uv_tcp_nodelay(tcp, 1);
    uv_tcp_keepalive(tcp, 1, 5);
    uv_os_fd_t fd;
    if (uv_fileno((const uv_handle_t *)tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms,
                   sizeof silence_ms);
}

/* --- one attempt ---------------------------------------------------------- */

static void finish(struct dial *d, uv_stream_t *stream,
                   const struct hello_answer *answer, const char *why)
{
    dial_fn *fn = d->fn;
    void *arg = d->arg;
    if (stream != NULL) {
        d->wire->dial = NULL;
        d->wire = NULL;
    }
    dial_cancel(d);
    fn(arg, stream, answer, why);
}

/* The next address, or the end. Not inside dial_start's caller: failures wait
 * for the beat. */
static void next_or_fail(struct dial *d, const char *what, int code)
{
    snprintf(d->why, sizeof d->why, "%s: %s", what, uv_strerror(code));
    drop_wire(d);
    if (d->tried < d->address_count)
        try_next(d);
    else
        d->deadline_ms = 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct dial *d = ((struct wire *)handle)->dial;
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
    uv_read_stop((uv_stream_t *)&d->wire->tcp);
    if (why != NULL)
        finish(d, NULL, answer, why);
    else
        finish(d, (uv_stream_t *)&d->wire->tcp, answer, "");
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct dial *d = ((struct wire *)stream)->dial;
    if (n == 0)
        return;
    if (n < 0) {
        next_or_fail(d, "hello", (int)n);
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

static void on_connect(uv_connect_t *req, int status)
{
    struct wire *wire = CONTAINER_OF(req, struct wire, connect);
    struct dial *d = wire->dial;
    if (d == NULL)
        return;
    if (status != 0) {
        next_or_fail(d, "connect", status);
        return;
    }
    peer_socket_prepare(&wire->tcp, d->dialer->silence_ms);
    struct hello hello = d->dialer->me;
    hello.channel = d->channel;
    hello.target_id = d->target_id;
    uint8_t data[HELLO_SIZE];
    hello_encode(&hello, data);
    uv_buf_t buf = uv_buf_init((char *)data, sizeof data);
    int rv = uv_try_write((uv_stream_t *)&wire->tcp, &buf, 1);
    if (rv == HELLO_SIZE)
        rv = uv_read_start((uv_stream_t *)&wire->tcp, on_alloc, on_read);
    else if (rv >= 0)
        rv = UV_EAGAIN; /* a fresh socket has room for one hello */
    if (rv < 0)
        next_or_fail(d, "hello", rv);
}

static void try_next(struct dial *d)
{
    struct wire *wire = raft_malloc(sizeof *wire);
    if (wire == NULL) {
        fail_later(d, "out of memory");
        return;
    }
    memset(wire, 0, sizeof *wire);
    int rv = uv_tcp_init(d->dialer->loop, &wire->tcp);
    if (rv != 0) {
        raft_free(wire);
        fail_later(d, uv_strerror(rv));
        return;
    }
    wire->dial = d;
    d->wire = wire;
    d->answered = 0;
    const struct sockaddr *to =
        (const struct sockaddr *)&d->addresses[d->tried++];
    rv = uv_tcp_connect(&wire->connect, &wire->tcp, to, on_connect);
    if (rv != 0)
        next_or_fail(d, "connect", rv);
}
