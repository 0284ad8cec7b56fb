/* defguard's Config and Updates, served from this node's replica with or
 * without a leader, so that a gateway that restarts gets its VPN. Config notes
 * the log index of its answer for the connection, Updates goes on from there:
 * nothing falls between the two. reference sections 1.5, 1.6 and 4 */
#include "node/gateway_config.h"
#include "node/rpc_call.h"

#include "proto/gateway_messages.h"

#include <stdio.h>

/* --- Config ----------------------------------------------------------------
 */

static void config_open(struct call *c)
{
    call_read(c);
}

/* Refused for a while when leaderless, so that the gateway can find a side that
 * has a quorum. */
static bool config_is_refused(const struct rpc_server *g)
{
    return g->ingest.now_ms < g->config_refused_until_ms;
}

static void config_message(struct call *c, struct bytes message)
{
    struct rpc_server *g = c->server;
    struct registration told = {0};
    struct errmsg e;
    struct bytes name;
    struct buf scratch = {0};
    int rv = configuration_request_decode(message, &scratch, &name, &e);
    if (rv == 0 && name.size > IDENTITY_LENGTH_MAX)
        rv = errmsg_set(&e, ERR_INVALID, "name: at most %d bytes",
                        IDENTITY_LENGTH_MAX);
    if (rv == 0 && name.size > 0)
        memcpy(told.name, name.data, name.size);
    buf_deinit(&scratch);
    if (rv != 0) {
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "%s", e.text);
        return;
    }
    if (config_is_refused(g)) {
        call_finish(c, GRPC_STATUS_UNAVAILABLE,
                    "this node has had no leader for a while; another may");
        return;
    }
    /* An old answer would make the gateway drop peers that are there. */
    if (!node_is_ready(g->node)) {
        call_finish(c, GRPC_STATUS_UNAVAILABLE,
                    "this node has not caught up yet: try again");
        return;
    }
    buf_clear(&g->out);
    rv = gateway_configuration_encode(g->node->store, c->location, &g->out,
                                      &told.index);
    if (rv == 0)
        rv = registrations_note(&g->registrations, c->location, c->hostname,
                                c->connection, &told);
    if (rv != 0)
        call_finish(c, GRPC_STATUS_INTERNAL, "Network %u: %s", c->location,
                    err_text(rv));
    else
        call_reply(c, buf_bytes(&g->out));
}

/* A unary call without its message. */
static void config_half_closed(struct call *c)
{
    call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "the request is missing");
}

const struct method method_config = {
    .path = "/gateway.GatewayService/Config",
    .size = sizeof(struct call),
    .who = FOR_DEFGUARD,
    .open = config_open,
    .message = config_message,
    .half_closed = config_half_closed,
};

/* --- Updates ---------------------------------------------------------------
 */

struct updates_call {
    struct call call;
    struct updates updates;
    uint64_t generation; /* of the roster, that `updates` has seen */
    bool open;
};

static struct updates_call *updates_of(struct call *c)
{
    return CONTAINER_OF(c, struct updates_call, call);
}

/* Sends the next message; looks for more changes when all is sent. One message
 * is on its way at a time, so that a slow gateway holds one queue, not many. */
static void updates_go_on(struct call *c)
{
    struct updates_call *u = updates_of(c);
    struct rpc_server *g = c->server;
    struct bytes message;
    if (!u->open || c->ended || c->sending)
        return;
    if (!updates_next(&u->updates, &message)) {
        if (u->generation == g->roster_generation)
            return;
        u->generation = g->roster_generation;
        int rv = updates_collect(&u->updates, g->changes);
        if (rv != 0) {
            call_finish(c, GRPC_STATUS_UNAVAILABLE,
                        "too far behind: ask for Config again");
            return;
        }
        if (!updates_next(&u->updates, &message))
            return;
    }
    call_send(c, message);
}

static void updates_open(struct call *c)
{
    struct updates_call *u = updates_of(c);
    struct rpc_server *g = c->server;
    const struct registration *told = registrations_find(
        &g->registrations, c->location, c->hostname, c->connection);
    if (told == NULL) {
        call_finish(c, GRPC_STATUS_INTERNAL,
                    "Failed to connect gateway on network %u: no Config "
                    "before Updates on this connection",
                    c->location);
        return;
    }
    int rv =
        updates_init(&u->updates, g->node->store, c->location, told->index);
    if (rv != 0) {
        call_finish(c, GRPC_STATUS_INTERNAL, "Network %u: %s", c->location,
                    err_text(rv));
        return;
    }
    u->open = true;
    u->generation = g->roster_generation - 1; /* look once in any case */
    atomic_fetch_add(&g->node->ingest.updates_connected, 1);
    /* The gateway waits for the headers before it applies its Config. */
    call_headers(c);
    call_read(c);
    updates_go_on(c);
}

/* The request, which is empty. */
static void updates_message(struct call *c, struct bytes message)
{
    (void)message;
    (void)c;
}

static void updates_closed(struct call *c)
{
    struct updates_call *u = updates_of(c);
    if (u->open)
        atomic_fetch_sub(&c->server->node->ingest.updates_connected, 1);
    u->open = false;
}

static void updates_release(struct call *c)
{
    updates_deinit(&updates_of(c)->updates);
}

const struct method method_updates = {
    .path = "/gateway.GatewayService/Updates",
    .size = sizeof(struct updates_call),
    .who = FOR_DEFGUARD,
    .open = updates_open,
    .message = updates_message,
    .sent = updates_go_on,
    .tick = updates_go_on,
    .closed = updates_closed,
    .release = updates_release,
};
