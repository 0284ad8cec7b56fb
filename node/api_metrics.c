/* GET /metrics: Prometheus text. Names are CONTRACT's; what is not measured is
 * absent rather than 0, and nothing here grows with the number of devices. */
#include "node/api.h"

#include "base/clock.h"
#include "store/raw.h"
#include "tls/tls.h"

static void head(struct buf *b, const char *name, const char *type,
                 const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void metric(struct buf *b, const char *name, const char *type,
                   const char *help, uint64_t value)
{
    head(b, name, type, help);
    buf_printf(b, "%s %llu\n", name, (unsigned long long)value);
}

static void gauge(struct buf *b, const char *name, const char *help,
                  uint64_t value)
{
    metric(b, name, "gauge", help, value);
}

static void counter(struct buf *b, const char *name, const char *help,
                    uint64_t value)
{
    metric(b, name, "counter", help, value);
}

/* Label values escape backslash, quote and newline. */
static void put_label(struct buf *b, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n') {
            buf_put(b, "\\n", 2);
            continue;
        }
        if (*text == '"' || *text == '\\')
            buf_put_u8(b, '\\');
        buf_put_u8(b, (uint8_t)*text);
    }
}

/* What has changed or is changing about this node as a member. */
static void put_state(struct buf *b, const struct repl_status *s)
{
    head(b, "holdfast_raft_state", "gauge",
         "1 for the state that this node is in.");
    buf_printf(b, "holdfast_raft_state{state=\"%s\"} 1\n", s->state);
    if (s->level != 0)
        gauge(b, "holdfast_cluster_level",
              "Feature level that the cluster has agreed on.", s->level);
    gauge(b, "holdfast_draining", "An operator is draining this node.",
          s->draining);
    gauge(b, "holdfast_disk_low",
          "The disk has too little room: no new entries are taken.",
          s->disk_low);
    if (s->disk_free_bytes != 0)
        gauge(b, "holdfast_disk_free_bytes",
              "Free bytes of the data directory's file system.",
              s->disk_free_bytes);
    gauge(b, "holdfast_fetch_bytes",
          "Of a copy of the store that is being fetched: bytes that came.",
          s->fetch_bytes);
    gauge(b, "holdfast_fetch_total_bytes",
          "Of that copy: all bytes, 0 = none is being fetched.",
          s->fetch_total);
}

enum peer_value { PEER_RTT, PEER_CONNECTED, PEER_CLOCK, PEER_APPLIED };

/* One line a peer; nothing for what is not known of it. */
static void put_peer(struct buf *b, const char *name,
                     const struct repl_node_status *peer, enum peer_value what)
{
    bool timed = what == PEER_RTT || what == PEER_CLOCK;
    if ((timed && peer->rtt_us == 0) ||
        (what == PEER_APPLIED && peer->facts_ms == 0))
        return;
    buf_printf(b, "%s{peer=\"", name);
    put_label(b, peer->name);
    buf_printf(b, "\"} ");
    switch (what) {
    case PEER_RTT:
        buf_printf(b, "%.6f\n", (double)peer->rtt_us / 1e6);
        break;
    case PEER_CONNECTED:
        buf_printf(b, "%d\n", peer->connected ? 1 : 0);
        break;
    case PEER_CLOCK:
        buf_printf(b, "%.3f\n", (double)peer->clock_offset_ms / 1e3);
        break;
    case PEER_APPLIED:
        buf_printf(b, "%llu\n", (unsigned long long)peer->facts.applied_index);
        break;
    }
}

static void put_peers(struct buf *b, const struct repl_status *s)
{
    static const struct {
        enum peer_value what;
        const char *name, *help;
    } metrics[] = {
        {PEER_RTT, "holdfast_peer_rtt_seconds", "Round trip of the last ping."},
        {PEER_CONNECTED, "holdfast_peer_connected",
         "This node has a link to it."},
        {PEER_CLOCK, "holdfast_peer_clock_offset_seconds",
         "Its wall clock minus this node's."},
        {PEER_APPLIED, "holdfast_peer_applied_index",
         "Last log index applied there, as it said last."},
    };
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        head(b, metrics[i].name, "gauge", metrics[i].help);
        for (size_t j = 0; j < s->node_count; j++)
            if (s->nodes[j].id != s->raft_id)
                put_peer(b, metrics[i].name, &s->nodes[j], metrics[i].what);
    }
}

static void put_raft(struct buf *b, struct node *n)
{
    struct repl_status s;
    repl_status(n->repl, &s);
    gauge(b, "holdfast_raft_has_leader", "A leader is known.", s.has_leader);
    gauge(b, "holdfast_raft_is_leader", "This node leads.", s.is_leader);
    gauge(b, "holdfast_raft_term", "Current term.", s.term);
    gauge(b, "holdfast_raft_commit_index", "Last committed log index known.",
          s.commit_index);
    gauge(b, "holdfast_raft_applied_index", "Last log index applied here.",
          store_applied_index(n->store));
    counter(b, "holdfast_raft_leader_changes_total",
            "Changes of leader seen since the start.", s.leader_changes);
    counter(b, "holdfast_raft_membership_changes_total",
            "Changes of the configuration seen since the start.",
            s.members_changes);
    gauge(b, "holdfast_raft_proposals_pending",
          "Submissions that wait for their outcome.", s.pending);
    counter(b, "holdfast_raft_proposals_failed_total",
            "Submissions that ended without one.", s.failed);
    counter(b, "holdfast_raft_entries_total",
            "Log entries proposed here as leader.", s.entries);
    counter(b, "holdfast_raft_entry_bytes_total", "Bytes of those.",
            s.entry_bytes);
    counter(b, "holdfast_raft_sent_bytes_total",
            "Bytes of log entries written to the links to other members.",
            s.sent_bytes);
    gauge(b, "holdfast_raft_leader_age_ms",
          "Milliseconds since a leader was last heard.", http_age_ms(n, &s));

    put_state(b, &s);
    put_peers(b, &s);
}

static void put_raw(struct buf *b, struct raw_log *raw)
{
    struct raw_status s;
    if (raw == NULL)
        return;
    raw_status(raw, &s);
    gauge(b, "holdfast_raw_used_bytes", "Bytes of raw reports that are kept.",
          s.bytes);
    gauge(b, "holdfast_raw_file_bytes",
          "Bytes of their file; space is used again, never given back.",
          s.file_bytes);
    gauge(b, "holdfast_raw_kept_index",
          "Log index up to which they are durable.", s.kept_index);
    head(b, "holdfast_raw_work_seconds", "summary",
         "Time that packing and commits of raw reports took.");
    buf_printf(b,
               "holdfast_raw_work_seconds_sum %.6f\n"
               "holdfast_raw_work_seconds_count %llu\n",
               (double)s.work_ns / 1e9, (unsigned long long)s.commits);
}

static void put_store(struct buf *b, struct node *n)
{
    struct store_status s;
    store_status(n->store, &s);
    head(b, "holdfast_store_commit_seconds", "summary",
         "Time that durable commits of closed buckets took.");
    buf_printf(b,
               "holdfast_store_commit_seconds_sum %.6f\n"
               "holdfast_store_commit_seconds_count %llu\n",
               (double)s.counters.flush_ns / 1e9,
               (unsigned long long)s.counters.flushes);
    head(b, "holdfast_store_commit_waits_total", "counter",
         "Commits that were due while one was under way: apply waited.");
    buf_printf(b, "holdfast_store_commit_waits_total %llu\n",
               (unsigned long long)s.counters.flush_waits);
    head(b, "holdfast_store_apply_seconds_total", "counter",
         "Time spent applying entries to memory.");
    buf_printf(b, "holdfast_store_apply_seconds_total %.6f\n",
               (double)s.counters.apply_ns / 1e9);
    gauge(b, "holdfast_store_used_bytes", "Bytes of the map in use.",
          s.used_bytes);
    gauge(b, "holdfast_store_map_bytes", "Size of the map.", s.map_bytes);
    gauge(b, "holdfast_store_flushed_index",
          "Log index from which a restart replays.", s.flushed_index);
    gauge(b, "holdfast_store_slots",
          "Counter states kept: (location, device, gateway).", s.slots);
    gauge(b, "holdfast_locations", "Locations configured.", s.locations);
    gauge(b, "holdfast_devices", "Devices registered.", s.devices);
    gauge(b, "holdfast_gateways", "Gateways ever heard.", s.gateways);
    counter(b, "holdfast_applied_reports_total", "Samples applied.",
            s.counters.reports);
    counter(b, "holdfast_ingest_duplicates_total",
            "Batches and samples that had been taken before.",
            s.counters.duplicates);
    counter(b, "holdfast_ingest_stale_total",
            "Samples older than what is known.", s.counters.stale);
    counter(b, "holdfast_ingest_unknown_keys_total",
            "Samples of unknown public keys, skipped.",
            s.counters.unknown_keys);
    counter(b, "holdfast_ingest_gaps_total",
            "Batches refused because one before is missing.", s.counters.gaps);
    counter(b, "holdfast_ingest_superseded_total",
            "Batches of an older session.", s.counters.superseded);
    counter(b, "holdfast_ingest_resets_total", "Counters that fell.",
            s.counters.resets);
    counter(b, "holdfast_ingest_late_total",
            "Deltas into minutes that had closed.", s.counters.late);
    counter(b, "holdfast_ingest_spread_total",
            "Deltas spread over minutes in which nobody heard the gateway.",
            s.counters.spread);
    counter(b, "holdfast_ingest_presence_total",
            "Lists of heard gateways applied.", s.counters.presences);
}

static void put_ingest(struct buf *b, struct node *n)
{
    struct ingest_counters *c = &n->ingest;
    counter(b, "holdfast_ingest_reports_total",
            "Samples received from gateways.", atomic_load(&c->reports));
    counter(b, "holdfast_ingest_messages_total",
            "Messages received from gateways.", atomic_load(&c->messages));
    counter(b, "holdfast_ingest_acknowledged_total", "Batches acknowledged.",
            atomic_load(&c->acknowledged));
    counter(b, "holdfast_ingest_resubmitted_total",
            "Batches submitted again after an unknown outcome.",
            atomic_load(&c->resubmitted));
    head(b, "holdfast_ingest_rejected_total", "counter",
         "Messages and streams refused.");
    const struct {
        const char *reason;
        _Atomic uint64_t *value;
    } reasons[] = {
        {"malformed", &c->rejected_malformed},
        {"token", &c->rejected_token},
        {"overload", &c->rejected_overload},
        {"calls", &c->rejected_calls},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        buf_printf(b, "holdfast_ingest_rejected_total{reason=\"%s\"} %llu\n",
                   reasons[i].reason,
                   (unsigned long long)atomic_load(reasons[i].value));
    gauge(b, "holdfast_ingest_waiting_bytes",
          "Memory of reports that are accepted and not yet committed.",
          atomic_load(&c->waiting_bytes));
    gauge(b, "holdfast_grpc_calls", "Open calls of all kinds.",
          atomic_load(&c->calls));
    gauge(b, "holdfast_gateways_connected", "Open statistics streams.",
          atomic_load(&c->gateways_connected));
    gauge(b, "holdfast_updates_connected", "Open configuration streams.",
          atomic_load(&c->updates_connected));
}

static void put_cert(struct buf *b, struct tls *tls, const char *cert)
{
    struct tls_status s;
    if (tls == NULL)
        return;
    tls_status(tls, &s);
    buf_printf(b, "holdfast_tls_cert_not_after_seconds{cert=\"%s\"} %llu\n",
               cert, (unsigned long long)s.not_after_s);
}

/* The certificates of gateways and HTTPS, and of peers; renewed files count
 * when they were loaded. */
static void put_tls(struct buf *b, struct node *n)
{
    struct tls_status s;
    if (n->tls != NULL || n->peer_tls != NULL)
        head(b, "holdfast_tls_cert_not_after_seconds", "gauge",
             "Unix time at which a certificate in use ends.");
    put_cert(b, n->tls, "server");
    put_cert(b, n->peer_tls, "peer");
    if (n->tls == NULL)
        return;
    tls_status(n->tls, &s);
    counter(b, "holdfast_https_handshakes_total", "TLS handshakes of HTTPS.",
            s.handshakes);
    counter(b, "holdfast_https_handshake_failures_total", "Those that failed.",
            s.failures);
}

void api_metrics(struct http_request *rq)
{
    struct buf *b = &rq->answer;
    put_raft(b, rq->node);
    put_store(b, rq->node);
    put_raw(b, store_raw(rq->node->store));
    put_ingest(b, rq->node);
    put_tls(b, rq->node);
    gauge(b, "holdfast_uptime_seconds", "Since the process started.",
          (clock_mono_ms() - rq->node->started_ms) / 1000);
    head(b, "holdfast_build_info", "gauge", "Always 1.");
    buf_printf(b, "holdfast_build_info{version=\"%s\"} 1\n", HOLDFAST_VERSION);
    rq->content_type = "text/plain; version=0.0.4; charset=utf-8";
    rq->status = 200;
}
