/* holdfast-victoria-load: how many reports a second VictoriaMetrics takes as
 * influx lines, and the history that bench/overview asks both of us about: the
 * fleet is the one that holdfast-fill writes, so the numbers are the same. It
 * answers before anything is on disk. */
#include "bench/fleet.h"
#include "bench/http_client.h"
#include "bench/measure.h"

#include "base/clock.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINE_SIZE_MAX = 192, WARMUP_MS = 2000 };

struct options {
    const char *address; /* borrowed from argv */
    uint32_t locations, gateways, devices, lines, seconds, step_s;
    uint64_t reports, end_s; /* history: so many, the last ones at end_s */
};

struct bench {
    const struct options *options;
    struct fleet fleet;
    struct http_client client;
    struct buf text;
    uint32_t lines; /* in the text */
    uint64_t sent;  /* reports */
    struct measure measure;
};

static const char usage[] =
    "usage: holdfast-victoria-load --address IP:PORT [options]\n"
    "  --locations N  (10) --gateways N  of each (2) --devices N  of each "
    "(100)\n"
    "  --lines N      in a request (100000)\n"
    "  --seconds N    measured (10), after 2 of warm-up; or a history of\n"
    "  --reports N    every --step N seconds (30), up to the Unix time --end "
    "N\n"
    "  --pids PID,…   the server: its CPU is printed\n";

/* --- lines ------------------------------------------------------------------
 */

/* printf would cost more than the server does. */
static char *put_number(char *at, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

static char *put_text(char *at, const char *text)
{
    return stpcpy(at, text);
}

static void put_line(struct bench *b, uint32_t location, uint64_t device,
                     const struct stat_report *report, uint64_t time_s)
{
    uint8_t *room = buf_reserve(&b->text, LINE_SIZE_MAX);
    if (room == NULL)
        return;
    char *at = (char *)room;
    at = put_text(at, "wg,location=");
    at = put_number(at, location);
    at = put_text(at, ",device=");
    at = put_number(at, device);
    at = put_text(at, " upload=");
    at = put_number(at, report->upload);
    at = put_text(at, ",download=");
    at = put_number(at, report->download);
    at = put_text(at, ",handshake=");
    at = put_number(at, report->latest_handshake);
    at = put_text(at, " ");
    at = put_number(at, time_s);
    at = put_text(at, "000000000\n");
    b->text.size += (size_t)(at - (char *)room);
    b->lines++;
}

static int post(struct bench *b, struct errmsg *e)
{
    struct http_answer answer;
    uint64_t sent_ns = clock_mono_ns();
    if (buf_failed(&b->text))
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = http_client_ask(&b->client, "POST", "/write", "",
                             buf_bytes(&b->text), &answer, e);
    if (rv == 0 && answer.status != 204)
        rv = errmsg_set(e, ERR_IO, "status %d: %.*s", answer.status,
                        (int)answer.body.size, answer.body.data);
    measure_note(&b->measure, b->lines, sent_ns);
    b->sent += b->lines;
    b->lines = 0;
    buf_clear(&b->text);
    return rv;
}

/* Every device of every gateway at @time_s, as holdfast-fill numbers them. */
static int tick(struct bench *b, uint64_t time_s, struct errmsg *e)
{
    static struct stat_report reports[REPORT_PEERS_MAX];
    const struct options *o = b->options;
    for (uint32_t g = 0; g < b->fleet.gateway_count; g++) {
        fleet_sample(&b->fleet, &b->fleet.gateways[g], o->devices, time_s,
                     reports);
        for (uint32_t i = 0; i < o->devices; i++)
            put_line(b, g % o->locations + 1, (uint64_t)g * o->devices + i + 1,
                     &reports[i], time_s);
        if (b->lines < o->lines)
            continue;
        int rv = post(b, e);
        if (rv != 0)
            return rv;
    }
    return 0;
}

/* --- running ----------------------------------------------------------------
 */

static int write_history(struct bench *b, struct errmsg *e)
{
    const struct options *o = b->options;
    uint64_t each = (uint64_t)b->fleet.gateway_count * o->devices;
    uint64_t ticks = o->reports / each;
    int rv = 0;
    measure_start(&b->measure);
    for (uint64_t i = ticks; i > 0 && rv == 0; i--)
        rv = tick(b, o->end_s - i * o->step_s, e);
    if (rv == 0 && b->lines > 0)
        rv = post(b, e);
    measure_stop(&b->measure, clock_mono_ns());
    return rv;
}

static int write_for_a_while(struct bench *b, struct errmsg *e)
{
    const struct options *o = b->options;
    uint64_t start_ms = clock_mono_ms();
    uint64_t time_s = clock_wall_ms() / 1000 - 30 * 24 * 3600;
    for (;; time_s += o->step_s) {
        uint64_t ran_ms = clock_mono_ms() - start_ms;
        if (ran_ms >= WARMUP_MS && b->measure.start_ns == 0)
            measure_start(&b->measure);
        if (ran_ms >= WARMUP_MS + o->seconds * 1000u)
            break;
        int rv = tick(b, time_s, e);
        if (rv != 0)
            return rv;
    }
    measure_stop(&b->measure, clock_mono_ns());
    return 0;
}

static void parse(int argc, char **argv, struct options *o, struct measure *m)
{
    static const struct option flags[] = {
        {"address", required_argument, NULL, 'a'},
        {"locations", required_argument, NULL, 'l'},
        {"gateways", required_argument, NULL, 'g'},
        {"devices", required_argument, NULL, 'd'},
        {"lines", required_argument, NULL, 'n'},
        {"seconds", required_argument, NULL, 's'},
        {"reports", required_argument, NULL, 'r'},
        {"step", required_argument, NULL, 't'},
        {"end", required_argument, NULL, 'e'},
        {"pids", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    uint32_t *const numbers[] = {
        ['l'] = &o->locations, ['g'] = &o->gateways, ['d'] = &o->devices,
        ['n'] = &o->lines,     ['s'] = &o->seconds,  ['t'] = &o->step_s,
    };
    int flag, at = 0;
    while ((flag = getopt_long(argc, argv, "", flags, &at)) != -1) {
        if (flag == 'a')
            o->address = optarg;
        else if (flag == 'p')
            measure_pids(m, optarg);
        else if (flag == 'r')
            o->reports = measure_number("reports", optarg, 2000000000);
        else if (flag == 'e')
            o->end_s = measure_number("end", optarg, UINT32_MAX);
        else if (flag != '?')
            *numbers[flag] = measure_number(flags[at].name, optarg,
                                            flag == 'd' ? REPORT_PEERS_MAX
                                                        : 10 * 1000 * 1000);
        else
            optind = argc + 1;
    }
    if (o->address == NULL || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.locations = 10,
                        .gateways = 2,
                        .devices = 100,
                        .lines = 100000,
                        .seconds = 10,
                        .step_s = 30,
                        .end_s = clock_wall_ms() / 1000};
    static struct bench b;
    struct errmsg e = {""};
    b.options = &o;
    parse(argc, argv, &o, &b.measure);
    int rv = fleet_init(&b.fleet, o.locations * o.gateways, o.devices);
    if (rv == 0)
        rv = http_client_open(&b.client, o.address, &e);
    if (rv == 0)
        rv = o.reports > 0 ? write_history(&b, &e) : write_for_a_while(&b, &e);
    if (rv == 0)
        measure_print(&b.measure);
    else
        fprintf(stderr, "holdfast-victoria-load: %s\n", e.text);
    http_client_close(&b.client);
    buf_deinit(&b.text);
    fleet_deinit(&b.fleet);
    measure_deinit(&b.measure);
    return rv == 0 ? 0 : 1;
}
