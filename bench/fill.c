/* holdfast-fill: writes the history of a fleet into a store, through the
 * store's own doors with log times of its own, much faster than a cluster would
 * live through it. What it makes is a backup that `holdfastctl snapshot
 * restore` takes: benchmarks of reading, of copies and of starts begin there.
 * The fleet is the one that holdfast-load and holdfast-victoria-load speak of:
 * gateway g is "load-g" in location g % locations + 1, its devices have the ids
 * g * devices + 1 and on. */
#include "bench/fleet.h"
#include "bench/measure.h"

#include "base/assert.h"
#include "base/clock.h"
#include "store/raw.h"
#include "store/store.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { DEVICES_PER_USER = 4, KEPT_S = 400 * 24 * 3600 };

struct options {
    const char *directory, *file, *raw; /* borrowed from argv; the latter two
                                           may be NULL */
    uint32_t locations, gateways, devices, step_s, flush_minutes, mib, pause_ms;
    bool aside;
    uint64_t reports, end_s;
    uint8_t admin_hash[API_TOKEN_HASH_SIZE];
};

struct fill {
    const struct options *options;
    struct fleet fleet;
    struct store *store;
    struct buf entry;
    uint64_t index, now_s, ticks, flushed_minute;
    uint64_t held_ns, held_ns_max; /* the flushes held apply */
    struct stat_report reports[REPORT_PEERS_MAX];
};

static const char usage[] =
    "usage: holdfast-fill DIRECTORY [FILE] [options]\n"
    "  a store in DIRECTORY, and a copy of it for holdfastctl snapshot "
    "restore\n"
    "  --locations N  (10) --gateways N  of each (2) --devices N  of each "
    "(100)\n"
    "  --reports N    (10000000) or --mib N  until the store is so large\n"
    "  --step N       seconds between two reports of a device (30)\n"
    "  --end N        Unix time of the last ones (now)\n"
    "  --flush N      minutes between two flushes (20)\n"
    "  --aside        flush on another thread, as a node does\n"
    "  --pause MS     after each step (0)\n"
    "  --raw DIR      raw reports too, which only bench/size looks at\n"
    "  --admin HASH   SHA-256 of the admin's token\n";

/* --- entries ----------------------------------------------------------------
 */

static void begin(struct fill *f)
{
    struct entry_header header = {.term = 1, .log_time_ms = f->now_s * 1000};
    entry_begin(&f->entry, &header);
}

static int apply(struct fill *f, struct errmsg *e)
{
    struct apply_result result = {0};
    thread_role_assert(&applier_thread);
    entry_finish(&f->entry);
    int rv = buf_failed(&f->entry)
                 ? errmsg_set(e, ERR_NOMEM, "entry: out of memory")
                 : store_apply(f->store, ++f->index, buf_bytes(&f->entry),
                               &result, e);
    for (size_t i = 0; rv == 0 && i < result.count; i++)
        if (result.outcomes[i].code != OUTCOME_TAKEN)
            rv = errmsg_set(e, ERR_INVALID, "a record was not taken: %d",
                            (int)result.outcomes[i].code);
    return rv;
}

/* Entries of the size that a leader packs. */
static int apply_if_full(struct fill *f, struct errmsg *e)
{
    if (f->entry.size < ENTRY_SIZE_GOAL)
        return 0;
    int rv = apply(f, e);
    begin(f);
    return rv;
}

/* --- the roster -------------------------------------------------------------
 */

static void put_settings(struct fill *f)
{
    struct settings_spec settings = {.cluster_id = "holdfast-fill",
                                     .gateway_secret = "bench-secret",
                                     .retain_minute_s = KEPT_S,
                                     .retain_hour_s = KEPT_S,
                                     .retain_day_s = KEPT_S};
    memcpy(settings.admin_token_hash, f->options->admin_hash,
           API_TOKEN_HASH_SIZE);
    record_put_settings(&f->entry, &settings);
    for (uint32_t i = 1; i <= f->options->locations; i++) {
        char name[32];
        snprintf(name, sizeof name, "place %u", i);
        struct location_spec location = {.name = name,
                                         .address = "10.64.0.1/10",
                                         .endpoint = "vpn.example.com",
                                         .port = 51820,
                                         .accept_unknown_peers = true};
        record_put_location_create(&f->entry, &location);
    }
}

static void put_device(struct fill *f, const struct fleet_gateway *g,
                       uint32_t at)
{
    char name[32], user[32];
    uint32_t number = g->number * f->options->devices + at;
    snprintf(name, sizeof name, "device %u", number);
    snprintf(user, sizeof user, "user%u", number / DEVICES_PER_USER);
    struct device_spec device = {.kind = DEVICE_USER,
                                 .name = name,
                                 .user = user,
                                 .location =
                                     g->number % f->options->locations + 1};
    memcpy(device.public_key, g->peers[at].key, PUBLIC_KEY_SIZE);
    record_put_device_create(&f->entry, &device);
}

static int set_the_scene(struct fill *f, struct errmsg *e)
{
    int rv = 0;
    begin(f);
    put_settings(f);
    for (uint32_t g = 0; g < f->fleet.gateway_count; g++)
        for (uint32_t i = 0; i < f->options->devices && rv == 0; i++) {
            put_device(f, &f->fleet.gateways[g], i);
            rv = apply_if_full(f, e);
        }
    return rv == 0 ? apply(f, e) : rv;
}

/* --- history ----------------------------------------------------------------
 */

static void put_gateway(struct fill *f, struct fleet_gateway *g)
{
    const struct options *o = f->options;
    char identity[32];
    snprintf(identity, sizeof identity, "load-%u", g->number);
    struct batch_head head = {.location = g->number % o->locations + 1,
                              .identity = bytes_of_string(identity),
                              .hostname = bytes_of_string(identity),
                              .session = 1,
                              .sequence = f->ticks,
                              .sampled_at_ms = f->now_s * 1000};
    struct batch_writer w;
    fleet_sample(&f->fleet, g, o->devices, f->now_s, f->reports);
    batch_begin(&w, &f->entry, RECORD_NATIVE_BATCH, &head);
    for (uint32_t i = 0; i < o->devices; i++) {
        const struct stat_report *report = &f->reports[i];
        struct batch_peer peer = {.device = g->number * o->devices + i + 1,
                                  .upload = report->upload,
                                  .download = report->download,
                                  .handshake = report->latest_handshake,
                                  .has_endpoint = f->ticks == 1,
                                  .endpoint = report->endpoint,
                                  .allowed_ips = report->allowed_ips};
        batch_put(&w, &peer);
    }
    batch_end(&w);
}

static void *end_flush(void *arg)
{
    struct fill *f = arg;
    struct errmsg e;
    thread_role_take(&flusher_thread);
    ASSERT(store_flush_end(f->store, &e) == 0);
    return NULL;
}

static int flush_aside(struct fill *f, struct errmsg *e)
    REQUIRES(applier_thread)
{
    pthread_t thread;
    int rv = store_flush_begin(f->store, e);
    if (rv <= 0)
        return rv;
    ASSERT(pthread_create(&thread, NULL, end_flush, f) == 0);
    return -pthread_detach(thread);
}

static int flush(struct fill *f, struct errmsg *e) REQUIRES(applier_thread)
{
    uint64_t start_ns = clock_mono_ns();
    int rv = f->options->aside ? flush_aside(f, e) : store_flush(f->store, e);
    uint64_t held_ns = clock_mono_ns() - start_ns;
    f->held_ns += held_ns;
    if (held_ns > f->held_ns_max)
        f->held_ns_max = held_ns;
    return rv;
}

static int one_tick(struct fill *f, struct errmsg *e)
{
    int rv = 0;
    f->ticks++;
    begin(f);
    for (uint32_t g = 0; g < f->fleet.gateway_count && rv == 0; g++) {
        put_gateway(f, &f->fleet.gateways[g]);
        rv = apply_if_full(f, e);
    }
    if (rv == 0)
        rv = apply(f, e);
    thread_role_assert(&applier_thread);
    uint64_t minute = f->now_s / 60;
    if (rv == 0 && minute >= f->flushed_minute + f->options->flush_minutes) {
        f->flushed_minute = minute;
        rv = flush(f, e);
    }
    const struct timespec pause = {.tv_sec = f->options->pause_ms / 1000,
                                   .tv_nsec =
                                       f->options->pause_ms % 1000 * 1000000L};
    nanosleep(&pause, NULL);
    return rv;
}

static int write_history(struct fill *f, struct errmsg *e)
{
    const struct options *o = f->options;
    struct store_status status = {0};
    uint64_t each = (uint64_t)f->fleet.gateway_count * o->devices;
    uint64_t ticks = o->mib > 0 ? UINT64_MAX : o->reports / each;
    uint64_t span_s = o->mib > 0 ? KEPT_S / 2 : ticks * o->step_s;
    f->now_s = o->end_s - span_s;
    int rv = set_the_scene(f, e);
    while (rv == 0 && f->ticks < ticks) {
        rv = one_tick(f, e);
        f->now_s += o->step_s;
        if (o->mib == 0)
            continue;
        store_status(f->store, &status);
        if (status.used_bytes >> 20 >= o->mib)
            break;
    }
    thread_role_assert(&applier_thread);
    return rv == 0 ? store_flush(f->store, e) : rv;
}

static int open_store(struct fill *f, struct errmsg *e)
{
    struct store_options options = {.path = f->options->directory};
    struct raw_options raw = {.path = f->options->raw,
                              .bytes_max = UINT64_C(1) << 40,
                              .age_ms_max = (uint64_t)KEPT_S * 1000};
    int rv = store_open(&options, &f->store, e);
    return rv == 0 && raw.path != NULL ? store_keep_raw(f->store, &raw, e) : rv;
}

static void print(struct fill *f, uint64_t start_ns, uint64_t copy_bytes)
{
    struct store_status status;
    struct raw_status raw = {0};
    store_status(f->store, &status);
    if (f->options->raw != NULL)
        raw_status(store_raw(f->store), &raw);
    double reports = (double)status.counters.reports;
    printf("reports %" PRIu64 "\nminutes %" PRIu64 "\nused_bytes %" PRIu64
           "\nbytes_per_report %.2f\nraw_bytes_per_report %.2f"
           "\ncopy_bytes %" PRIu64 "\nfill_us_per_report %.3f"
           "\nflushes %" PRIu64 "\nflush_waits %" PRIu64
           "\nheld_ms %.1f\nheld_ms_max %.1f\n",
           status.counters.reports, f->ticks * f->options->step_s / 60,
           status.used_bytes, (double)status.used_bytes / reports,
           (double)raw.bytes / reports, copy_bytes,
           (double)(clock_mono_ns() - start_ns) / 1e3 / reports,
           status.counters.flushes, status.counters.flush_waits,
           (double)f->held_ns / 1e6, (double)f->held_ns_max / 1e6);
}

static int fill(struct fill *f, struct errmsg *e)
{
    const struct options *o = f->options;
    uint64_t start_ns = clock_mono_ns();
    int rv = fleet_init(&f->fleet, o->locations * o->gateways, o->devices);
    if (rv != 0)
        return errmsg_set(e, rv, "out of memory");
    rv = open_store(f, e);
    if (rv == 0)
        rv = write_history(f, e);
    struct copy_info info = {0};
    if (rv == 0 && o->file != NULL)
        rv = store_copy(f->store, o->file, NULL, NULL, &info, e);
    if (rv == 0)
        print(f, start_ns, info.bytes);
    return rv;
}

/* --- options ----------------------------------------------------------------
 */

static bool parse_hash(const char *text, uint8_t out[API_TOKEN_HASH_SIZE])
{
    for (size_t i = 0; i < API_TOKEN_HASH_SIZE; i++) {
        int high = hex_digit((uint8_t)text[2 * i]);
        int low = high < 0 ? -1 : hex_digit((uint8_t)text[2 * i + 1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return text[2 * API_TOKEN_HASH_SIZE] == '\0';
}

static int parse(int argc, char **argv, struct options *o)
{
    static const struct option flags[] = {
        {"locations", required_argument, NULL, 'l'},
        {"gateways", required_argument, NULL, 'g'},
        {"devices", required_argument, NULL, 'd'},
        {"step", required_argument, NULL, 's'},
        {"flush", required_argument, NULL, 'f'},
        {"pause", required_argument, NULL, 'p'},
        {"aside", no_argument, NULL, 't'},
        {"mib", required_argument, NULL, 'm'},
        {"reports", required_argument, NULL, 'r'},
        {"end", required_argument, NULL, 'e'},
        {"admin", required_argument, NULL, 'a'},
        {"raw", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    uint32_t *const numbers[] = {
        ['l'] = &o->locations, ['g'] = &o->gateways,      ['d'] = &o->devices,
        ['s'] = &o->step_s,    ['f'] = &o->flush_minutes, ['m'] = &o->mib,
        ['p'] = &o->pause_ms,
    };
    int flag, at = 0;
    while ((flag = getopt_long(argc, argv, "", flags, &at)) != -1) {
        if (flag == '?' || (flag == 'a' && !parse_hash(optarg, o->admin_hash)))
            return -1;
        if (flag == 't')
            o->aside = true;
        else if (flag == 'r')
            o->reports = measure_number("reports", optarg, UINT32_MAX);
        else if (flag == 'e')
            o->end_s = measure_number("end", optarg, UINT32_MAX);
        else if (flag == 'w')
            o->raw = optarg;
        else if (flag != 'a')
            *numbers[flag] =
                measure_number(flags[at].name, optarg,
                               flag == 'd' ? BATCH_PEERS_MAX : 1 << 20);
    }
    if (argc - optind < 1 || argc - optind > 2)
        return -1;
    o->directory = argv[optind];
    o->file = argv[optind + 1];
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.locations = 10,
                        .gateways = 2,
                        .devices = 100,
                        .step_s = 30,
                        .flush_minutes = 20,
                        .reports = 10 * 1000 * 1000,
                        .end_s = clock_wall_ms() / 1000};
    static struct fill f;
    struct errmsg e = {""};
    if (parse(argc, argv, &o) != 0) {
        fputs(usage, stderr);
        return 2;
    }
    f.options = &o;
    int rv = fill(&f, &e);
    if (rv != 0)
        fprintf(stderr, "holdfast-fill: %s\n", e.text);
    store_close(f.store);
    buf_deinit(&f.entry);
    fleet_deinit(&f.fleet);
    return rv == 0 ? 0 : 1;
}
