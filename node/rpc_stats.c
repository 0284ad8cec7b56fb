/* defguard's Stats: one message a peer, no numbers, no acknowledgement but the
 * closing Empty, which comes when all that was received is committed. What is
 * kept and submitted when is ingest_legacy's. A gateway that is gone leaves its
 * last samples behind; they are committed all the same, if that is possible
 * soon. CONTRACT, "gRPC", 1 */
#include "node/ingest_legacy.h"
#include "node/rpc_call.h"

#include "base/log.h"

#include <stdio.h>

enum { ORPHAN_MS = 60 * 1000, TORN_TELL_MS = 3600 * 1000 };

struct stats_call {
    struct call call;
    struct legacy_stream stream;
    char name[IDENTITY_LENGTH_MAX + 1];
    bool named; /* by a Config on this connection */
    bool open, abandoned;
    uint64_t orphaned_at_ms;
    uint64_t told_ms; /* log time: that two hosts report under its name */
};

static struct stats_call *stats_of(struct call *c)
{
    return CONTAINER_OF(c, struct stats_call, call);
}

static void stats_go_on(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    struct legacy_stream *s = &sc->stream;
    if (!sc->open || c->ended)
        return;
    if (s->end != STREAM_GOES_ON)
        call_finish_stream(c, s->end, 0);
    else if (c->half_closed && legacy_stream_is_drained(s) && !c->sending)
        call_reply(c, (struct bytes){(const uint8_t *)"", 0}); /* Empty */
    else if (legacy_stream_has_room(s))
        call_read(c);
}

static void stats_tick(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    if (sc->stream.ingest == NULL)
        return;
    if (c->closed && c->server->ingest.now_ms - sc->orphaned_at_ms > ORPHAN_MS)
        sc->abandoned = true;
    if (!sc->abandoned)
        legacy_stream_pump(&sc->stream);
    stats_go_on(c);
    call_settle(c);
}

/* To be counted by turns costs each of them what passes between two turns. */
static void tell_two_hosts(struct stats_call *sc)
{
    struct roster *r = sc->stream.ingest->roster;
    struct gateway_hosts hosts = {.torn_ms = 0};
    roster_read_lock(r);
    const struct gateway *g = roster_gateway(r, sc->stream.gateway);
    if (g != NULL)
        hosts = g->hosts;
    roster_read_unlock(r);
    uint64_t now_ms = sc->stream.ingest->log_time_ms(sc->stream.ingest);
    if (hosts.torn_ms == 0 || hosts.torn_ms + HOSTS_TURN_MS_MAX < now_ms ||
        (sc->told_ms != 0 && sc->told_ms + TORN_TELL_MS > now_ms))
        return;
    sc->told_ms = now_ms;
    log_warn(
        "two_hosts",
        "gateway %s (name \"%s\") of location %u reports from %s and from "
        "%s by turns, and less than all is counted: give each host its own "
        "name",
        sc->call.hostname, sc->name, sc->call.location, hosts.before,
        hosts.address);
}

static void stream_changed(struct legacy_stream *s)
{
    struct call *c = s->arg;
    tell_two_hosts(stats_of(c));
    stats_go_on(c);
    call_settle(c);
}

/* A gateway is (location, hostname, name), and the name is in Config alone. It
 * comes before Stats on the same connection; where it did not (the connection
 * broke just between them, or this is no defguard gateway), the name is taken
 * from the roster, after the barrier, so that every node finds the same; and
 * where that is ambiguous nothing is guessed: two identities of one gateway
 * would count its bytes twice. */
static bool stats_identify(struct legacy_stream *s)
{
    struct call *c = s->arg;
    struct stats_call *sc = stats_of(c);
    if (!sc->named && gateway_name_known(s->ingest->roster, c->location,
                                         c->hostname, sc->name) != 0) {
        log_warn("stats",
                 "%s at %s has several names and called no Config: its stream "
                 "ends",
                 c->hostname, c->address);
        return false;
    }
    s->who.name = bytes_of_string(sc->name);
    return true;
}

static void stats_open(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    struct rpc_server *g = c->server;
    if (!call_has_room(c))
        return;
    const struct registration *told = registrations_find(
        &g->registrations, c->location, c->hostname, c->connection);
    sc->named = told != NULL;
    if (sc->named)
        memcpy(sc->name, told->name, sizeof sc->name);
    struct reporter who = call_reporter(c, sc->name);
    legacy_stream_init(&sc->stream, &g->ingest, &g->barrier, &who);
    sc->stream.identify = stats_identify;
    sc->stream.changed = stream_changed;
    sc->stream.arg = c;
    sc->open = true;
    /* The barrier is under way while the first samples come. */
    g->ingest.retry_wanted = true;
    atomic_fetch_add(&g->node->ingest.gateways_connected, 1);
    call_headers(c);
    call_read(c);
}

static void stats_message(struct call *c, struct bytes message)
{
    struct ingest_counters *counters = c->server->ingest.counters;
    struct legacy_stream *s = &stats_of(c)->stream;
    struct stat_report report;
    struct errmsg e;
    bool has_peer;
    atomic_fetch_add(&counters->messages, 1);
    if (stats_update_decode(message, &report, &has_peer, &e) != 0) {
        atomic_fetch_add(&counters->rejected_malformed, 1);
        call_finish(c, GRPC_STATUS_INVALID_ARGUMENT, "%s", e.text);
        return;
    }
    if (has_peer) {
        atomic_fetch_add(&counters->reports, 1);
        if (legacy_stream_add(s, &report) != 0) {
            call_refuse_overload(c);
            return;
        }
    }
    legacy_stream_pump(s);
    stats_go_on(c);
}

static void stats_half_closed(struct call *c)
{
    if (stats_of(c)->open)
        legacy_stream_pump(&stats_of(c)->stream);
    stats_go_on(c);
}

static void stats_closed(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    if (!sc->open)
        return;
    sc->open = false;
    sc->orphaned_at_ms = c->server->ingest.now_ms;
    atomic_fetch_sub(&c->server->node->ingest.gateways_connected, 1);
}

/* Keepalive ends the streams of gateways that are gone. */
static uint32_t stats_heard(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    if (!sc->open || c->ended || c->half_closed)
        return 0;
    return legacy_stream_gateway(&sc->stream);
}

static bool stats_busy(struct call *c)
{
    struct stats_call *sc = stats_of(c);
    struct legacy_stream *s = &sc->stream;
    if (s->ingest == NULL)
        return false;
    return legacy_stream_is_in_flight(s) ||
           (!sc->abandoned && s->end == STREAM_GOES_ON &&
            !legacy_stream_is_drained(s));
}

static void stats_release(struct call *c)
{
    if (stats_of(c)->stream.ingest != NULL)
        legacy_stream_deinit(&stats_of(c)->stream);
}

const struct method method_stats = {
    .path = "/gateway.GatewayService/Stats",
    .size = sizeof(struct stats_call),
    .who = FOR_DEFGUARD,
    .open = stats_open,
    .message = stats_message,
    .half_closed = stats_half_closed,
    .sent = stats_go_on,
    .tick = stats_tick,
    .closed = stats_closed,
    .heard = stats_heard,
    .busy = stats_busy,
    .release = stats_release,
};
