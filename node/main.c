/* holdfast-node: makes the parts, ties them together, waits for a signal, takes
 * them apart in the reverse order. Exit codes: CONTRACT, "holdfast-node". */
#include "base/clock.h"
#include "base/log.h"
#include "node/config_check.h"
#include "node/config_value.h"
#include "node/data_dir.h"
#include "node/founding.h"
#include "node/node.h"
#include "node/restart.h"
#include "node/token_request.h"
#include "store/raw.h"
#include "tls/tls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    STARTING_POLL_MS = 20,
    SERVING_POLL_S = 1,
    DESCRIPTORS_WANTED = 65536,
};

/* Why the node did not start. What it was told, the data directory included,
 * is for the operator to put right; a machine out of memory or space is a
 * failure that may pass. */
static int exit_code_of(int error)
{
    return error == ERR_NOMEM || error == ERR_NOSPACE ? EXIT_FAILED
                                                      : EXIT_USAGE;
}

/* --- what the replica tells us -------------------------------------------- */

/* Raft loop or applier thread. */
static void on_event(void *arg, enum repl_event_kind kind, const char *event,
                     const char *message, int exit_code)
{
    const struct node *n = arg;
    switch (kind) {
    case REPL_INFO:
        log_info(event, "%s", message);
        break;
    case REPL_WARN:
        log_warn(event, "%s", message);
        break;
    case REPL_FATAL:
        log_error(event, "%s", message);
        /* No handler, no destructor: what is on disk is to stay as it is. */
        _exit(exit_code);
    case REPL_RESTART:
        log_info(event, "%s", message);
        /* The signal is taken already: a new process would not see it, and
         * serve on. What lies ready is taken over at the next start. */
        if (atomic_load(&n->stopping))
            _exit(EXIT_OK);
        restart_process();
        log_error(event, "the program cannot be executed again: %s",
                  strerror(errno));
        _exit(EXIT_RESTART);
    }
}

/* Applier thread. */
static void on_applied(void *arg, uint64_t applied_index)
{
    struct node *n = arg;
    rpc_server_applied(n->grpc, applied_index);
    http_server_applied(n->http, applied_index);
}

/* --- the parts ------------------------------------------------------------ */

/* Raw reports, unless the operator wants none. */
static int keep_raw(struct node *n, struct errmsg *e)
{
    const struct node_config *c = n->config;
    char path[4096];
    struct raw_status status;
    struct raw_options options = {.path = path,
                                  .bytes_max = c->retain_raw_bytes,
                                  .age_ms_max = c->retain_raw_s * 1000};
    if (options.bytes_max == 0 || options.age_ms_max == 0)
        return 0;
    snprintf(path, sizeof path, "%s/raw", c->data_dir);
    int rv = store_keep_raw(n->store, &options, e);
    if (rv != 0)
        return errmsg_wrap(e, rv, "raw reports");
    raw_status(store_raw(n->store), &status);
    if (status.set_aside)
        log_warn("raw_damaged",
                 "%s was damaged: it is %s.damaged now, and raw reports begin "
                 "anew; what the buckets say is not touched",
                 path, path);
    return 0;
}

static int start_store(struct node *n, struct errmsg *e)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/store", n->config->data_dir);
    struct store_options options = {.path = path};
    int rv = store_open(&options, &n->store, e);
    return rv == 0 ? keep_raw(n, e) : rv;
}

static int start_replica(struct node *n, struct errmsg *e)
{
    const struct node_config *c = n->config;
    struct repl_options options = {
        .name = c->name,
        .data_dir = c->data_dir,
        .peer_address = c->peer_count > 0 ? c->peer_address : NULL,
        .peer_bind = c->peer_count > 0 ? c->peer_bind : NULL,
        .initial_peers = c->peers,
        .initial_peer_count = c->peer_count,
        .zone = c->zone,
        .leader_zones = c->leader_zones,
        .peer_tls = n->peer_tls,
        .election_timeout_ms = (unsigned)c->election_timeout_ms,
        .heartbeat_ms = (unsigned)c->heartbeat_ms,
        .disk_reserve = c->disk_reserve,
        .store = n->store,
        .on_event = on_event,
        .on_applied = on_applied,
        .arg = n,
    };
    return repl_start(&options, &n->repl, e);
}

/* A store that was put beside another cluster's log would skip or mix entries:
 * found before anything of it can be written. */
static int check_same_cluster(struct node *n, struct errmsg *e)
{
    struct repl_status status;
    repl_status(n->repl, &status);
    struct roster *roster = store_roster(n->store);
    roster_read_lock(roster);
    const struct settings *settings = roster_settings(roster);
    bool foreign =
        settings != NULL && settings->present &&
        (!status.bootstrapped ||
         memcmp(settings->cluster_id, status.cluster_id, CLUSTER_ID_SIZE) != 0);
    roster_read_unlock(roster);
    if (!foreign)
        return 0;
    return errmsg_set(e, ERR_FOREIGN,
                      "%.120s/store belongs to another cluster than the log "
                      "beside it: put back its own, or wipe the data "
                      "directory and rejoin as a new node",
                      n->config->data_dir);
}

/* Also finds out whether the files are good before anything uses them. */
static int start_tls(struct node *n, struct errmsg *e)
{
    const struct node_config *c = n->config;
    struct tls_files files = {.cert = c->tls_cert, .key = c->tls_key};
    struct tls_files peer;
    int rv = c->tls_cert == NULL ? 0 : tls_start(&files, &n->tls, e);
    if (rv == 0 && c->peer_count > 0 && node_peer_tls(c, &peer))
        rv = tls_start(&peer, &n->peer_tls, e);
    return rv;
}

static int start_all(struct node *n, struct errmsg *e)
{
    int rv = start_tls(n, e);
    if (rv == 0)
        rv = start_store(n, e);
    if (rv == 0)
        rv = start_replica(n, e);
    if (rv == 0) {
        rv = check_same_cluster(n, e);
        if (rv != 0) { /* without a stop, which would flush the store */
            log_error("start", "%s", e->text);
            _exit(EXIT_USAGE);
        }
    }
    if (rv == 0)
        rv = rpc_server_start(n, e);
    if (rv == 0)
        rv = http_server_start(n, e);
    return rv;
}

/* Streams first, so that gateways go elsewhere while there is still a leader;
 * the replica then hands leadership over and flushes the store. */
static void stop_all(struct node *n)
{
    atomic_store(&n->stopping, true);
    rpc_server_stop(n->grpc);
    if (n->http != NULL)
        http_server_stop(n->http);
    tls_stop(n->tls);
    if (n->repl != NULL)
        repl_stop(n->repl);
    tls_stop(n->peer_tls);
    rpc_server_destroy(n->grpc);
    if (n->http != NULL)
        http_server_destroy(n->http);
}

/* --- the main thread ------------------------------------------------------ */

static void print_ready(struct node *n)
{
    struct repl_status status;
    char peer[300] = "none";
    repl_status(n->repl, &status);
    struct address bound;
    struct errmsg e;
    if (n->config->peer_count > 0 &&
        address_parse(n->config->peer_bind, -1, true, &bound, &e) == 0) {
        bound.port = repl_peer_port(n->repl);
        address_format(&bound, peer, sizeof peer);
    }
    printf("ready name=%s grpc=%s http=%s peer=%s role=%s\n", n->config->name,
           n->grpc_address, n->http_address, peer, status.state);
    fflush(stdout);
    log_info("ready", "serving gateways on %s and people on %s",
             n->grpc_address, n->http_address);
}

/* Until SIGTERM or SIGINT. Founding and the ready line need a look often;
 * afterwards a request for an admin token now and then. */
static void serve(struct node *n, const sigset_t *signals)
{
    static const struct timespec starting = {0, STARTING_POLL_MS * 1000 * 1000};
    static const struct timespec serving = {SERVING_POLL_S, 0};
    struct founding founding;
    struct token_request request;
    bool ready = false, founded = false;
    int signal = -1;
    founding_init(&founding, n);
    token_request_init(&request, n);
    while (signal < 0) {
        founded = founded || founding_step(&founding);
        if (!ready && node_is_ready(n)) {
            ready = true;
            print_ready(n);
        }
        if (ready && founded)
            token_request_step(&request);
        signal = sigtimedwait(signals, NULL,
                              ready && founded ? &serving : &starting);
    }
    log_info("stopping", "%s: draining", strsignal(signal));
    stop_all(n);
    founding_deinit(&founding);
    token_request_deinit(&request);
}

static int run(const struct node_config *config, const sigset_t *signals)
{
    struct node *n = calloc(1, sizeof *n);
    struct errmsg e = {""};
    int lock_fd = -1;
    if (n == NULL)
        return EXIT_FAILED;
    n->config = config;
    n->started_ms = clock_mono_ms();
    int rv = data_dir_take(config->data_dir, &lock_fd, &e);
    if (rv == 0)
        rv = repl_adopt(config->data_dir, &e);
    if (rv == 0)
        rv = start_all(n, &e);
    if (rv == 0) {
        serve(n, signals);
        log_info("stopped", "all is written");
    } else {
        log_error("start", "%s", e.text);
        stop_all(n);
    }
    store_close(n->store);
    if (lock_fd >= 0)
        close(lock_fd);
    free(n);
    return rv == 0 ? EXIT_OK : exit_code_of(rv);
}

/* A connection takes one, of HTTPS three, and the usual soft limit of 1024 is
 * less than all listeners together take on: strangers could use up what the log
 * needs for its next segment. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
        limit.rlim_cur >= DESCRIPTORS_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max < DESCRIPTORS_WANTED ? limit.rlim_max
                                                         : DESCRIPTORS_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* then as few as before */
}

int main(int argc, char **argv)
{
    struct node_config config;
    struct errmsg e;
    sigset_t signals;
    restart_remember(argv);
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    /* Before any thread, so that none of them is interrupted. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    int rv = node_config_read(&config, argc, argv, &e);
    if (rv > 0)
        return EXIT_OK;
    if (rv < 0) {
        fprintf(stderr, "holdfast-node: %s\n", e.text);
        return EXIT_USAGE;
    }
    if (config.check_only) {
        printf("the configuration is good\n");
        node_config_deinit(&config);
        return EXIT_OK;
    }
    log_configure(config.log_level, config.log_format);
    raise_descriptor_limit();
    int exit_code = run(&config, &signals);
    node_config_deinit(&config);
    return exit_code;
}
