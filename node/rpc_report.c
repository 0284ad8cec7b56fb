/* holdfast.v1.Stats/Report: our agents' batches, acknowledged when a majority
 * has them. What to submit when is ingest_native's; here are the messages, the
 * statuses and the backpressure (no room: the next message is not read).
 * CONTRACT, "gRPC", 2 */
#include "node/ingest_native.h"
#include "node/rpc_call.h"

#include "base/log.h"

struct report_call {
    struct call call;
    struct native_stream stream;
    bool open;
    bool awaited; /* nothing comes before all is acknowledged */
};

static struct report_call *report_of(struct call *c)
{
    return CONTAINER_OF(c, struct report_call, call);
}

static void send_ack(struct call *c, uint64_t sequence, uint64_t applied_index)
{
    struct rpc_server *g = c->server;
    struct report_ack ack = {
        .sequence = sequence,
        .applied_index = applied_index,
        .leader = bytes_of_string(g->leader_name),
    };
    struct report_call *r = report_of(c);
    buf_clear(&g->out);
    report_ack_encode(&g->out, &ack);
    if (r->awaited && r->stream.count == 0) {
        r->awaited = false;
        call_answer(c, buf_bytes(&g->out));
    } else {
        call_send(c, buf_bytes(&g->out));
    }
}

/* Another stream of the same agent id here; NULL: none. */
static const struct call *other_host(const struct call *c)
{
    const struct call *o = c->server->calls;
    while (o != NULL && (o == c || o->method != c->method || o->ended ||
                         o->location != c->location ||
                         strcmp(o->identity, c->identity) != 0))
        o = o->next;
    return o;
}

/* Names both hosts: one by its address, the other by its address where it
 * reports to this node, each by its machine, which its agent prints at start.
 */
static void tell_superseded(const struct call *c, const struct native_stream *s)
{
    struct roster *r = s->ingest->roster;
    const struct call *other = other_host(c);
    uint64_t machine = 0;
    roster_read_lock(r);
    const struct gateway *g =
        roster_gateway(r, roster_gateway_by_identity(
                              r, c->location, GATEWAY_NATIVE,
                              bytes_of_string(c->identity), (struct bytes){0}));
    if (g != NULL)
        machine = g->machine;
    roster_read_unlock(r);
    log_warn("two_hosts",
             "agent %s of location %u at %s (machine %016llx) is "
             "superseded by session %llu from %s (machine %016llx): give each "
             "its own --gateway-id",
             c->identity, c->location, c->address,
             (unsigned long long)s->machine, (unsigned long long)s->end_value,
             other != NULL ? other->address : "elsewhere",
             (unsigned long long)machine);
}

/* One acknowledgement on its way at a time: while it is, those that follow
 * gather into one. */
static void report_go_on(struct call *c)
{
    struct native_stream *s = &report_of(c)->stream;
    uint64_t sequence, applied_index;
    if (!report_of(c)->open || c->ended)
        return;
    if (!c->sending && native_stream_ack(s, &sequence, &applied_index))
        send_ack(c, sequence, applied_index);
    if (s->end == STREAM_SUPERSEDED)
        tell_superseded(c, s);
    if (s->end != STREAM_GOES_ON)
        call_finish_stream(c, s->end, s->end_value);
    else if (c->half_closed && s->count == 0 && !s->ack_due)
        call_finish(c, GRPC_STATUS_OK, "%s", "");
    else if (!report_of(c)->awaited && native_stream_has_room(s))
        call_read(c);
}

static void report_tick(struct call *c)
{
    native_stream_pump(&report_of(c)->stream);
    report_go_on(c);
}

static void stream_changed(struct native_stream *s)
{
    struct call *c = s->arg;
    report_go_on(c);
    call_settle(c);
}

static void report_open(struct call *c)
{
    struct report_call *r = report_of(c);
    if (!call_has_room(c))
        return;
    native_stream_init(&r->stream, &c->server->ingest, stream_changed, c);
    r->open = true;
    atomic_fetch_add(&c->server->node->ingest.gateways_connected, 1);
    call_headers(c);
    call_read(c);
}

static void report_message(struct call *c, struct bytes message)
{
    struct rpc_server *g = c->server;
    struct ingest_counters *counters = g->ingest.counters;
    struct native_stream *s = &report_of(c)->stream;
    struct report_batch batch = {.peers = g->reports};
    struct reporter who = call_reporter(c, "");
    struct buf record = {0};
    struct errmsg e;
    atomic_fetch_add(&counters->messages, 1);
    if (report_batch_decode(message, &batch, &e) != 0) {
        atomic_fetch_add(&counters->rejected_malformed, 1);
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "%s", e.text);
        return;
    }
    atomic_fetch_add(&counters->reports, batch.peer_count);
    report_of(c)->awaited = batch.awaits_answer;
    if (native_record_encode(s, &who, &batch, &record) != 0 ||
        native_stream_add(s, batch.session, batch.sequence, &record) != 0)
        call_refuse_overload(c);
    buf_deinit(&record);
    report_go_on(c);
}

static void report_closed(struct call *c)
{
    struct report_call *r = report_of(c);
    if (!r->open)
        return;
    r->open = false;
    atomic_fetch_sub(&c->server->node->ingest.gateways_connected, 1);
    /* The agent sends again on its next stream what was not acknowledged. */
    native_stream_stop(&r->stream);
}

static bool report_busy(struct call *c)
{
    return report_of(c)->stream.in_flight > 0;
}

static void report_release(struct call *c)
{
    if (report_of(c)->stream.ingest != NULL)
        native_stream_deinit(&report_of(c)->stream);
}

const struct method method_report = {
    .path = "/holdfast.v1.Stats/Report",
    .size = sizeof(struct report_call),
    .who = FOR_AGENT,
    .open = report_open,
    .message = report_message,
    .half_closed = report_go_on,
    .sent = report_go_on,
    .tick = report_tick,
    .closed = report_closed,
    .busy = report_busy,
    .release = report_release,
};
