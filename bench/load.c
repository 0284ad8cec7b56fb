/* holdfast-load: how many reports a second a cluster acknowledges, how long an
 * acknowledgement takes, and what a report costs on each thread of the nodes.
 * Only what is acknowledged counts, and a node acknowledges what a majority has
 * on disk. bench/run starts a cluster and calls this. */
#include "bench/cpu.h"
#include "bench/stream.h"

#include "base/clock.h"

#include <getopt.h>
#include <grpc/grpc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { TARGETS_MAX = 16, PIDS_MAX = 16, DRAIN_MS = 10000 };

struct options {
    char *targets[TARGETS_MAX]; /* borrowed from argv */
    size_t target_count;
    pid_t pids[PIDS_MAX];
    size_t pid_count;
    uint32_t gateways, devices;
    uint32_t seconds, warmup_s;
};

static const char usage[] =
    "usage: holdfast-load --targets ADDRESS,… --token TOKEN [options]\n"
    "  --mode report|stats   holdfast.v1 batches, or defguard's single "
    "messages\n"
    "  --gateways N          streams (report: 8, stats: 8)\n"
    "  --devices N           per gateway (1000)\n"
    "  --batch N             peers in a batch, report only (1000)\n"
    "  --in-flight N         batches unacknowledged per stream (4)\n"
    "  --rate N              reports a second, all streams together, report "
    "only\n"
    "                        (as fast as they are acknowledged)\n"
    "  --seconds N           measured (10), after --warmup N (2)\n"
    "  --pids PID,…          the nodes: CPU by thread is printed\n"
    "The token is a gateway token of a location that accepts unknown peers.\n";

static uint32_t number_of(const char *flag, const char *text, uint32_t most)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != '\0' || value == 0 || value > most) {
        fprintf(stderr, "--%s: \"%s\" is not a number from 1 to %u\n", flag,
                text, most);
        exit(2);
    }
    return (uint32_t)value;
}

static void parse_targets(struct options *o, char *list)
{
    for (char *at = strtok(list, ","); at != NULL; at = strtok(NULL, ","))
        if (o->target_count < TARGETS_MAX)
            o->targets[o->target_count++] = at;
}

static void parse_pids(struct options *o, char *list)
{
    for (char *at = strtok(list, ","); at != NULL; at = strtok(NULL, ","))
        if (o->pid_count < PIDS_MAX)
            o->pids[o->pid_count++] = (pid_t)number_of("pids", at, 1 << 30);
}

static void parse(int argc, char **argv, struct options *o, struct load *load)
{
    static const struct option flags[] = {
        {"targets", required_argument, NULL, 't'},
        {"token", required_argument, NULL, 'k'},
        {"mode", required_argument, NULL, 'm'},
        {"gateways", required_argument, NULL, 'g'},
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
            load->token = optarg;
            break;
        case 'm':
            load->mode =
                strcmp(optarg, "stats") == 0 ? LOAD_STATS : LOAD_REPORT;
            break;
        case 'g':
            o->gateways = number_of("gateways", optarg, 1024);
            break;
        case 'd':
            o->devices = number_of("devices", optarg, 1000000);
            break;
        case 'b':
            load->batch = number_of("batch", optarg, REPORT_PEERS_MAX);
            break;
        case 'f':
            load->in_flight = number_of("in-flight", optarg, IN_FLIGHT_MAX);
            break;
        case 'r':
            load->rate = number_of("rate", optarg, 100 * 1000 * 1000);
            break;
        case 's':
            o->seconds = number_of("seconds", optarg, 3600);
            break;
        case 'w':
            o->warmup_s = number_of("warmup", optarg, 600);
            break;
        case 'p':
            parse_pids(o, optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (o->target_count == 0 || load->token == NULL || optind != argc) {
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

/* Serves the queue until @until_ms (monotonic) or until every stream is over.
 */
static void serve(struct load *load, uint64_t until_ms)
{
    while (load->open > 0 && !load->failed) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= until_ms)
            return;
        /* With a rate it is the clock that sends, not the acknowledgement. */
        uint64_t wait_ms = load->rate > 0 ? 1 : until_ms - now_ms;
        if (load->rate > 0)
            pump_all(load);
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

static void read_cpu(const struct options *o, struct cpu_usage *used)
{
    *used = (struct cpu_usage){.count = 0};
    for (size_t i = 0; i < o->pid_count; i++)
        cpu_add(used, o->pids[i]);
}

static double own_cpu(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static int ascending(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double percentile_ms(const struct load *load, double part)
{
    if (load->latency_count == 0)
        return 0;
    size_t at = (size_t)(part * (double)(load->latency_count - 1));
    return load->latency_us[at] / 1000.0;
}

struct measurement {
    uint64_t start_ns, end_ns;
    double own_s;
    struct cpu_usage before, after;
};

static void print(const struct options *o, struct load *load,
                  const struct measurement *m)
{
    struct cpu_usage used;
    double seconds = (double)(m->end_ns - m->start_ns) / 1e9;
    double sum = cpu_difference(&m->before, &m->after, &used);
    double reports = load->acknowledged > 0 ? (double)load->acknowledged : 1;
    if (load->latency_count > 0)
        qsort(load->latency_us, load->latency_count, sizeof *load->latency_us,
              ascending);
    printf("reports %llu\nseconds %.3f\nreports_per_s %.0f\n",
           (unsigned long long)load->acknowledged, seconds,
           (double)load->acknowledged / seconds);
    if (load->mode == LOAD_REPORT)
        printf("ack_p50_ms %.2f\nack_p99_ms %.2f\n", percentile_ms(load, 0.5),
               percentile_ms(load, 0.99));
    printf("generator_us_per_report %.3f\n", m->own_s * 1e6 / reports);
    if (o->pid_count == 0)
        return;
    printf("nodes_us_per_report %.3f\n", sum * 1e6 / reports);
    for (size_t i = 0; i < used.count; i++)
        if (used.threads[i].seconds > 0)
            printf("cpu %-16s %8.2f s %8.3f us/report\n", used.threads[i].name,
                   used.threads[i].seconds,
                   used.threads[i].seconds * 1e6 / reports);
}

/* Report: a window in the middle of a steady load. Stats: everything, up to
 * the last Empty, for only then is it known to be durable. */
static int run(const struct options *o, struct load *load)
{
    struct measurement m = {0};
    struct errmsg e;
    for (uint32_t i = 0; i < load->stream_count; i++) {
        if (stream_open(&load->streams[i], load, &load->fleet.gateways[i],
                        o->targets[i % o->target_count], &e) != 0) {
            fprintf(stderr, "holdfast-load: %s\n", e.text);
            return 1;
        }
    }
    if (load->mode == LOAD_REPORT)
        serve(load, clock_mono_ms() + o->warmup_s * 1000u);
    load->measuring = true;
    read_cpu(o, &m.before);
    m.own_s = own_cpu();
    m.start_ns = clock_mono_ns();
    serve(load, clock_mono_ms() + o->seconds * 1000u);
    if (load->mode == LOAD_REPORT) {
        load->measuring = false;
        m.end_ns = clock_mono_ns();
        read_cpu(o, &m.after);
        m.own_s = own_cpu() - m.own_s;
    }
    load->stopping = true;
    pump_all(load);
    serve(load, clock_mono_ms() + DRAIN_MS);
    if (load->mode == LOAD_STATS) {
        m.end_ns = load->finished_ns;
        read_cpu(o, &m.after);
        m.own_s = own_cpu() - m.own_s;
    }
    if (load->failed || load->open > 0 || load->acknowledged == 0) {
        fprintf(stderr,
                "holdfast-load: no result: %u streams did not end "
                "well\n",
                load->open);
        return 1;
    }
    print(o, load, &m);
    return 0;
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
            if (tag->op == OP_RECEIVE && s->received != NULL) {
                grpc_byte_buffer_destroy(s->received);
                s->received = NULL;
            }
        }
    } while (event.type != GRPC_QUEUE_SHUTDOWN);
    for (uint32_t i = 0; i < load->stream_count; i++)
        if (load->streams[i].load != NULL)
            stream_deinit(&load->streams[i]);
    grpc_completion_queue_destroy(load->queue);
}

int main(int argc, char **argv)
{
    struct options o = {
        .gateways = 8, .devices = 1000, .seconds = 10, .warmup_s = 2};
    static struct load load = {.batch = 1000, .in_flight = 4};
    int status = 1;
    parse(argc, argv, &o, &load);
    grpc_init();
    load.queue = grpc_completion_queue_create_for_next(NULL);
    load.streams = calloc(o.gateways, sizeof *load.streams);
    load.stream_count = o.gateways;
    if (load.streams != NULL &&
        fleet_init(&load.fleet, o.gateways, o.devices) == 0)
        status = run(&o, &load);
    shut_down(&load);
    grpc_shutdown();
    free(load.streams);
    free(load.latency_us);
    buf_deinit(&load.message);
    fleet_deinit(&load.fleet);
    return status;
}
