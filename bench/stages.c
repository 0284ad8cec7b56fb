/* holdfast-stages: the way of a report through our own code, one stage after
 * the other in one thread: wire bytes to samples, samples to a record, records
 * to an entry, the entry through the store, the minute into the file, the
 * acknowledgement. Prints ns a report; bench/stages runs it under callgrind
 * too, which counts the instructions between a stage_… function's entry and its
 * return. gRPC, libraft and the kernel are not in it: bench/run shows them, by
 * thread. */
#include "bench/fleet.h"
#include "bench/measure.h"

#include "base/assert.h"
#include "base/clock.h"
#include "node/ingest_native.h"
#include "raft/submit.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    GATEWAYS = 10,
    TICK_MS = 30 * 1000,
    WARM_ROUNDS = 4, /* devices become known, slots and buffers exist */
    ENTRIES_MAX = 16,
};

struct stages {
    struct fleet fleet;
    uint32_t devices; /* of a gateway */
    struct store *store;
    struct ingest ingest;
    struct ingest_counters counters;
    struct native_stream streams[GATEWAYS];
    struct buf messages[GATEWAYS], records[GATEWAYS];
    struct report_batch batches[GATEWAYS];
    struct buf entries[ENTRIES_MAX];
    size_t entry_count;
    struct buf ack;
    uint64_t now_ms, index, sequence;
    struct stat_report reports[GATEWAYS][REPORT_PEERS_MAX];
};

/* --- what surrounds the stages ----------------------------------------------
 */

static void nothing_changed(struct native_stream *s)
{
    (void)s;
}

static uint64_t log_time_ms(struct ingest *ingest)
{
    return CONTAINER_OF(ingest, struct stages, ingest)->now_ms;
}

static void apply_entry(struct stages *s, struct bytes entry)
{
    struct apply_result result;
    struct errmsg e;
    thread_role_assert(&applier_thread);
    ASSERT(store_apply(s->store, ++s->index, entry, &result, &e) == 0);
    for (size_t i = 0; i < result.count; i++)
        ASSERT(result.outcomes[i].code == OUTCOME_TAKEN);
}

static void begin_entry(struct stages *s, struct buf *entry)
{
    struct entry_header header = {.term = 1, .log_time_ms = s->now_ms};
    entry_begin(entry, &header);
}

static void set_the_scene(struct stages *s)
{
    struct buf entry = {0};
    struct settings_spec settings = {.cluster_id = "holdfast-stages",
                                     .gateway_secret = "bench-secret"};
    struct location_spec location = {.name = "place",
                                     .address = "10.64.0.1/10",
                                     .endpoint = "vpn.example.com",
                                     .port = 51820,
                                     .accept_unknown_peers = true};
    begin_entry(s, &entry);
    record_put_settings(&entry, &settings);
    record_put_location_create(&entry, &location);
    entry_finish(&entry);
    apply_entry(s, buf_bytes(&entry));
    buf_deinit(&entry);
    s->ingest = (struct ingest){.log_time_ms = log_time_ms,
                                .roster = store_roster(s->store),
                                .counters = &s->counters};
    for (size_t g = 0; g < GATEWAYS; g++)
        native_stream_init(&s->streams[g], &s->ingest, nothing_changed, s);
}

/* The agents' part. */
static void write_messages(struct stages *s)
{
    s->now_ms += TICK_MS;
    s->sequence++;
    for (size_t g = 0; g < GATEWAYS; g++) {
        struct report_batch batch = {.session = 1,
                                     .sequence = s->sequence,
                                     .sampled_at_ms = s->now_ms,
                                     .peers = s->reports[g],
                                     .peer_count = s->devices};
        fleet_sample(&s->fleet, &s->fleet.gateways[g], s->devices,
                     s->now_ms / 1000, s->reports[g]);
        buf_clear(&s->messages[g]);
        report_batch_encode(&s->messages[g], &batch);
    }
}

/* --- the stages -------------------------------------------------------------
 */

static void decode(struct stages *s)
{
    struct errmsg e;
    for (size_t g = 0; g < GATEWAYS; g++) {
        s->batches[g].peers = s->reports[g];
        ASSERT(report_batch_decode(buf_bytes(&s->messages[g]), &s->batches[g],
                                   &e) == 0);
    }
}

static void encode(struct stages *s)
{
    for (size_t g = 0; g < GATEWAYS; g++) {
        char name[32];
        snprintf(name, sizeof name, "load-%zu", g);
        struct reporter who = {.location = 1,
                               .identity = bytes_of_string(name),
                               .hostname = bytes_of_string(name)};
        buf_clear(&s->records[g]);
        ASSERT(native_record_encode(&s->streams[g], &who, &s->batches[g],
                                    &s->records[g]) == 0);
    }
}

static void pack(struct stages *s)
{
    struct submission submissions[GATEWAYS] = {0};
    struct queue own = {0}, others = {0};
    for (size_t g = 0; g < GATEWAYS; g++) {
        submissions[g].record = buf_bytes(&s->records[g]);
        queue_push(&own, &submissions[g]);
    }
    for (s->entry_count = 0; own.count > 0; s->entry_count++) {
        struct queue taken = {0};
        struct buf *entry = &s->entries[s->entry_count];
        ASSERT(s->entry_count < ENTRIES_MAX);
        begin_entry(s, entry);
        submit_pack(&own, &others, entry, &taken);
        entry_finish(entry);
    }
}

/* Part of apply, measured once more by itself. */
static void walk(struct stages *s)
{
    for (size_t i = 0; i < s->entry_count; i++) {
        struct entry_header header;
        struct reader records;
        struct record record;
        struct errmsg e;
        ASSERT(entry_open(buf_bytes(&s->entries[i]), &header, &records, &e) ==
               0);
        while (record_next(&records, &record) > 0) {
            struct batch_reader reader;
            struct batch_head head;
            struct batch_peer peer;
            ASSERT(batch_open(&reader, &record, &head) == 0);
            while (batch_next(&reader, &peer) > 0)
                continue;
        }
    }
}

static void apply(struct stages *s)
{
    for (size_t i = 0; i < s->entry_count; i++)
        apply_entry(s, buf_bytes(&s->entries[i]));
}

/* Once a minute, so that every second round has two reports to pay for it. */
static void flush(struct stages *s)
{
    struct errmsg e;
    thread_role_assert(&applier_thread);
    if (s->sequence % 2 == 0)
        ASSERT(store_flush(s->store, &e) == 0);
}

static void ack(struct stages *s)
{
    for (size_t g = 0; g < GATEWAYS; g++) {
        struct report_ack told = {.sequence = s->sequence,
                                  .applied_index = s->index,
                                  .leader = bytes_of_string("n1")};
        buf_clear(&s->ack);
        report_ack_encode(&s->ack, &told);
    }
}

/* What callgrind looks for. The count behind the call keeps it from becoming a
 * jump. */
static volatile unsigned calls;
#define MEASURED(name)                                                         \
    static __attribute__((noinline)) void stage_##name(struct stages *s)       \
    {                                                                          \
        name(s);                                                               \
        calls++;                                                               \
    }
MEASURED(decode)
MEASURED(encode)
MEASURED(pack)
MEASURED(walk)
MEASURED(apply)
MEASURED(flush)
MEASURED(ack)

static const struct {
    const char *name;
    void (*warm)(struct stages *s), (*measured)(struct stages *s);
} table[] = {
    {"decode", decode, stage_decode}, {"encode", encode, stage_encode},
    {"pack", pack, stage_pack},       {"walk", walk, stage_walk},
    {"apply", apply, stage_apply},    {"flush", flush, stage_flush},
    {"ack", ack, stage_ack},
};
enum { STAGES = sizeof table / sizeof *table };

static void run(struct stages *s, uint32_t rounds)
{
    uint64_t spent_ns[STAGES] = {0};
    for (uint32_t round = 0; round < WARM_ROUNDS + rounds; round++) {
        write_messages(s);
        for (size_t i = 0; i < STAGES; i++) {
            uint64_t start_ns = clock_mono_ns();
            if (round < WARM_ROUNDS) {
                table[i].warm(s);
                continue;
            }
            table[i].measured(s);
            spent_ns[i] += clock_mono_ns() - start_ns;
        }
    }
    double reports = (double)rounds * GATEWAYS * s->devices;
    printf("reports %.0f\nbatch %u\n", reports, s->devices);
    for (size_t i = 0; i < STAGES; i++)
        printf("%s %.1f\n", table[i].name, (double)spent_ns[i] / reports);
    printf("wire_bytes %.1f\nlog_bytes %.1f\n",
           (double)s->messages[0].size / s->devices,
           (double)s->records[0].size / s->devices);
}

int main(int argc, char **argv)
{
    static struct stages s;
    struct errmsg e = {""};
    if (argc != 4) {
        fputs("usage: holdfast-stages DIRECTORY DEVICES ROUNDS\n"
              "  ten gateways with so many devices each, in batches of all of "
              "them\n",
              stderr);
        return 2;
    }
    /* valgrind has no room for the usual map. */
    struct store_options options = {.path = argv[1], .map_bytes = 1 << 30};
    s.devices = measure_number("devices", argv[2], REPORT_PEERS_MAX);
    uint32_t rounds = measure_number("rounds", argv[3], 1000000);
    s.now_ms = UINT64_C(1760000000) * 1000;
    if (fleet_init(&s.fleet, GATEWAYS, s.devices) != 0 ||
        store_open(&options, &s.store, &e) != 0) {
        fprintf(stderr, "holdfast-stages: %s\n", e.text);
        return 1;
    }
    set_the_scene(&s);
    run(&s, rounds);
    for (size_t g = 0; g < GATEWAYS; g++) {
        native_stream_deinit(&s.streams[g]);
        buf_deinit(&s.messages[g]);
        buf_deinit(&s.records[g]);
    }
    for (size_t i = 0; i < ENTRIES_MAX; i++)
        buf_deinit(&s.entries[i]);
    buf_deinit(&s.ack);
    store_close(s.store);
    fleet_deinit(&s.fleet);
    return 0;
}
