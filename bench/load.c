/* holdfast-load: how many reports a second a cluster acknowledges, how long an
 * acknowledgement takes, and what a report costs on each thread of the nodes.
 * Only what is acknowledged counts, and a node acknowledges what a majority has
 * on disk. bench/run starts a cluster and calls this. */
#include "bench/stream.h"

#include "base/clock.h"

#include <getopt.h>
#include <grpc/grpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    TARGETS_MAX = 16,
    GATEWAYS_MAX = 16384,
    OPEN_AT_ONCE = 64,
    OPEN_PAUSE_MS = 50,
    REOPEN_LOOK_MS = 20,
    DRAIN_MS = 10000,
};

struct options {
    char *targets[TARGETS_MAX]; /* borrowed from argv */
    size_t target_count;
    uint32_t gateways, devices;
    uint32_t seconds, warmup_s;
};

static const char usage[] =
    "usage: holdfast-load --targets ADDRESS,… --token TOKEN,… [options]\n"
    "  --mode report|stats   holdfast.v1 batches, or defguard's single "
    "messages\n"
    "  --gateways N          streams (8)\n"
    "  --connections N       that they share (one each, as in the field)\n"
    "  --devices N           per gateway (1000)\n"
    "  --batch N             peers in a batch, report only (1000)\n"
    "  --in-flight N         batches unacknowledged per stream (4)\n"
    "  --rate N              reports a second, all streams together, report "
    "only\n"
    "                        (as fast as they are acknowledged)\n"
    "  --seconds N           measured (10), after --warmup N (2)\n"
    "  --pids PID,…          the nodes: CPU by thread is printed\n"
    "A token is a gateway token of a location that accepts unknown peers, or "
    "that\n"
    "has the devices (holdfast-fill makes the same); the streams share the "
    "tokens\nout.\n";

static void parse_targets(struct options *o, char *list)
{
    for (char *at = strtok(list, ","); at != NULL; at = strtok(NULL, ","))
        if (o->target_count < TARGETS_MAX)
            o->targets[o->target_count++] = at;
}

static void parse_tokens(struct load *load, char *list)
{
    for (char *at = strtok(list, ","); at != NULL; at = strtok(NULL, ","))
        if (load->token_count < TOKENS_MAX)
            load->tokens[load->token_count++] = at;
}

static void parse(int argc, char **argv, struct options *o, struct load *load)
{
    static const struct option flags[] = {
        {"targets", required_argument, NULL, 't'},
        {"token", required_argument, NULL, 'k'},
        {"mode", required_argument, NULL, 'm'},
        {"gateways", required_argument, NULL, 'g'},
        {"connections", required_argument, NULL, 'c'},
        {"devices", required_argument, NULL, 'd'},
        {"batch", required_argument, NULL, 'b'},
        {"in-flight", required_argument, NULL, 'f'},
        {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"warmup", required_argument, NULL, 'w'},
        {"pids", required_argument, NULL, 'p'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int flag, at;
    while ((flag = getopt_long(argc, argv, "", flags, &at)) != -1) {
        switch (flag) {
        case 't':
            parse_targets(o, optarg);
            break;
        case 'k':
            parse_tokens(load, optarg);
            break;
        case 'm':
            load->mode =
                strcmp(optarg, "stats") == 0 ? LOAD_STATS : LOAD_REPORT;
            break;
        case 'g':
            o->gateways = measure_number("gateways", optarg, GATEWAYS_MAX);
            break;
        case 'c':
            load->channel_count =
                measure_number("connections", optarg, GATEWAYS_MAX);
            break;
        case 'd':
            o->devices = measure_number("devices", optarg, 1000000);
            break;
        case 'b':
            load->batch = measure_number("batch", optarg, REPORT_PEERS_MAX);
            break;
        case 'f':
            load->in_flight =
                measure_number("in-flight", optarg, IN_FLIGHT_MAX);
            break;
        case 'r':
            load->rate = measure_number("rate", optarg, 100 * 1000 * 1000);
            break;
        case 's':
            o->seconds = measure_number("seconds", optarg, 3600);
            break;
        case 'w':
            o->warmup_s = measure_number("warmup", optarg, 600);
            break;
        case 'p':
            measure_pids(&load->measure, optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (o->target_count == 0 || load->token_count == 0 || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

/* --- running -----------------------------------------------------------------
 */

static void pump_all(struct load *load)
{
    for (uint32_t i = 0; i < load->stream_count; i++)
        stream_pump(&load->streams[i]);
}

/* With a rate it is the clock that sends, not the acknowledgement, and every
 * stream has its turn. */
static void pump_due(struct load *load)
{
    for (uint32_t i = 0; i < load->stream_count && load_is_due(load); i++) {
        stream_pump(&load->streams[load->turn]);
        load->turn = (load->turn + 1) % load->stream_count;
    }
}

static void reopen_due(struct load *load, uint64_t now_ms)
{
    for (uint32_t i = 0; i < load->stream_count; i++)
        stream_reopen(&load->streams[i], now_ms);
    load->reopen_ms = now_ms + REOPEN_LOOK_MS;
}

/* Serves the queue until @until_ms (monotonic) or until every stream is over.
 */
static void serve(struct load *load, uint64_t until_ms)
{
    while (load->open > 0 && !load->failed) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= until_ms)
            return;
        uint64_t wait_ms = until_ms - now_ms;
        if (load->rate > 0 && !load->stopping) {
            pump_due(load);
            wait_ms = 1;
        }
        if (load->postponed > 0) {
            if (now_ms >= load->reopen_ms)
                reopen_due(load, now_ms);
            if (wait_ms > REOPEN_LOOK_MS)
                wait_ms = REOPEN_LOOK_MS;
        }
        gpr_timespec deadline =
            gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                         gpr_time_from_millis((int64_t)wait_ms, GPR_TIMESPAN));
        grpc_event event =
            grpc_completion_queue_next(load->queue, deadline, NULL);
        if (event.type != GRPC_OP_COMPLETE)
            continue;
        struct stream_tag *tag = event.tag;
        stream_continue(tag->stream, tag->op, event.success != 0);
    }
}

/* Report: a window in the middle of a steady load. Stats: everything, up to
 * the last Empty, for only then is it known to be durable. */
static int run(const struct options *o, struct load *load)
{
    struct measure *m = &load->measure;
    struct errmsg e;
    for (uint32_t i = 0; i < load->channel_count; i++)
        load->channels[i] = stream_connect(o->targets[i % o->target_count]);
    for (uint32_t i = 0; i < o->gateways; i++) {
        if (stream_open(&load->streams[i], load, &load->fleet.gateways[i],
                        &e) != 0) {
            fprintf(stderr, "holdfast-load: %s\n", e.text);
            return 1;
        }
        load->stream_count++;
        /* Thousands at once would run into the nodes' time for a handshake. */
        if (load->stream_count % OPEN_AT_ONCE == 0)
            serve(load, clock_mono_ms() + OPEN_PAUSE_MS);
    }
    if (load->mode == LOAD_REPORT)
        serve(load, clock_mono_ms() + o->warmup_s * 1000u);
    measure_start(m);
    serve(load, clock_mono_ms() + o->seconds * 1000u);
    if (load->mode == LOAD_REPORT)
        measure_stop(m, clock_mono_ns());
    load->stopping = true;
    pump_all(load);
    serve(load, clock_mono_ms() + DRAIN_MS);
    if (load->mode == LOAD_STATS)
        measure_stop(m, load->finished_ns);
    if (load->failed || load->open > 0 || m->operations == 0) {
        fprintf(stderr,
                "holdfast-load: no result: %u streams did not end "
                "well\n",
                load->open);
        return 1;
    }
    measure_print(m);
    printf("refused_streams %llu\n", (unsigned long long)load->postponements);
    return 0;
}

/* A connection a gateway. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Tags must be drained before the calls go. */
static void shut_down(struct load *load)
{
    for (uint32_t i = 0; i < load->stream_count; i++)
        if (load->streams[i].call != NULL)
            grpc_call_cancel(load->streams[i].call, NULL);
    grpc_completion_queue_shutdown(load->queue);
    grpc_event event;
    do {
        event = grpc_completion_queue_next(
            load->queue, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (event.type == GRPC_OP_COMPLETE) {
            struct stream_tag *tag = event.tag;
            struct stream *s = tag->stream;
            s->pending--;
            if ((tag->op == OP_RECEIVE || tag->op == OP_EXCHANGE) &&
                s->received != NULL) {
                grpc_byte_buffer_destroy(s->received);
                s->received = NULL;
            }
        }
    } while (event.type != GRPC_QUEUE_SHUTDOWN);
    for (uint32_t i = 0; i < load->stream_count; i++)
        if (load->streams[i].load != NULL)
            stream_deinit(&load->streams[i]);
    for (uint32_t i = 0; load->channels != NULL && i < load->channel_count; i++)
        if (load->channels[i] != NULL)
            grpc_channel_destroy(load->channels[i]);
    grpc_completion_queue_destroy(load->queue);
}

int main(int argc, char **argv)
{
    struct options o = {
        .gateways = 8, .devices = 1000, .seconds = 10, .warmup_s = 2};
    static struct load load = {.batch = 1000, .in_flight = 4};
    int status = 1;
    parse(argc, argv, &o, &load);
    raise_descriptor_limit();
    grpc_init();
    load.queue = grpc_completion_queue_create_for_next(NULL);
    load.streams = calloc(o.gateways, sizeof *load.streams);
    if (load.channel_count == 0 || load.channel_count > o.gateways)
        load.channel_count = o.gateways;
    load.channels = calloc(load.channel_count, sizeof *load.channels);
    if (load.streams != NULL && load.channels != NULL &&
        fleet_init(&load.fleet, o.gateways, o.devices) == 0)
        status = run(&o, &load);
    shut_down(&load);
    grpc_shutdown();
    free(load.streams);
    free(load.channels);
    measure_deinit(&load.measure);
    buf_deinit(&load.message);
    fleet_deinit(&load.fleet);
    return status;
}
