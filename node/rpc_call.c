/* The life of one call: its batches and what comes back of them. Rules of
 * libgrpc kept here: of each kind of operation one at a time; the status goes
 * when nothing is being sent; every started batch comes back exactly once, and
 * the call is freed when none is out, the client is gone and the log holds
 * nothing of it. */
#include "node/rpc_call.h"

#include "base/assert.h"
#include "base/log.h"

#include <grpc/byte_buffer.h>
#include <grpc/slice.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { OPERATIONS_MAX = 3 };

static const struct method *const methods[] = {
    &method_config, &method_updates,      &method_stats,
    &method_report, &method_health_check, &method_health_watch,
};

/* --- batches -------------------------------------------------------------- */

/* A batch that libgrpc refuses to start brings no tag: the call is torn. */
static void batch_start(struct call *c, const grpc_op *ops, size_t count,
                        struct op *tag)
{
    grpc_call_error error =
        grpc_call_start_batch(c->rpc, ops, count, tag, NULL);
    ASSERT(error == GRPC_CALL_OK);
    c->operations++;
}

/* Every answer says a version that defguard's gateways 1.5 and 1.6 accept
 * (1.3 and 1.4 do not look): reference section 1.3, the version gate. */
static void put_headers(struct call *c, grpc_op *op, grpc_metadata metadata[2])
{
    metadata[0] = (grpc_metadata){
        .key = grpc_slice_from_static_string("defguard-component-version"),
        .value = grpc_slice_from_static_string("1.6.0")};
    metadata[1] = (grpc_metadata){
        .key = grpc_slice_from_static_string("defguard-component-system"),
        .value = grpc_slice_from_static_string(c->server->system)};
    *op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    op->data.send_initial_metadata.count = 2;
    op->data.send_initial_metadata.metadata = metadata;
    c->headers_sent = true;
}

void call_headers(struct call *c)
{
    grpc_metadata metadata[2];
    grpc_op op;
    if (c->headers_sent || c->ended)
        return;
    put_headers(c, &op, metadata);
    batch_start(c, &op, 1, &c->headers);
}

static grpc_op receive_op(struct call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &c->incoming;
    return op;
}

void call_read(struct call *c)
{
    if (c->reading || c->half_closed || c->ended)
        return;
    grpc_op receive = receive_op(c);
    c->reading = true;
    batch_start(c, &receive, 1, &c->message);
}

static void send_message(struct call *c, struct bytes message, bool and_read)
{
    grpc_metadata metadata[2];
    grpc_op ops[OPERATIONS_MAX];
    size_t count = 0;
    ASSERT(!c->sending && !(and_read && c->reading));
    if (c->ended)
        return;
    if (!c->headers_sent)
        put_headers(c, &ops[count++], metadata);
    grpc_slice slice =
        grpc_slice_from_copied_buffer((const char *)message.data, message.size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    ops[count] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[count++].data.send_message.send_message = buffer;
    if (and_read) {
        /* The tag comes with the next message; a status may go before that,
         * which libgrpc sends behind this message. */
        ops[count++] = receive_op(c);
        c->reading = true;
        batch_start(c, ops, count, &c->message);
    } else {
        c->sending = true;
        batch_start(c, ops, count, &c->send);
    }
    grpc_byte_buffer_destroy(buffer);
    grpc_slice_unref(slice);
}

void call_send(struct call *c, struct bytes message)
{
    send_message(c, message, false);
}

void call_answer(struct call *c, struct bytes message)
{
    send_message(c, message, true);
}

static void status_send(struct call *c)
{
    grpc_metadata metadata[2], trailing[2];
    grpc_op ops[OPERATIONS_MAX];
    size_t count = 0;
    c->status_sent = true;
    if (!c->headers_sent)
        put_headers(c, &ops[count++], metadata);
    for (size_t i = 0; i < c->trailer_count; i++)
        trailing[i] = (grpc_metadata){
            .key = grpc_slice_from_static_string(c->trailers[i].key),
            .value = grpc_slice_from_copied_string(c->trailers[i].value)};
    grpc_slice details = grpc_slice_from_copied_string(c->status_text);
    ops[count] = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    ops[count].data.send_status_from_server.status = c->status;
    ops[count].data.send_status_from_server.status_details = &details;
    ops[count].data.send_status_from_server.trailing_metadata = trailing;
    ops[count].data.send_status_from_server.trailing_metadata_count =
        c->trailer_count;
    batch_start(c, ops, count + 1, &c->finish);
    for (size_t i = 0; i < c->trailer_count; i++)
        grpc_slice_unref(trailing[i].value);
    grpc_slice_unref(details);
}

void call_finish(struct call *c, grpc_status_code code, const char *format, ...)
{
    if (c->ended)
        return;
    c->ended = true;
    c->status = code;
    va_list args;
    va_start(args, format);
    vsnprintf(c->status_text, sizeof c->status_text, format, args);
    va_end(args);
    /* Status text is ASCII on the wire; ours is, what it quotes may not be. */
    for (char *p = c->status_text; *p != '\0'; p++)
        if (!isprint((unsigned char)*p))
            *p = '?';
    if (!c->sending)
        status_send(c);
}

void call_reply(struct call *c, struct bytes message)
{
    call_send(c, message);
    call_finish(c, GRPC_STATUS_OK, "%s", "");
}

void call_trailer(struct call *c, const char *key, uint64_t value)
{
    ASSERT(c->trailer_count < sizeof c->trailers / sizeof *c->trailers);
    struct trailer *trailer = &c->trailers[c->trailer_count++];
    trailer->key = key;
    snprintf(trailer->value, sizeof trailer->value, "%llu",
             (unsigned long long)value);
}

/* --- what comes back ------------------------------------------------------ */

static void headers_done(struct op *op, bool ok)
{
    (void)ok; /* a failure is followed by the close */
    op->call->operations--;
    call_settle(op->call);
}

static void send_done(struct op *op, bool ok)
{
    struct call *c = op->call;
    c->operations--;
    c->sending = false;
    if (c->ended && !c->status_sent && !c->closed)
        status_send(c);
    else if (ok && !c->ended && c->method->sent != NULL)
        c->method->sent(c);
    call_settle(c);
}

static void half_close(struct call *c)
{
    if (c->half_closed)
        return;
    c->half_closed = true;
    if (c->method->half_closed != NULL)
        c->method->half_closed(c);
}

/* Hands the message over without a copy where it is in one piece. */
static void message_take(struct call *c, const grpc_byte_buffer *message)
{
    const grpc_slice_buffer *pieces = &message->data.raw.slice_buffer;
    struct buf *scratch = &c->server->scratch;
    struct bytes whole = {NULL, 0};
    if (pieces->count == 1) {
        whole = slice_bytes(&pieces->slices[0]);
    } else {
        buf_clear(scratch);
        for (size_t i = 0; i < pieces->count; i++) {
            struct bytes piece = slice_bytes(&pieces->slices[i]);
            buf_put(scratch, piece.data, piece.size);
        }
        whole = buf_bytes(scratch);
    }
    if (pieces->count > 1 && buf_failed(scratch))
        call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED, "out of memory");
    else
        c->method->message(c, whole);
}

static void message_done(struct op *op, bool ok)
{
    struct call *c = op->call;
    c->operations--;
    c->reading = false;
    /* The method may ask for the next message, which libgrpc may put into
     * c->incoming at once. */
    grpc_byte_buffer *message = c->incoming;
    c->incoming = NULL;
    if (!ok || message == NULL)
        half_close(c);
    else if (!c->ended)
        message_take(c, message);
    if (message != NULL)
        grpc_byte_buffer_destroy(message);
    call_settle(c);
}

static void finish_done(struct op *op, bool ok)
{
    (void)ok; /* the client was faster: the close says so */
    op->call->operations--;
    call_settle(op->call);
}

static void close_done(struct op *op, bool ok)
{
    struct call *c = op->call;
    (void)ok;
    c->operations--;
    c->closed = true;
    c->ended = true;
    half_close(c);
    if (c->method->closed != NULL)
        c->method->closed(c);
    call_settle(c);
}

/* Nobody vouches for who calls it. */
static bool is_stranger(const struct method *method)
{
    return method->who == FOR_ANYBODY;
}

/* --- freeing -------------------------------------------------------------- */

void call_detach(struct call *c)
{
    if (c->rpc != NULL)
        grpc_call_unref(c->rpc);
    c->rpc = NULL;
}

void call_free(struct call *c)
{
    if (c->method->release != NULL)
        c->method->release(c);
    call_detach(c);
    c->server->call_count--;
    c->server->stranger_count -= is_stranger(c->method);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        c->server->calls = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    free(c);
}

void call_settle(struct call *c)
{
    if (c->operations == 0 && c->closed &&
        (c->method->busy == NULL || !c->method->busy(c)))
        call_free(c);
}

void call_finish_stream(struct call *c, enum stream_end end, uint64_t value)
{
    unsigned long long number = value;
    switch (end) {
    case STREAM_GOES_ON:
        return;
    case STREAM_GAP:
        call_trailer(c, "holdfast-expected-sequence", value);
        call_finish(c, GRPC_STATUS_OUT_OF_RANGE, "expected %llu", number);
        return;
    case STREAM_SUPERSEDED:
        call_trailer(c, "holdfast-stored-session", value);
        call_finish(c, GRPC_STATUS_ABORTED, "superseded by session %llu",
                    number);
        return;
    case STREAM_NOTFOUND:
        call_finish(c, GRPC_STATUS_NOT_FOUND,
                    "Network %u not found, or the gateway was forgotten",
                    c->location);
        return;
    case STREAM_LIMIT:
        call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
                    "location %u has too many gateways", c->location);
        return;
    case STREAM_UNNAMED:
        call_finish(c, GRPC_STATUS_FAILED_PRECONDITION,
                    "several gateways are called %s here: call Config first, "
                    "on this connection",
                    c->hostname);
        return;
    case STREAM_BROKEN:
        break;
    }
    call_finish(c, GRPC_STATUS_INTERNAL, "the log refused our record");
}

void call_refuse_overload(struct call *c)
{
    struct rpc_server *g = c->server;
    unsigned mib = (unsigned)(g->ingest.bytes_in_flight >> 20);
    uint64_t count;
    atomic_fetch_add(&g->ingest.counters->rejected_overload, 1);
    if (refusal_is_news(g, TOO_MANY_BYTES, &count))
        log_warn("overload",
                 "%u MiB of reports wait to be committed: refused a stream "
                 "(%llu since the last line)",
                 mib, (unsigned long long)count);
    call_finish(c, GRPC_STATUS_RESOURCE_EXHAUSTED,
                "this node holds %u MiB of reports that are not committed yet: "
                "try another, or later",
                mib);
}

bool call_has_room(struct call *c)
{
    if (!ingest_is_full(&c->server->ingest))
        return true;
    call_refuse_overload(c);
    return false;
}

/* --- accepting ------------------------------------------------------------ */

static void unknown_open(struct call *c)
{
    call_finish(c, GRPC_STATUS_UNIMPLEMENTED, "no such method");
}

static const struct method method_unknown = {
    .size = sizeof(struct call), .who = FOR_ANYBODY, .open = unknown_open};

static const struct method *method_find(const grpc_slice *path)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (grpc_slice_str_cmp(*path, methods[i]->path) == 0)
            return methods[i];
    return &method_unknown;
}

static void watch_close(struct call *c)
{
    grpc_op watch = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    watch.data.recv_close_on_server.cancelled = &c->cancelled;
    batch_start(c, &watch, 1, &c->close);
}

/* Costs no memory that the client could make last. */
static void turn_away(struct rpc_server *g, grpc_call *rpc)
{
    uint64_t count;
    atomic_fetch_add(&g->ingest.counters->rejected_calls, 1);
    if (refusal_is_news(g, TOO_MANY_CALLS, &count))
        log_warn("overload",
                 "%u calls are open: refused one (%llu since the last line)",
                 g->call_count, (unsigned long long)count);
    grpc_call_cancel_with_status(
        rpc, GRPC_STATUS_RESOURCE_EXHAUSTED,
        "this node carries too many calls: try another, or later", NULL);
    grpc_call_unref(rpc);
}

void call_accept(struct rpc_server *g, struct acceptor *from)
{
    const struct method *method = method_find(&from->details.method);
    bool too_many = g->call_count >= CALLS_MAX ||
                    (is_stranger(method) && g->stranger_count >= STRANGERS_MAX);
    struct call *c = too_many ? NULL : calloc(1, method->size);
    if (c == NULL) {
        turn_away(g, from->rpc);
        return;
    }
    g->call_count++;
    g->stranger_count += is_stranger(method);
    c->server = g;
    c->method = method;
    c->rpc = from->rpc;
    c->next = g->calls;
    if (g->calls != NULL)
        g->calls->previous = c;
    g->calls = c;
    c->close = (struct op){close_done, c};
    c->headers = (struct op){headers_done, c};
    c->message = (struct op){message_done, c};
    c->send = (struct op){send_done, c};
    c->finish = (struct op){finish_done, c};
    watch_close(c);
    if (g->draining && method->who != FOR_ANYBODY)
        call_finish(c, GRPC_STATUS_UNAVAILABLE, DRAINING_TEXT);
    else if (caller_is_welcome(c, &from->metadata))
        method->open(c);
}
