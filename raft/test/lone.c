#define _GNU_SOURCE /* nftw */
#include "raft/test/lone.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

enum { WAIT_MS_MAX = 20000 };

static void sleep_5ms(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL);
}

void lone_init(struct lone *n)
{
    memset(n, 0, sizeof *n);
    strcpy(n->dir, "/tmp/holdfast-lone-XXXXXX");
    assert_non_null(mkdtemp(n->dir));
    snprintf(n->data, sizeof n->data, "%s/data", n->dir);
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

void lone_deinit(struct lone *n)
{
    lone_stop(n);
    nftw(n->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void on_event(void *arg, enum repl_event_kind kind, const char *event,
                     const char *message, int exit_code)
{
    struct lone *n = arg;
    if (getenv("RAFT_TEST_VERBOSE") != NULL)
        fprintf(stderr, "%s: %s\n", event, message);
    if (kind == REPL_FATAL)
        atomic_store(&n->fatal_code, exit_code);
}

static void on_leader(void *arg, bool leads)
{
    struct lone *n = arg;
    atomic_store(&n->leads, leads);
}

void lone_start(struct lone *n, const char *data)
{
    struct errmsg e = {""};
    struct repl_options options = {.name = "n1",
                                   .data_dir = data,
                                   .election_timeout_ms = 500,
                                   .heartbeat_ms = 50,
                                   .on_event = on_event,
                                   .on_leader = on_leader,
                                   .arg = n};
    char path[128];
    snprintf(path, sizeof path, "%s/store", data);
    /* The replica makes the directory that the store's goes into. */
    struct store_options store = {.path = path, .map_bytes = 64 << 20};
    mkdir(data, 0700);
    int rv = repl_adopt(data, &e);
    if (rv == 0)
        rv = store_open(&store, &n->store, &e);
    options.store = n->store;
    if (rv == 0)
        rv = repl_start(&options, &n->repl, &e);
    if (rv != 0)
        print_message("%s\n", e.text);
    assert_int_equal(rv, 0);
}

void lone_stop(struct lone *n)
{
    repl_stop(n->repl);
    n->repl = NULL;
    store_close(n->store);
    n->store = NULL;
}

void lone_await_lead(struct lone *n)
{
    for (int i = 0; i < WAIT_MS_MAX / 5 && !atomic_load(&n->leads); i++)
        sleep_5ms();
    assert_true(atomic_load(&n->leads));
}

struct call {
    struct submission submission;
    atomic_int status; /* 1 = not yet */
};

static void on_done(struct submission *s, int status)
{
    atomic_store(&CONTAINER_OF(s, struct call, submission)->status, status);
}

static void submit(struct lone *n, struct buf *record)
{
    struct call call = {
        .submission = {.record = buf_bytes(record), .done = on_done}};
    atomic_init(&call.status, 1);
    repl_submit(n->repl, &call.submission);
    while (atomic_load(&call.status) == 1) /* always ends, replica.h says */
        sleep_5ms();
    assert_int_equal(atomic_load(&call.status), 0);
    assert_int_equal(call.submission.outcome.code, OUTCOME_TAKEN);
    buf_deinit(record);
}

void lone_found(struct lone *n)
{
    struct buf record = {0};
    struct repl_status status;
    struct settings_spec spec = {.gateway_secret = "secret"};
    repl_status(n->repl, &status);
    memcpy(spec.cluster_id, status.cluster_id, CLUSTER_ID_SIZE);
    record_put_settings(&record, &spec);
    submit(n, &record);
}

void lone_add_location(struct lone *n, const char *name)
{
    struct buf record = {0};
    struct location_spec spec = {.name = name,
                                 .address = "10.1.0.1/24",
                                 .endpoint = "vpn.example.com",
                                 .allowed_ips = "10.1.0.0/24",
                                 .dns = "",
                                 .port = 51820};
    record_put_location_create(&record, &spec);
    submit(n, &record);
}
