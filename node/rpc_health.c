/* grpc.health.v1: SERVING while this node takes reports: it is ready, not about
 * to stop, and there was a leader within the last 30 s. */
#include "node/rpc_call.h"

#include "proto/gateway_messages.h"

struct watch_call {
    struct call call;
    bool watching; /* the request came */
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
    call_read(c);
}

/* False when the call is finished with an error. */
static bool check_request(struct call *c, struct bytes message)
{
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
    .size = sizeof(struct call),
    .who = FOR_ANYBODY,
    .open = health_open,
    .message = check_message,
    .half_closed = check_half_closed,
};

static void watch_go_on(struct call *c)
{
    struct watch_call *w = CONTAINER_OF(c, struct watch_call, call);
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

static void watch_message(struct call *c, struct bytes message)
{
    struct watch_call *w = CONTAINER_OF(c, struct watch_call, call);
    w->watching = check_request(c, message);
    watch_go_on(c);
}

const struct method method_health_watch = {
    .path = "/grpc.health.v1.Health/Watch",
    .size = sizeof(struct watch_call),
    .who = FOR_ANYBODY,
    .open = health_open,
    .message = watch_message,
    .sent = watch_go_on,
    .tick = watch_go_on,
};
