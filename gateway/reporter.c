#include "gateway/reporter.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/pace.h"
#include "gateway/reporter_channel.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdlib.h>

enum { COMPLAINT_INTERVAL_MS = 60 * 1000 };

struct stream;

enum tag_kind {
    TAG_STATUS,
    TAG_HEADERS,
    TAG_RECEIVE,
    TAG_SEND,
    TAG_EXCHANGE, /* sent, and the answer received */
};

struct tag {
    struct stream *stream; /* borrowed: the stream it is a member of */
    enum tag_kind kind;
};

/* One call on a channel of its own: a fresh channel connects at once, where an
 * old one may be waiting for its own backoff. */
struct stream {
    struct reporter *reporter; /* borrowed; NULL: abandoned */
    grpc_channel *channel;     /* owned */
    grpc_call *call;           /* owned */
    struct tag status_tag, headers_tag, receive_tag, send_tag, exchange_tag;
    unsigned pending; /* tags that gRPC still holds */
    bool sending, receiving, ended, acknowledged;
    uint64_t waiting_since_ms; /* the oldest batch, 0 = none waits */
    grpc_metadata_array headers, trailers;
    grpc_byte_buffer *received; /* owned between its tag and its handling */
    grpc_status_code status;
    grpc_slice details;
};

struct reporter {
    struct reporter_config config;
    struct session *session; /* borrowed */
    struct channel_maker channels;
    grpc_completion_queue *queue;
    struct stream *stream;  /* the current one; NULL while backing off */
    struct pace pace;       /* which node, when */
    uint64_t complained_ms; /* last complaint about refused access */
    bool overloaded; /* a node said so, and not all is acknowledged since */
    enum reporter_event event; /* to be told by the running poll */
    struct buf message;        /* the one that is being sent */
};

/* --- life ----------------------------------------------------------------- */

int reporter_create(struct reporter **out, const struct reporter_config *config,
                    struct session *session, struct errmsg *e)
{
    struct reporter *r = calloc(1, sizeof *r);
    if (r == NULL)
        return errmsg_set(e, ERR_NOMEM, "the reporter: out of memory");
    r->config = *config;
    r->session = session;
    int rv = channel_maker_init(&r->channels, config->tls, e);
    if (rv != 0) {
        free(r);
        return rv;
    }
    pace_init(&r->pace, config->node_count, config->gateway_id,
              clock_mono_ns());
    /* gRPC's own messages about nodes that are away say nothing that our log
     * does not; GRPC_VERBOSITY brings them back. */
    setenv("GRPC_VERBOSITY", "NONE", 0);
    grpc_init();
    r->queue = grpc_completion_queue_create_for_next(NULL);
    *out = r;
    return 0;
}

static void abandon(struct reporter *r);
static void handle(grpc_event ev);

static grpc_event next_event(struct reporter *r, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_mono_ms();
    int64_t left_ms =
        deadline_ms > now_ms ? (int64_t)(deadline_ms - now_ms) : 0;
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis(left_ms, GPR_TIMESPAN));
    return grpc_completion_queue_next(r->queue, until, NULL);
}

void reporter_destroy(struct reporter *r)
{
    if (r == NULL)
        return;
    abandon(r);
    grpc_completion_queue_shutdown(r->queue);
    for (;;) {
        grpc_event ev = next_event(r, clock_mono_ms() + 1000);
        if (ev.type == GRPC_QUEUE_SHUTDOWN)
            break;
        if (ev.type == GRPC_OP_COMPLETE)
            handle(ev);
    }
    grpc_completion_queue_destroy(r->queue);
    grpc_shutdown();
    channel_maker_deinit(&r->channels);
    buf_deinit(&r->message);
    free(r);
}

static const struct reporter_node *current_node(const struct reporter *r)
{
    return &r->config.nodes[r->pace.node];
}

const char *reporter_node(const struct reporter *r)
{
    return current_node(r)->address;
}

/* --- opening -------------------------------------------------------------- */

static grpc_metadata header(const char *key, const char *value)
{
    grpc_metadata m = {0};
    m.key = grpc_slice_from_copied_string(key);
    m.value = grpc_slice_from_copied_string(value);
    return m;
}

/* Starts a batch of operations whose end @tag tells. */
static bool start(struct stream *s, const grpc_op *ops, size_t count,
                  struct tag *tag)
{
    if (grpc_call_start_batch(s->call, ops, count, tag, NULL) != GRPC_CALL_OK)
        return false;
    s->pending++;
    return true;
}

static grpc_op receive_op(struct stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->received;
    return op;
}

static void start_receive(struct stream *s)
{
    grpc_op op = receive_op(s);
    s->receiving = start(s, &op, 1, &s->receive_tag);
}

static bool start_call(struct stream *s)
{
    const struct reporter_config *c = &s->reporter->config;
    grpc_op status = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    status.data.recv_status_on_client.trailing_metadata = &s->trailers;
    status.data.recv_status_on_client.status = &s->status;
    status.data.recv_status_on_client.status_details = &s->details;

    grpc_metadata metadata[] = {
        header("authorization", c->token),
        header("hostname", c->hostname),
        header("holdfast-gateway-id", c->gateway_id),
    };
    size_t count = sizeof metadata / sizeof *metadata;
    grpc_op headers[2] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                          {.op = GRPC_OP_RECV_INITIAL_METADATA}};
    headers[0].data.send_initial_metadata.metadata = metadata;
    headers[0].data.send_initial_metadata.count = count;
    headers[1].data.recv_initial_metadata.recv_initial_metadata = &s->headers;

    bool started = start(s, &status, 1, &s->status_tag) &&
                   start(s, headers, 2, &s->headers_tag);
    for (size_t i = 0; i < count; i++) {
        grpc_slice_unref(metadata[i].key);
        grpc_slice_unref(metadata[i].value);
    }
    return started;
}

static void open_stream(struct reporter *r)
{
    struct stream *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    s->reporter = r;
    s->status_tag = (struct tag){s, TAG_STATUS};
    s->headers_tag = (struct tag){s, TAG_HEADERS};
    s->receive_tag = (struct tag){s, TAG_RECEIVE};
    s->send_tag = (struct tag){s, TAG_SEND};
    s->exchange_tag = (struct tag){s, TAG_EXCHANGE};
    s->details = grpc_empty_slice();
    grpc_metadata_array_init(&s->headers);
    grpc_metadata_array_init(&s->trailers);
    s->channel = channel_open(&r->channels, current_node(r));
    s->call = grpc_channel_create_call(
        s->channel, NULL, GRPC_PROPAGATE_DEFAULTS, r->queue,
        grpc_slice_from_static_string("/holdfast.v1.Stats/Report"), NULL,
        gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    r->stream = s;
    session_stream_opened(r->session);
    /* With the arguments above a call can always be started; a refusal would
     * be a mistake of ours. */
    bool started = start_call(s);
    ASSERT(started);
    log_debug("stream", "opening a stream to %s", reporter_node(r));
}

static void let_go(struct stream *s)
{
    if (s->pending > 0)
        return;
    grpc_call_unref(s->call);
    grpc_channel_destroy(s->channel);
    grpc_metadata_array_destroy(&s->headers);
    grpc_metadata_array_destroy(&s->trailers);
    grpc_slice_unref(s->details);
    grpc_byte_buffer_destroy(s->received);
    free(s);
}

/* --- leaving -------------------------------------------------------------- */

/* Leaves the current stream; gRPC lets go of it later. */
static void abandon(struct reporter *r)
{
    struct stream *s = r->stream;
    if (s == NULL)
        return;
    r->stream = NULL;
    s->reporter = NULL;
    if (!s->ended)
        grpc_call_cancel(s->call, NULL);
    let_go(s);
}

static void move_on(struct reporter *r, uint64_t least_ms)
{
    pace_move_on(&r->pace, clock_mono_ms(), least_ms);
    abandon(r);
}

void reporter_restart(struct reporter *r)
{
    abandon(r);
    r->pace.next_open_ms = clock_mono_ms();
}

/* The last run of digits; 0 if there is none. */
static uint64_t number_in(const char *text, size_t length)
{
    uint64_t value = 0;
    size_t i = length;
    while (i > 0 && (text[i - 1] < '0' || text[i - 1] > '9'))
        i--;
    size_t end = i;
    while (i > 0 && text[i - 1] >= '0' && text[i - 1] <= '9')
        i--;
    for (; i < end; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    return value;
}

/* What a refusal is about: in the trailer @key, or else at the end of the
 * message. 0: neither names a number. */
static uint64_t number_told(const struct stream *s, const char *key)
{
    for (size_t i = 0; i < s->trailers.count; i++) {
        const grpc_metadata *m = &s->trailers.metadata[i];
        if (grpc_slice_str_cmp(m->key, key) == 0)
            return number_in((const char *)GRPC_SLICE_START_PTR(m->value),
                             GRPC_SLICE_LENGTH(m->value));
    }
    return number_in((const char *)GRPC_SLICE_START_PTR(s->details),
                     GRPC_SLICE_LENGTH(s->details));
}

/* A refusal that concerns the session. */
static void refused(struct stream *s, enum session_refusal refusal,
                    const char *text, int length)
{
    static const char *const keys[] = {
        [REFUSAL_GAP] = "holdfast-expected-sequence",
        [REFUSAL_SUPERSEDED] = "holdfast-stored-session",
        [REFUSAL_MALFORMED] = "",
    };
    struct reporter *r = s->reporter;
    uint64_t number = number_told(s, keys[refusal]);
    uint64_t old = r->session->id;
    enum session_state state =
        session_refused(r->session, refusal, number, clock_wall_ms());
    if (state == SESSION_OVER) {
        log_error("superseded",
                  "session %llu ends: another agent reports as \"%s\" (%.*s); "
                  "give each agent its own --gateway-id",
                  (unsigned long long)old, r->config.gateway_id, length, text);
        r->event = REPORTER_OVER;
    } else if (state == SESSION_RENEWED) {
        log_warn("session", "%s refuses session %llu (%.*s): going on as %llu",
                 reporter_node(r), (unsigned long long)old, length, text,
                 (unsigned long long)r->session->id);
        r->event = REPORTER_LOOK_DUE;
    }
}

/* At most once a minute: what goes on for long is not news. */
static void complain(struct reporter *r, const char *advice, const char *text,
                     int length)
{
    uint64_t now_ms = clock_mono_ms();
    if (r->complained_ms != 0 &&
        now_ms - r->complained_ms < COMPLAINT_INTERVAL_MS)
        return;
    r->complained_ms = now_ms;
    log_warn("stream", "%s: %.*s; %s", reporter_node(r), length, text, advice);
}

/* The node has too much to do: what it did not acknowledge stays in the spool,
 * and it is left alone for a while. Said once, until all is acknowledged. */
static void slow_down(struct reporter *r, const char *text, int length)
{
    if (!r->overloaded)
        log_warn("overload",
                 "%s: %.*s; trying the others, then all of them ever more "
                 "rarely: reports wait in the spool",
                 reporter_node(r), length, text);
    r->overloaded = true;
    pace_overloaded(&r->pace, clock_mono_ms());
    abandon(r);
}

static void on_status(struct stream *s)
{
    struct reporter *r = s->reporter;
    s->ended = true;
    if (r == NULL)
        return;
    const char *text = (const char *)GRPC_SLICE_START_PTR(s->details);
    int length = GRPC_SLICE_LENGTH(s->details) > 200
                     ? 200
                     : (int)GRPC_SLICE_LENGTH(s->details);
    uint64_t least_ms = 0;
    if (s->acknowledged)
        log_info("stream", "the stream to %s ended: %d %.*s", reporter_node(r),
                 (int)s->status, length, text);
    switch ((int)s->status) { /* a peer may send any number */
    case GRPC_STATUS_OUT_OF_RANGE:
        refused(s, REFUSAL_GAP, text, length);
        break;
    case GRPC_STATUS_ABORTED:
        refused(s, REFUSAL_SUPERSEDED, text, length);
        break;
    case GRPC_STATUS_INVALID_ARGUMENT:
        refused(s, REFUSAL_MALFORMED, text, length);
        least_ms = PACE_BACKOFF_MAX_MS;
        break;
    case GRPC_STATUS_UNAUTHENTICATED:
    case GRPC_STATUS_PERMISSION_DENIED:
    case GRPC_STATUS_NOT_FOUND:
    case GRPC_STATUS_UNIMPLEMENTED:
    case GRPC_STATUS_FAILED_PRECONDITION:
        complain(r, "check --token; trying on", text, length);
        least_ms = PACE_BACKOFF_MAX_MS;
        break;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        slow_down(r, text, length);
        return;
    default: /* the node or the way to it is away */
        if (!s->acknowledged)
            complain(r, channel_advice(current_node(r), s->details), text,
                     length);
        break;
    }
    move_on(r, least_ms);
}

/* --- receiving and sending ------------------------------------------------ */

static int read_ack(grpc_byte_buffer *message, uint64_t *sequence)
{
    grpc_byte_buffer_reader reader;
    struct report_ack ack;
    if (!grpc_byte_buffer_reader_init(&reader, message))
        return ERR_INVALID;
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    struct bytes bytes = {GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all)};
    int rv = report_ack_decode(bytes, &ack, NULL);
    *sequence = ack.sequence;
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    return rv;
}

static bool awaits_acks(const struct reporter *r)
{
    return r->session->stream_sent > r->session->acknowledged;
}

static void on_ack(struct stream *s)
{
    struct reporter *r = s->reporter;
    uint64_t sequence = 0, before = r->session->acknowledged;
    int rv = read_ack(s->received, &sequence);
    if (rv == 0)
        rv = session_acknowledged(r->session, sequence);
    if (rv != 0) {
        log_error("ack", "%s acknowledges what was not sent to it (%llu)",
                  reporter_node(r), (unsigned long long)sequence);
        move_on(r, PACE_BACKOFF_MAX_MS);
        return;
    }
    if (r->session->acknowledged == before)
        return; /* an old one: no sign of progress */
    if (!s->acknowledged)
        log_info("stream", "reporting to %s, session %llu from %llu",
                 reporter_node(r), (unsigned long long)r->session->id,
                 (unsigned long long)r->session->stream_first);
    s->acknowledged = true;
    pace_progress(&r->pace);
    if (r->overloaded && session_is_drained(r->session)) {
        log_info("overload", "%s takes reports again: none waits",
                 reporter_node(r));
        r->overloaded = false;
    }
    s->waiting_since_ms = awaits_acks(r) ? clock_mono_ms() : 0;
}

static void on_message(struct stream *s, bool ok)
{
    s->receiving = false;
    /* No message: the stream is over, and the status says why. */
    if (!ok || s->received == NULL)
        return;
    if (s->reporter != NULL)
        on_ack(s);
    grpc_byte_buffer_destroy(s->received);
    s->received = NULL;
    if (s->reporter != NULL && awaits_acks(s->reporter))
        start_receive(s);
}

/* The last batch that there is asks for its answer together with being sent, as
 * a unary call does, and tells the node so: alone, either side's read would
 * send an HTTP/2 window update of its own. */
static bool start_send(struct stream *s, grpc_byte_buffer *message, bool last)
{
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE}};
    ops[0].data.send_message.send_message = message;
    if (last && !s->receiving) {
        ops[1] = receive_op(s);
        s->receiving = start(s, ops, 2, &s->exchange_tag);
        return s->receiving;
    }
    if (!s->receiving)
        start_receive(s);
    return start(s, ops, 1, &s->send_tag);
}

/* One batch is with gRPC at a time: it completes when the flow control lets it
 * go, so an overloaded node slows us and holds nothing of ours. */
static void send_due(struct reporter *r)
{
    struct stream *s = r->stream;
    struct bytes batch;
    if (s == NULL || s->sending || s->ended)
        return;
    if (!session_next(r->session, REPORTER_WINDOW, &batch)) {
        if (r->session->state == SESSION_RENEWED) {
            abandon(r); /* the disk failed: session_disk.h */
            r->event = REPORTER_LOOK_DUE;
        }
        return;
    }
    bool last = session_all_given(r->session);
    buf_clear(&r->message);
    buf_put(&r->message, batch.data, batch.size);
    if (last)
        report_batch_put_awaits_answer(&r->message);
    ASSERT(!buf_failed(&r->message));
    grpc_slice slice = grpc_slice_from_copied_buffer(
        (const char *)r->message.data, r->message.size);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    s->sending = start_send(s, message, last);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(slice);
    if (s->waiting_since_ms == 0)
        s->waiting_since_ms = clock_mono_ms();
}

static void handle(grpc_event ev)
{
    struct tag *tag = ev.tag;
    struct stream *s = tag->stream;
    /* Handling may abandon the stream; it stays while a tag is pending, and
     * this one is until we are done. */
    switch (tag->kind) {
    case TAG_STATUS:
        on_status(s);
        break;
    case TAG_RECEIVE:
        on_message(s, ev.success != 0);
        break;
    case TAG_SEND:
        s->sending = false;
        break;
    case TAG_EXCHANGE:
        s->sending = false;
        on_message(s, ev.success != 0);
        break;
    case TAG_HEADERS:
        break;
    }
    s->pending--;
    if (s->reporter == NULL)
        let_go(s);
}

/* --- the poll ------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool has_no_patience(const struct reporter *r, uint64_t now_ms)
{
    return r->stream != NULL && r->stream->waiting_since_ms != 0 &&
           now_ms >= r->stream->waiting_since_ms + r->pace.patience_ms;
}

enum reporter_event reporter_poll(struct reporter *r, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_mono_ms();
    r->event = REPORTER_NOTHING;
    if (has_no_patience(r, now_ms)) {
        /* What came while this process was away counts. */
        grpc_event came = next_event(r, now_ms);
        if (came.type == GRPC_OP_COMPLETE) {
            handle(came);
            return r->event;
        }
        log_warn("stream", "%s acknowledges nothing for %llu ms",
                 reporter_node(r), (unsigned long long)r->pace.patience_ms);
        pace_lose_patience(&r->pace, now_ms);
        abandon(r);
        return r->event;
    }
    bool live = r->session->state == SESSION_LIVE;
    if (r->stream == NULL && live && now_ms >= r->pace.next_open_ms)
        open_stream(r);
    send_due(r);
    if (r->stream == NULL) {
        if (live)
            deadline_ms = earlier(deadline_ms, r->pace.next_open_ms);
    } else if (r->stream->waiting_since_ms != 0) {
        deadline_ms = earlier(deadline_ms, r->stream->waiting_since_ms +
                                               r->pace.patience_ms);
    }
    grpc_event ev = next_event(r, deadline_ms);
    if (ev.type == GRPC_OP_COMPLETE)
        handle(ev);
    return r->event;
}
