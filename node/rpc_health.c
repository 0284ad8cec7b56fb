/* grpc.health.v1: SERVING while this node takes reports: it is ready, not about
 * to stop, and there was a leader within the last 30 s. */
#include "node/rpc_call.h"

#include "proto/gateway_messages.h"

/* Anybody may ask, so a request that does not come, or never ends, may hold
 * memory only for a moment, and only so many of them at once. */
enum { REQUEST_MS_MAX = 5000, REQUESTS_MAX = 64 };

struct health_call {
    struct call call;
    uint64_t due_ms; /* monotonic; 0: the request came */
    bool watching;
    bool told, serving;
};

static bool service_is_known(struct bytes service)
{
    static const char *const names[] = {"", "gateway.GatewayService",
                                        "holdfast.v1.Stats"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (bytes_equal(service, bytes_of_string(names[i])))
            return true;
    return false;
}

static void health_open(struct call *c)
{
    struct health_call *h = CONTAINER_OF(c, struct health_call, call);
    if (c->server->health_requests >= REQUESTS_MAX) {
        call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
                    "too many unfinished health requests");
        return;
    }
    c->server->health_requests++;
    h->due_ms = c->server->ingest.now_ms + REQUEST_MS_MAX;
    call_read(c);
}

/* The request came, or will not. */
static void request_over(struct call *c)
{
    struct health_call *h = CONTAINER_OF(c, struct health_call, call);
    if (h->due_ms == 0)
        return;
    h->due_ms = 0;
    c->server->health_requests--;
}

static void request_tick(struct call *c)
{
    struct health_call *h = CONTAINER_OF(c, struct health_call, call);
    if (h->due_ms != 0 && c->server->ingest.now_ms >= h->due_ms)
        call_finish(c, GRPC_STATUS_DEADLINE_EXCEEDED,
                    "the request did not come within %d s",
                    REQUEST_MS_MAX / 1000);
}

/* False when the call is finished with an error. */
static bool check_request(struct call *c, struct bytes message)
{
    request_over(c);
    struct buf scratch = {0};
    struct bytes service;
    struct errmsg e;
    int rv = health_request_decode(message, &scratch, &service, &e);
    if (rv != 0)
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "%s", e.text);
    else if (!service_is_known(service))
        call_finish(c, GRPC_STATUS_NOT_FOUND, "unknown service");
    buf_deinit(&scratch);
    return !c->ended;
}

static void check_message(struct call *c, struct bytes message)
{
    struct rpc_server *g = c->server;
    if (!check_request(c, message))
        return;
    buf_clear(&g->out);
    health_response_encode(&g->out, g->serving);
    call_reply(c, buf_bytes(&g->out));
}

static void check_half_closed(struct call *c)
{
    call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "the request is missing");
}

const struct method method_health_check = {
    .path = "/grpc.health.v1.Health/Check",
    .size = sizeof(struct health_call),
    .who = FOR_ANYBODY,
    .open = health_open,
    .message = check_message,
    .half_closed = check_half_closed,
    .closed = request_over,
    .tick = request_tick,
};

static void watch_go_on(struct call *c)
{
    struct health_call *w = CONTAINER_OF(c, struct health_call, call);
    struct rpc_server *g = c->server;
    if (!w->watching || c->ended || c->sending ||
        (w->told && w->serving == g->serving))
        return;
    w->told = true;
    w->serving = g->serving;
    buf_clear(&g->out);
    health_response_encode(&g->out, g->serving);
    call_send(c, buf_bytes(&g->out));
}

static void watch_tick(struct call *c)
{
    request_tick(c);
    watch_go_on(c);
}

static void watch_message(struct call *c, struct bytes message)
{
    struct health_call *w = CONTAINER_OF(c, struct health_call, call);
    w->watching = check_request(c, message);
    watch_go_on(c);
}

const struct method method_health_watch = {
    .path = "/grpc.health.v1.Health/Watch",
    .size = sizeof(struct health_call),
    .who = FOR_ANYBODY,
    .open = health_open,
    .message = watch_message,
    .sent = watch_go_on,
    .closed = request_over,
    .tick = watch_tick,
};
