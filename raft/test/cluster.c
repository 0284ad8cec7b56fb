#define _GNU_SOURCE /* nftw, TCP_USER_TIMEOUT */
#include "raft/test/cluster.h"

#include "raft/repl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000,
                         .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

/* Below the ephemeral range, or an outgoing connection of another replica may
 * take it before its node listens; begun anywhere, since tests run side by
 * side. */
static uint16_t free_port(void)
{
    enum { PORT_MIN = 10000, PORT_COUNT = 20000 };
    static unsigned next;
    if (next == 0)
        next = (unsigned)getpid() * 64U;
    for (;;) {
        uint16_t port = (uint16_t)(PORT_MIN + next++ % PORT_COUNT);
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 0);
        int rv = bind(fd, (struct sockaddr *)&a, sizeof a);
        close(fd);
        if (rv == 0)
            return port;
    }
}

static void on_event(void *arg, enum repl_event_kind kind, const char *event,
                     const char *message, int exit_code)
{
    struct node *n = arg;
    if (getenv("RAFT_TEST_VERBOSE") != NULL)
        fprintf(stderr, "%s: %s: %s\n", n->name, event, message);
    if (kind == REPL_RESTART)
        atomic_store(&n->restart_wanted, true);
    if (kind == REPL_FATAL)
        atomic_store(&n->fatal_code, exit_code);
    if (kind == REPL_WARN)
        atomic_fetch_add(&n->warnings, 1);
}

static void on_leader(void *arg, bool leads)
{
    struct node *n = arg;
    atomic_store(&n->leads, leads);
}

static void on_applied(void *arg, uint64_t index)
{
    struct node *n = arg;
    atomic_store(&n->applied, index);
}

void cluster_init(struct cluster *c, size_t count)
{
    memset(c, 0, sizeof *c);
    c->count = count;
    c->founders = count;
    c->zone = "zone-1";
    for (size_t i = 0; i < count; i++) {
        struct node *n = &c->nodes[i];
        snprintf(n->name, sizeof n->name, "node-%c", (char)('a' + i));
        strcpy(n->dir, "/tmp/holdfast-raft-XXXXXX");
        assert_non_null(mkdtemp(n->dir));
        n->port = free_port();
        n->store = fake_store_create();
        snprintf(c->peers[i].name, sizeof c->peers[i].name, "%s", n->name);
        snprintf(c->peers[i].address, sizeof c->peers[i].address,
                 "127.0.0.1:%u", n->port);
    }
}

static int remove_one(const char *path, const struct stat *s, int flag,
                      struct FTW *f)
{
    (void)s;
    (void)flag;
    (void)f;
    return remove(path);
}

void cluster_deinit(struct cluster *c)
{
    for (size_t i = 0; i < c->count; i++)
        cluster_stop(c, i);
    for (size_t i = 0; i < c->count; i++) {
        fake_store_destroy(c->nodes[i].store);
        nftw(c->nodes[i].dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
}

void cluster_start(struct cluster *c, size_t i)
{
    struct errmsg e = {""};
    int rv = cluster_try_start(c, i, &e);
    if (rv != 0)
        print_message("%s: %s\n", c->nodes[i].name, e.text);
    assert_int_equal(rv, 0);
    assert_int_equal(repl_peer_port(c->nodes[i].repl), c->nodes[i].port);
}

int cluster_try_start(struct cluster *c, size_t i, struct errmsg *e)
{
    struct node *n = &c->nodes[i];
    /* Others may dial a name; bound is always an address. */
    char loopback[32];
    snprintf(loopback, sizeof loopback, "127.0.0.1:%u", n->port);
    bool named = strncmp(c->peers[i].address, "localhost:", 10) == 0;
    struct repl_options options = {
        .name = n->name,
        .data_dir = n->dir,
        .peer_address = c->count > 1 ? c->peers[i].address : NULL,
        .peer_bind = named ? loopback : c->peers[i].address,
        .peer_tls = c->peer_tls[i],
        .initial_peers = c->peers,
        .initial_peer_count = c->count > 1 ? c->founders : 0,
        .level = n->level,
        .zone = n->zone != NULL ? n->zone : c->zone,
        .leader_zones = c->leader_zones,
        .election_timeout_ms =
            c->election_timeout_ms == 0 ? 500 : c->election_timeout_ms,
        .heartbeat_ms = 50,
        .log_entries_max = c->log_entries_max,
        .tail_entries = c->tail_entries,
        .store = n->store,
        .on_event = c->on_event != NULL ? c->on_event : on_event,
        .on_leader = on_leader,
        .on_applied = on_applied,
        .arg = n,
    };
    char copy[96];
    int rv = repl_adopt(n->dir, e);
    if (rv != 0)
        return rv;
    snprintf(copy, sizeof copy, "%s/store/data.mdb", n->dir);
    fake_store_load(n->store, copy);
    atomic_store(&n->restart_wanted, false);
    return repl_start(&options, &n->repl, e);
}

void cluster_stop(struct cluster *c, size_t i)
{
    struct node *n = &c->nodes[i];
    repl_stop(n->repl);
    n->repl = NULL;
    assert_false(atomic_load(&n->leads));
}

void cluster_damage_log(struct cluster *c, size_t i)
{
    char path[512];
    snprintf(path, sizeof path, "%s/raft", c->nodes[i].dir);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    bool found = false;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        /* Closed segments are named by two indexes. */
        if (entry->d_name[0] != '0' || strchr(entry->d_name, '-') == NULL)
            continue;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR);
        uint8_t byte;
        /* The first segment holds the configuration only and is shorter. */
        if (pread(fd, &byte, 1, 1000) == 1) {
            byte ^= 0x40;
            assert_int_equal(pwrite(fd, &byte, 1, 1000), 1);
            found = true;
        }
        close(fd);
    }
    closedir(dir);
    assert_true(found);
}

void cluster_wipe(struct cluster *c, size_t i)
{
    struct node *n = &c->nodes[i];
    nftw(n->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(n->dir, 0700), 0);
    fake_store_destroy(n->store);
    n->store = fake_store_create();
}

static bool find_leader(struct cluster *c, size_t *leader)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->nodes[i].repl != NULL && atomic_load(&c->nodes[i].leads)) {
            *leader = i;
            return true;
        }
    return false;
}

size_t cluster_leader(struct cluster *c)
{
    size_t leader = 0;
    WAIT_FOR(find_leader(c, &leader), 10000);
    return leader;
}

struct call {
    struct submission submission;
    struct buf record;
    atomic_int status; /* 1 = not yet */
};

static void on_done(struct submission *s, int status)
{
    struct call *call = CONTAINER_OF(s, struct call, submission);
    atomic_store(&call->status, status);
}

int cluster_submit_record(struct cluster *c, size_t i, struct bytes record,
                          unsigned timeout_ms, struct outcome *outcome)
{
    struct call *call = calloc(1, sizeof *call);
    assert_non_null(call);
    buf_put(&call->record, record.data, record.size);
    call->submission.record = buf_bytes(&call->record);
    call->submission.done = on_done;
    atomic_store(&call->status, 1);
    repl_submit(c->nodes[i].repl, &call->submission);
    for (unsigned waited = 0; atomic_load(&call->status) == 1; waited++) {
        if (waited >= timeout_ms)
            return -1000;
        sleep_ms(1);
    }
    int status = atomic_load(&call->status);
    if (outcome != NULL)
        *outcome = call->submission.outcome;
    buf_deinit(&call->record);
    free(call);
    return status;
}

int cluster_submit(struct cluster *c, size_t i, uint64_t number, size_t size,
                   unsigned timeout_ms, struct outcome *outcome)
{
    struct buf record = {0};
    uint8_t *body = calloc(1, size < 8 ? 8 : size);
    assert_non_null(body);
    le64_put(body, number);
    record_put(&record, RECORD_PRESENCE,
               (struct bytes){body, size < 8 ? 8 : size});
    free(body);
    int status =
        cluster_submit_record(c, i, buf_bytes(&record), timeout_ms, outcome);
    buf_deinit(&record);
    return status;
}

struct wish {
    struct repl_change change;
    char message[256];
    atomic_int status; /* 1 = not yet */
};

static void on_changed(struct repl_change *c, int status, const char *message)
{
    struct wish *w = CONTAINER_OF(c, struct wish, change);
    snprintf(w->message, sizeof w->message, "%s", message);
    atomic_store(&w->status, status);
}

int cluster_change(struct cluster *c, size_t i, enum repl_change_kind kind,
                   const char *name, char *message)
{
    struct wish *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->change.kind = kind;
    w->change.done = on_changed;
    snprintf(w->change.name, sizeof w->change.name, "%s", name);
    atomic_store(&w->status, 1);
    repl_change(c->nodes[i].repl, &w->change);
    for (unsigned waited = 0; atomic_load(&w->status) == 1; waited++) {
        if (waited >= 80 * 1000)
            return -1000;
        sleep_ms(1);
    }
    int status = atomic_load(&w->status);
    if (message != NULL)
        memcpy(message, w->message, sizeof w->message);
    free(w);
    return status;
}

void cluster_change_soon(struct cluster *c, size_t i,
                         enum repl_change_kind kind, const char *name)
{
    char message[256] = "";
    int status = ERR_AGAIN;
    for (unsigned tries = 0; status != 0 && tries < 300; tries++) {
        status = cluster_change(c, i, kind, name, message);
        if (status != 0)
            sleep_ms(100);
    }
    if (status != 0)
        fprintf(stderr, "%s: %s\n", name, message);
    assert_int_equal(status, 0);
}

const char *cluster_role(struct cluster *c, size_t i, size_t k)
{
    struct repl_status s;
    repl_status(c->nodes[i].repl, &s);
    struct repl_status own = {0};
    if (c->nodes[k].repl != NULL)
        repl_status(c->nodes[k].repl, &own);
    for (size_t n = 0; n < s.node_count; n++)
        if (own.raft_id != 0 ? s.nodes[n].id == own.raft_id
                             : strcmp(s.nodes[n].name, c->nodes[k].name) == 0)
            return s.nodes[n].role;
    return "";
}

struct visit {
    struct errand errand;
    struct repl *repl;
    void (*fn)(struct repl *r);
    atomic_bool done;
};

static void pay_visit(struct errand *errand)
{
    struct visit *v = CONTAINER_OF(errand, struct visit, errand);
    v->fn(v->repl);
    atomic_store(&v->done, true);
}

void cluster_on_loop(struct cluster *c, size_t i, void (*fn)(struct repl *r))
{
    struct visit v = {
        .errand.run = pay_visit, .repl = c->nodes[i].repl, .fn = fn};
    atomic_init(&v.done, false);
    mailbox_push(&v.repl->errands, &v.errand.letter);
    WAIT_FOR(atomic_load(&v.done), 10000);
}

int cluster_submit_soon(struct cluster *c, size_t i, uint64_t number,
                        size_t size, struct outcome *outcome)
{
    int status = ERR_AGAIN;
    for (unsigned tries = 0; status == ERR_AGAIN && tries < 15; tries++)
        status = cluster_submit(c, i, number, size, 10000, outcome);
    return status;
}

bool cluster_agrees(struct cluster *c, uint64_t records)
{
    uint64_t digest = 0;
    bool first = true;
    for (size_t i = 0; i < c->count; i++) {
        if (c->nodes[i].repl == NULL)
            continue;
        if (fake_store_records(c->nodes[i].store) != records)
            return false;
        uint64_t d = fake_store_digest(c->nodes[i].store);
        if (!first && d != digest)
            return false;
        digest = d;
        first = false;
    }
    return true;
}

void cluster_converge(struct cluster *c, uint64_t records)
{
    WAIT_FOR(cluster_agrees(c, records), 10000);
}

size_t sockets_bearing(unsigned ms)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        unsigned value;
        socklen_t size = sizeof value;
        count += getsockopt(atoi(entry->d_name), IPPROTO_TCP, TCP_USER_TIMEOUT,
                            &value, &size) == 0 &&
                 value == ms;
    }
    closedir(dir);
    return count;
}
