/* holdfast-postgres-load: rows a second that PostgreSQL commits when reports
 * come in batches by COPY, one transaction each, into the table that defguard
 * keeps them in, with its key and its index. What a commit waits for (a standby
 * or not) is the server's configuration: bench/ingest sets it. */
#include "bench/measure.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <getopt.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CONNECTIONS_MAX = 64, WARMUP_MS = 2000 };

struct bench {
    const char *connection; /* borrowed from argv */
    uint32_t connection_count, rows, devices, seconds;
    atomic_bool stopping, failed;
    pthread_mutex_t lock; /* of the measurement */
    struct measure measure;
};

struct writer {
    struct bench *bench; /* borrowed */
    pthread_t thread;
    PGconn *connection; /* owned */
    struct buf text;
    uint64_t row;
};

static const char usage[] =
    "usage: holdfast-postgres-load --connection CONNINFO [options]\n"
    "  --connections N  each in a closed loop (4)\n"
    "  --rows N         in a transaction (1000)\n"
    "  --devices N      (2000)\n"
    "  --seconds N      measured (10), after 2 of warm-up\n"
    "  --pids PID,…     the servers: their CPU is printed\n";

static const char schema[] =
    "SET client_min_messages = warning;"
    "DROP TABLE IF EXISTS wireguard_peer_stats;"
    "CREATE TABLE wireguard_peer_stats ("
    "  id bigserial PRIMARY KEY, device_id bigint NOT NULL,"
    "  collected_at timestamp NOT NULL, network bigint NOT NULL,"
    "  endpoint text, upload bigint NOT NULL, download bigint NOT NULL,"
    "  latest_handshake timestamp NOT NULL, allowed_ips text);"
    "CREATE INDEX ON wireguard_peer_stats (device_id, network,"
    "  collected_at DESC, latest_handshake DESC NULLS LAST)";

static const char copy[] =
    "COPY wireguard_peer_stats (device_id, collected_at, network, endpoint,"
    " upload, download, latest_handshake, allowed_ips) FROM STDIN";

/* --- writing ----------------------------------------------------------------
 */

static void put_row(struct writer *w, const char *now)
{
    uint64_t device = w->row % w->bench->devices + 1;
    unsigned long long counter = ++w->row * 4711;
    buf_printf(&w->text,
               "%u\t%s\t%u\t198.51.%u.%u:%u\t%llu\t%llu\t%s\t10.64.0.%u/32\n",
               (unsigned)device, now, (unsigned)(device % 10 + 1),
               (unsigned)(device >> 8 & 255), (unsigned)(device & 255),
               (unsigned)(1024 + device), counter, counter * 3, now,
               (unsigned)(device & 255));
}

static bool succeeded(PGconn *connection, ExecStatusType wanted)
{
    PGresult *result;
    bool good = true;
    while ((result = PQgetResult(connection)) != NULL) {
        if (PQresultStatus(result) != wanted) {
            fprintf(stderr, "holdfast-postgres-load: %s",
                    PQerrorMessage(connection));
            good = false;
        }
        PQclear(result);
        if (good && wanted == PGRES_COPY_IN)
            return true;
    }
    return good;
}

static bool write_batch(struct writer *w)
{
    char now[32];
    struct tm parts;
    time_t seconds = (time_t)(clock_wall_ms() / 1000);
    gmtime_r(&seconds, &parts);
    strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", &parts);
    buf_clear(&w->text);
    for (uint32_t i = 0; i < w->bench->rows; i++)
        put_row(w, now);
    return !buf_failed(&w->text) && PQsendQuery(w->connection, copy) == 1 &&
           succeeded(w->connection, PGRES_COPY_IN) &&
           PQputCopyData(w->connection, (const char *)w->text.data,
                         (int)w->text.size) == 1 &&
           PQputCopyEnd(w->connection, NULL) == 1 &&
           succeeded(w->connection, PGRES_COMMAND_OK);
}

static void *run_writer(void *arg)
{
    struct writer *w = arg;
    struct bench *b = w->bench;
    while (!atomic_load(&b->stopping)) {
        uint64_t sent_ns = clock_mono_ns();
        if (!write_batch(w)) {
            atomic_store(&b->failed, true);
            break;
        }
        pthread_mutex_lock(&b->lock);
        measure_note(&b->measure, b->rows, sent_ns);
        pthread_mutex_unlock(&b->lock);
    }
    return NULL;
}

/* --- running ----------------------------------------------------------------
 */

static int connect_all(struct bench *b, struct writer *writers)
{
    for (uint32_t i = 0; i < b->connection_count; i++) {
        writers[i].bench = b;
        writers[i].row = (uint64_t)i << 32;
        writers[i].connection = PQconnectdb(b->connection);
        if (PQstatus(writers[i].connection) != CONNECTION_OK) {
            fprintf(stderr, "holdfast-postgres-load: %s",
                    PQerrorMessage(writers[i].connection));
            return -1;
        }
    }
    PQsendQuery(writers[0].connection, schema);
    return succeeded(writers[0].connection, PGRES_COMMAND_OK) ? 0 : -1;
}

static void sleep_ms(uint64_t ms)
{
    struct timespec t = {.tv_sec = (time_t)(ms / 1000),
                         .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

static void measure_writers(struct bench *b, struct writer *writers)
{
    uint32_t started = 0;
    while (started < b->connection_count &&
           pthread_create(&writers[started].thread, NULL, run_writer,
                          &writers[started]) == 0)
        started++;
    sleep_ms(WARMUP_MS);
    pthread_mutex_lock(&b->lock);
    measure_start(&b->measure);
    pthread_mutex_unlock(&b->lock);
    sleep_ms(b->seconds * 1000u);
    pthread_mutex_lock(&b->lock);
    measure_stop(&b->measure, clock_mono_ns());
    pthread_mutex_unlock(&b->lock);
    atomic_store(&b->stopping, true);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(writers[i].thread, NULL);
}

static void parse(int argc, char **argv, struct bench *b)
{
    static const struct option flags[] = {
        {"connection", required_argument, NULL, 'c'},
        {"connections", required_argument, NULL, 'n'},
        {"rows", required_argument, NULL, 'r'},
        {"devices", required_argument, NULL, 'd'},
        {"seconds", required_argument, NULL, 's'},
        {"pids", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    int flag;
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        if (flag == 'c') {
            b->connection = optarg;
        } else if (flag == 'n') {
            b->connection_count =
                measure_number("connections", optarg, CONNECTIONS_MAX);
        } else if (flag == 'r') {
            b->rows = measure_number("rows", optarg, 100000);
        } else if (flag == 'd') {
            b->devices = measure_number("devices", optarg, 1000000);
        } else if (flag == 's') {
            b->seconds = measure_number("seconds", optarg, 3600);
        } else if (flag == 'p') {
            measure_pids(&b->measure, optarg);
        } else {
            b->connection = NULL;
            break;
        }
    }
    if (b->connection == NULL || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct bench b = {
        .connection_count = 4, .rows = 1000, .devices = 2000, .seconds = 10};
    static struct writer writers[CONNECTIONS_MAX];
    parse(argc, argv, &b);
    pthread_mutex_init(&b.lock, NULL);
    int status = 1;
    if (connect_all(&b, writers) == 0) {
        measure_writers(&b, writers);
        status = b.failed || b.measure.operations == 0 ? 1 : 0;
    }
    if (status == 0)
        measure_print(&b.measure);
    for (uint32_t i = 0; i < b.connection_count; i++) {
        PQfinish(writers[i].connection);
        buf_deinit(&writers[i].text);
    }
    measure_deinit(&b.measure);
    return status;
}
