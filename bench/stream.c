#include "bench/stream.h"

#include "base/assert.h"
#include "base/clock.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* After a refusal: doubled by each further one, the upper half random. */
enum { REOPEN_MS = 200, REOPEN_DOUBLINGS_MAX = 5 };

grpc_channel *stream_connect(const char *target)
{
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
         .value.integer = 1},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_HTTP_PROXY,
         .value.integer = 0},
    };
    grpc_channel_args list = {sizeof args / sizeof args[0], args};
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, plain, &list);
    grpc_channel_credentials_release(plain);
    return channel;
}

static bool start(struct stream *s, grpc_op *ops, size_t count,
                  enum stream_op op)
{
    grpc_call_error error =
        grpc_call_start_batch(s->call, ops, count, &s->tags[op], NULL);
    if (error != GRPC_CALL_OK) {
        fprintf(stderr, "stream %u: call error %d\n", s->gateway->number,
                (int)error);
        s->load->failed = true;
        return false;
    }
    s->pending++;
    return true;
}

static grpc_op receive_op(struct stream *s)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &s->received;
    return op;
}

static void receive(struct stream *s)
{
    grpc_op op = receive_op(s);
    start(s, &op, 1, OP_RECEIVE);
}

/* With one batch in flight the answer is asked for together with sending it, as
 * a unary call does: alone, libgrpc would send a window update for it at once,
 * a system call of its own. */
static bool takes_turns(const struct stream *s)
{
    return s->load->mode == LOAD_REPORT && s->load->in_flight == 1;
}

static void send_headers(struct stream *s)
{
    char name[32];
    const char *token =
        s->load->tokens[s->gateway->number % s->load->token_count];
    snprintf(name, sizeof name, "load-%u", s->gateway->number);
    grpc_metadata list[] = {
        {.key = grpc_slice_from_static_string("authorization"),
         .value = grpc_slice_from_copied_string(token)},
        {.key = grpc_slice_from_static_string("hostname"),
         .value = grpc_slice_from_copied_string(name)},
    };
    grpc_op op = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    op.data.send_initial_metadata.count = sizeof list / sizeof list[0];
    op.data.send_initial_metadata.metadata = list;
    start(s, &op, 1, OP_START);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
        grpc_slice_unref(list[i].value);
}

int stream_open(struct stream *s, struct load *load,
                struct fleet_gateway *gateway, struct errmsg *e)
{
    const char *method = load->mode == LOAD_REPORT
                             ? "/holdfast.v1.Stats/Report"
                             : "/gateway.GatewayService/Stats";
    *s = (struct stream){.load = load, .gateway = gateway};
    for (unsigned op = 0; op < OP_COUNT; op++)
        s->tags[op] = (struct stream_tag){s, (enum stream_op)op};
    grpc_metadata_array_init(&s->headers);
    grpc_metadata_array_init(&s->trailers);
    s->details = grpc_empty_slice();
    s->session = clock_wall_ms();
    s->call = grpc_channel_create_call(
        load->channels[gateway->number % load->channel_count], NULL,
        GRPC_PROPAGATE_DEFAULTS, load->queue,
        grpc_slice_from_static_string(method), NULL,
        gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    if (s->call == NULL)
        return errmsg_set(e, ERR_IO, "stream %u: no call", gateway->number);
    load->open++;
    send_headers(s);
    grpc_op op = {.op = GRPC_OP_RECV_INITIAL_METADATA};
    op.data.recv_initial_metadata.recv_initial_metadata = &s->headers;
    start(s, &op, 1, OP_HEADERS);
    op = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op.data.recv_status_on_client.trailing_metadata = &s->trailers;
    op.data.recv_status_on_client.status = &s->status;
    op.data.recv_status_on_client.status_details = &s->details;
    start(s, &op, 1, OP_STATUS);
    if (!takes_turns(s))
        receive(s);
    return 0;
}

void stream_reopen(struct stream *s, uint64_t now_ms)
{
    struct load *load = s->load;
    struct errmsg e;
    if (s->reopen_ms == 0 || s->pending > 0)
        return;
    if (load->stopping) {
        s->reopen_ms = 0;
        s->over = true;
        load->open--;
        load->postponed--;
    } else if (now_ms >= s->reopen_ms) {
        unsigned refusals = s->refusals;
        stream_deinit(s);
        load->open--;
        load->postponed--;
        if (stream_open(s, load, s->gateway, &e) != 0) {
            fprintf(stderr, "%s\n", e.text);
            load->failed = true;
        }
        s->refusals = refusals;
    }
}

void stream_deinit(struct stream *s)
{
    ASSERT(s->pending == 0);
    grpc_metadata_array_destroy(&s->headers);
    grpc_metadata_array_destroy(&s->trailers);
    grpc_slice_unref(s->details);
    if (s->call != NULL)
        grpc_call_unref(s->call);
}

/* --- sending ---------------------------------------------------------------
 */

static void encode_report(struct stream *s, uint64_t now_ms)
{
    struct load *load = s->load;
    fleet_sample(&load->fleet, s->gateway, load->batch, now_ms / 1000,
                 load->reports);
    struct report_batch batch = {
        .session = s->session,
        .sequence = s->sequence,
        .sampled_at_ms = now_ms,
        .machine = s->sequence == 1 ? bytes_of_string("holdfast-load")
                                    : (struct bytes){NULL, 0},
        .peers = load->reports,
        .peer_count = load->batch,
        .awaits_answer = takes_turns(s),
    };
    report_batch_encode(&load->message, &batch);
}

static void encode_stats(struct stream *s, uint64_t now_ms)
{
    struct load *load = s->load;
    fleet_sample(&load->fleet, s->gateway, 1, now_ms / 1000, load->reports);
    stats_update_encode(&load->message, s->sequence + 1, load->reports);
}

/* When the next batch of all streams is due. With a rate, latency counts from
 * there: a cluster that stalls holds back what would have been sent. */
static uint64_t due_ns(struct load *load)
{
    if (load->rate == 0)
        return clock_mono_ns();
    if (load->began_ns == 0)
        load->began_ns = clock_mono_ns();
    return load->began_ns +
           load->batches * load->batch * UINT64_C(1000000000) / load->rate;
}

bool load_is_due(struct load *load)
{
    return due_ns(load) <= clock_mono_ns();
}

static void send_next(struct stream *s, uint64_t due)
{
    struct load *load = s->load;
    load->batches++;
    uint64_t now_ms = clock_wall_ms();
    s->sequence++;
    buf_clear(&load->message);
    if (load->mode == LOAD_REPORT)
        encode_report(s, now_ms);
    else
        encode_stats(s, now_ms);
    ASSERT(!buf_failed(&load->message));
    s->sent_ns[s->sequence % IN_FLIGHT_MAX] = due;

    grpc_slice slice = grpc_slice_from_copied_buffer(
        (const char *)load->message.data, load->message.size);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE}, receive_op(s)};
    ops[0].data.send_message.send_message = message;
    /* A gateway writes a tick's messages in one go: only every 64th has to
     * leave at once. */
    if (load->mode == LOAD_STATS && s->sequence % 64 != 0)
        ops[0].flags = GRPC_WRITE_BUFFER_HINT;
    s->sending = takes_turns(s) ? start(s, ops, 2, OP_EXCHANGE)
                                : start(s, ops, 1, OP_SEND);
    grpc_byte_buffer_destroy(message);
}

static void half_close(struct stream *s)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    s->closing = true;
    s->sending = start(s, &op, 1, OP_SEND);
}

void stream_pump(struct stream *s)
{
    struct load *load = s->load;
    if (s->over || s->reopen_ms != 0 || s->sending || s->closing)
        return;
    bool drained = load->mode == LOAD_STATS || s->acked == s->sequence;
    if (load->stopping) {
        if (drained)
            half_close(s);
        return;
    }
    uint64_t due = due_ns(load);
    if (due <= clock_mono_ns() &&
        (load->mode == LOAD_STATS || s->sequence - s->acked < load->in_flight))
        send_next(s, due);
}

/* --- receiving -------------------------------------------------------------
 */

/* Acknowledgements cover all before. */
static void take_ack(struct stream *s, uint64_t sequence)
{
    struct load *load = s->load;
    if (sequence > s->sequence) {
        fprintf(stderr, "stream %u: acknowledged %llu, sent %llu\n",
                s->gateway->number, (unsigned long long)sequence,
                (unsigned long long)s->sequence);
        load->failed = true;
        return;
    }
    for (; s->acked < sequence; s->acked++)
        measure_note(&load->measure, load->batch,
                     s->sent_ns[(s->acked + 1) % IN_FLIGHT_MAX]);
    s->refusals = 0;
    load->finished_ns = clock_mono_ns();
}

/* The closing Empty: all that this stream sent is committed. */
static void take_empty(struct stream *s)
{
    struct load *load = s->load;
    s->acked = s->sequence;
    load->measure.operations += s->sequence;
    load->finished_ns = clock_mono_ns();
}

static void received(struct stream *s)
{
    grpc_byte_buffer_reader reader;
    struct report_ack ack;
    struct errmsg e;
    if (s->load->mode == LOAD_STATS) {
        take_empty(s);
        grpc_byte_buffer_destroy(s->received);
        return;
    }
    bool readable = grpc_byte_buffer_reader_init(&reader, s->received) != 0;
    grpc_slice all = readable ? grpc_byte_buffer_reader_readall(&reader)
                              : grpc_empty_slice();
    struct bytes message = {GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all)};
    if (!readable || report_ack_decode(message, &ack, &e) != 0) {
        fprintf(stderr, "stream %u: not a ReportAck\n", s->gateway->number);
        s->load->failed = true;
    } else {
        take_ack(s, ack.sequence);
    }
    grpc_slice_unref(all);
    if (readable)
        grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(s->received);
}

/* A node that is short of memory also sends connections away (GOAWAY). */
static bool is_refused(const struct stream *s)
{
    char *details = grpc_slice_to_c_string(s->details);
    bool refused = s->status == GRPC_STATUS_RESOURCE_EXHAUSTED ||
                   (s->status == GRPC_STATUS_UNAVAILABLE &&
                    strstr(details, "GOAWAY") != NULL);
    gpr_free(details);
    return refused && s->load->mode == LOAD_REPORT;
}

static void postpone(struct stream *s)
{
    uint32_t wait_ms = (uint32_t)REOPEN_MS << s->refusals;
    if (s->refusals < REOPEN_DOUBLINGS_MAX)
        s->refusals++;
    s->reopen_ms =
        clock_mono_ms() + wait_ms / 2 + (uint32_t)rand() % (wait_ms / 2);
    s->load->postponed++;
    s->load->postponements++;
}

static bool take_received(struct stream *s, bool ok)
{
    if (!ok || s->received == NULL)
        return false;
    received(s);
    s->received = NULL;
    return true;
}

static void ended(struct stream *s)
{
    if (is_refused(s)) {
        postpone(s);
        return;
    }
    s->over = true;
    s->load->open--;
    if (s->status == GRPC_STATUS_OK && s->closing && s->acked == s->sequence)
        return;
    char *details = grpc_slice_to_c_string(s->details);
    fprintf(stderr, "stream %u ended: status %d, %s\n", s->gateway->number,
            (int)s->status, details);
    gpr_free(details);
    s->load->failed = true;
}

void stream_continue(struct stream *s, enum stream_op op, bool ok)
{
    s->pending--;
    switch (op) {
    case OP_START:
    case OP_HEADERS:
        break;
    case OP_SEND:
        s->sending = false;
        break;
    case OP_EXCHANGE:
        s->sending = false;
        take_received(s, ok);
        break;
    case OP_RECEIVE:
        if (take_received(s, ok))
            receive(s);
        break;
    case OP_STATUS:
        ended(s);
        break;
    case OP_COUNT:
        break;
    }
    if (ok && (s->load->rate == 0 || s->load->stopping))
        stream_pump(s);
}
