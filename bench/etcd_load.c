/* holdfast-etcd-load: puts a second that an etcd v3 cluster acknowledges, so
 * that bench/ingest can put it beside ours: clients in a closed loop, each with
 * one request under way, a put or a transaction of many. etcd's messages are
 * written with proto/wire, its service is called through the C core as our own
 * generator calls ours. */
#include "bench/measure.h"

#include "base/clock.h"
#include "proto/wire.h"

#include <getopt.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    ENDPOINTS_MAX = 9,
    CLIENTS_MAX = 4096,
    CHANNELS_MAX = 4096,
    /* The size of a report as PostgreSQL's rows hold it, about. */
    KEY_SIZE = 50,
    VALUE_SIZE = 120,
    KEYS = 20000,
    WARMUP_MS = 2000,
    DRAIN_MS = 5000,
};

/* etcd's etcdserverpb, field numbers of rpc.proto */
enum {
    PUT_KEY = 1,
    PUT_VALUE = 2,
    TXN_SUCCESS = 2,
    OP_PUT = 2,
};

struct bench;

struct client {
    struct bench *bench; /* borrowed */
    uint32_t number;
    grpc_call *call; /* owned; NULL: none under way */
    uint64_t sent_ns;
    /* where the core writes; live until the tag */
    grpc_metadata_array headers, trailers;
    grpc_byte_buffer *received;
    grpc_status_code status;
    grpc_slice details;
};

struct bench {
    char *endpoints[ENDPOINTS_MAX]; /* borrowed from argv */
    size_t endpoint_count;
    uint32_t client_count, channel_count, puts, seconds;
    struct client *clients; /* owned */
    grpc_channel *channels[CHANNELS_MAX];
    grpc_completion_queue *queue;
    struct buf message;
    uint64_t random;
    uint32_t under_way, failures;
    bool stopping;
    struct measure measure;
};

static const char usage[] =
    "usage: holdfast-etcd-load --endpoints ADDRESS,… [options]\n"
    "  --clients N      in a closed loop (512)\n"
    "  --connections N  that they share (12)\n"
    "  --puts N         in a transaction; 1: a plain put (1)\n"
    "  --seconds N      measured (10), after 2 of warm-up\n"
    "  --pids PID,…     the nodes: CPU by thread is printed\n";

/* --- one request ------------------------------------------------------------
 */

static uint32_t next_key(struct bench *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return (uint32_t)(b->random % KEYS);
}

static void put_fields(struct bench *b, uint32_t number)
{
    static const uint8_t value[VALUE_SIZE] = "a report";
    char key[KEY_SIZE + 1];
    snprintf(key, sizeof key, "s/%0*u", KEY_SIZE - 2, number % KEYS);
    wire_put_bytes(&b->message, PUT_KEY, bytes_of_string(key));
    wire_put_bytes(&b->message, PUT_VALUE, (struct bytes){value, sizeof value});
}

static void encode(struct bench *b)
{
    uint32_t first = next_key(b);
    buf_clear(&b->message);
    if (b->puts == 1) {
        put_fields(b, first);
        return;
    }
    /* Neighbours: a transaction may not put one key twice. */
    for (uint32_t i = 0; i < b->puts; i++) {
        size_t operation = wire_open(&b->message, TXN_SUCCESS);
        size_t put = wire_open(&b->message, OP_PUT);
        put_fields(b, first + i);
        wire_close(&b->message, put);
        wire_close(&b->message, operation);
    }
}

static void send_request(struct client *c)
{
    struct bench *b = c->bench;
    const char *method =
        b->puts == 1 ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Txn";
    encode(b);
    c->call =
        grpc_channel_create_call(b->channels[c->number % b->channel_count],
                                 NULL, GRPC_PROPAGATE_DEFAULTS, b->queue,
                                 grpc_slice_from_static_string(method), NULL,
                                 gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_metadata_array_init(&c->headers);
    grpc_metadata_array_init(&c->trailers);
    c->received = NULL;
    c->details = grpc_empty_slice();
    grpc_slice slice = grpc_slice_from_copied_buffer(
        (const char *)b->message.data, b->message.size);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA},
        {.op = GRPC_OP_RECV_MESSAGE},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT},
    };
    ops[1].data.send_message.send_message = message;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->headers;
    ops[4].data.recv_message.recv_message = &c->received;
    ops[5].data.recv_status_on_client.trailing_metadata = &c->trailers;
    ops[5].data.recv_status_on_client.status = &c->status;
    ops[5].data.recv_status_on_client.status_details = &c->details;
    c->sent_ns = clock_mono_ns();
    if (grpc_call_start_batch(c->call, ops, 6, c, NULL) == GRPC_CALL_OK)
        b->under_way++;
    else
        b->failures++;
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(slice);
}

static void answered(struct client *c)
{
    struct bench *b = c->bench;
    b->under_way--;
    if (c->status == GRPC_STATUS_OK) {
        measure_note(&b->measure, b->puts, c->sent_ns);
    } else if (b->failures++ == 0) {
        char *details = grpc_slice_to_c_string(c->details);
        fprintf(stderr, "holdfast-etcd-load: status %d, %s\n", (int)c->status,
                details);
        gpr_free(details);
    }
    grpc_metadata_array_destroy(&c->headers);
    grpc_metadata_array_destroy(&c->trailers);
    grpc_slice_unref(c->details);
    if (c->received != NULL)
        grpc_byte_buffer_destroy(c->received);
    grpc_call_unref(c->call);
    c->call = NULL;
}

/* --- running ----------------------------------------------------------------
 */

static void serve(struct bench *b, uint64_t until_ms)
{
    for (;;) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= until_ms || b->under_way == 0)
            return;
        gpr_timespec deadline = gpr_time_add(
            gpr_now(GPR_CLOCK_MONOTONIC),
            gpr_time_from_millis((int64_t)(until_ms - now_ms), GPR_TIMESPAN));
        grpc_event event = grpc_completion_queue_next(b->queue, deadline, NULL);
        if (event.type != GRPC_OP_COMPLETE)
            continue;
        struct client *c = event.tag;
        answered(c);
        if (!b->stopping)
            send_request(c);
    }
}

static void open_channels(struct bench *b)
{
    char key[] = GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL;
    grpc_arg own = {.type = GRPC_ARG_INTEGER, .key = key, .value.integer = 1};
    grpc_channel_args arguments = {1, &own};
    grpc_channel_credentials *plain = grpc_insecure_credentials_create();
    for (uint32_t i = 0; i < b->channel_count; i++)
        b->channels[i] = grpc_channel_create(
            b->endpoints[i % b->endpoint_count], plain, &arguments);
    grpc_channel_credentials_release(plain);
}

static int run(struct bench *b)
{
    open_channels(b);
    for (uint32_t i = 0; i < b->client_count; i++) {
        b->clients[i] = (struct client){.bench = b, .number = i};
        send_request(&b->clients[i]);
    }
    serve(b, clock_mono_ms() + WARMUP_MS);
    measure_start(&b->measure);
    serve(b, clock_mono_ms() + b->seconds * 1000u);
    measure_stop(&b->measure, clock_mono_ns());
    b->stopping = true;
    serve(b, clock_mono_ms() + DRAIN_MS);
    if (b->measure.operations == 0 || b->under_way > 0 ||
        b->failures > b->measure.operations / 100) {
        fprintf(stderr,
                "holdfast-etcd-load: no result: %u failures, %u "
                "requests without an answer\n",
                b->failures, b->under_way);
        return 1;
    }
    measure_print(&b->measure);
    return 0;
}

static void parse(int argc, char **argv, struct bench *b)
{
    static const struct option flags[] = {
        {"endpoints", required_argument, NULL, 'e'},
        {"clients", required_argument, NULL, 'c'},
        {"connections", required_argument, NULL, 'n'},
        {"puts", required_argument, NULL, 'u'},
        {"seconds", required_argument, NULL, 's'},
        {"pids", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (flag == 'e') {
            for (char *at = strtok(optarg, ","); at != NULL;
                 at = strtok(NULL, ","))
                if (b->endpoint_count < ENDPOINTS_MAX)
                    b->endpoints[b->endpoint_count++] = at;
        } else if (flag == 'c') {
            b->client_count = measure_number("clients", optarg, CLIENTS_MAX);
        } else if (flag == 'n') {
            b->channel_count =
                measure_number("connections", optarg, CHANNELS_MAX);
        } else if (flag == 'u') {
            /* etcd's own limit, --max-txn-ops */
            b->puts = measure_number("puts", optarg, 128);
        } else if (flag == 's') {
            b->seconds = measure_number("seconds", optarg, 3600);
        } else if (flag == 'p') {
            measure_pids(&b->measure, optarg);
        } else {
            b->endpoint_count = 0;
            break;
        }
    }
    if (b->endpoint_count == 0 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void shut_down(struct bench *b)
{
    for (uint32_t i = 0; i < b->client_count; i++)
        if (b->clients[i].call != NULL)
            grpc_call_cancel(b->clients[i].call, NULL);
    grpc_completion_queue_shutdown(b->queue);
    grpc_event event;
    do {
        event = grpc_completion_queue_next(
            b->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_OP_COMPLETE)
            answered(event.tag);
    } while (event.type != GRPC_QUEUE_SHUTDOWN);
    for (uint32_t i = 0; i < b->channel_count; i++)
        if (b->channels[i] != NULL)
            grpc_channel_destroy(b->channels[i]);
    grpc_completion_queue_destroy(b->queue);
}

int main(int argc, char **argv)
{
    static struct bench b = {.client_count = 512,
                             .channel_count = 12,
                             .puts = 1,
                             .seconds = 10,
                             .random = 88172645463325252u};
    int status = 1;
    parse(argc, argv, &b);
    grpc_init();
    b.queue = grpc_completion_queue_create_for_next(NULL);
    b.clients = calloc(b.client_count, sizeof *b.clients);
    if (b.clients != NULL)
        status = run(&b);
    shut_down(&b);
    grpc_shutdown();
    free(b.clients);
    buf_deinit(&b.message);
    measure_deinit(&b.measure);
    return status;
}
