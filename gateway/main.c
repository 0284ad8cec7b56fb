/* holdfast-gateway: one thread that looks at the interface once a period and
 * lets the reporter run in between. SIGTERM or SIGINT: a last look, its
 * acknowledgement awaited for at most FAREWELL_MS, exit 0. Exit 1: superseded,
 * or out of memory; 2: usage, or a certificate that cannot be read. */
#include "base/clock.h"
#include "base/log.h"
#include "gateway/config.h"
#include "gateway/machine.h"
#include "gateway/session_disk.h"

#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum {
    FAREWELL_MS = 5000,
    SIGNAL_LATENCY_MS = 200, /* gRPC's queue does not return for a signal */
    RENEWED_LOOK_MS = 1000,  /* a renewed session waits no longer for a look */
    OVERFLOW_LOG_MS = 60 * 1000,
};

struct agent {
    struct gateway_config config;
    struct session session;
    struct spool_dir spool; /* used if a directory is configured */
    struct wg_interface interface;
    struct reporter *reporter;
    char socket_path[64];
    enum session_disk_state disk_state; /* as it was told */
    uint64_t overflows;                 /* since that was told */
    uint64_t overflow_told_ms;
    int last_error; /* of the last look, so that a lasting one is told once */
    bool looked;    /* the baseline was printed, if it was wanted */
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int number)
{
    (void)number;
    stop_requested = 1;
}

/* --- one look ------------------------------------------------------------- */

static void print_baseline(void *arg, const struct stat_report *r)
{
    unsigned char key[4 * ((REPORT_KEY_SIZE + 2) / 3) + 1];
    (void)arg;
    EVP_EncodeBlock(key, r->public_key, REPORT_KEY_SIZE);
    printf("{\"baseline\":{\"public_key\":\"%s\",\"upload\":%llu,"
           "\"download\":%llu,\"from_zero\":%s}}\n",
           (const char *)key, (unsigned long long)r->upload,
           (unsigned long long)r->download, r->from_zero ? "true" : "false");
    fflush(stdout);
}

static void tell_look(struct agent *a, int rv, const struct errmsg *e)
{
    if (rv == a->last_error)
        return;
    if (rv == 0)
        log_info("interface", "%s is there, %zu peers", a->config.ifname,
                 a->interface.peer_count);
    else
        log_warn("interface", "%s cannot be read: %s%s", a->config.ifname,
                 e->text,
                 rv == ERR_NOTFOUND
                     ? "; no userspace WireGuard has this name (--ifname), and "
                       "kernel interfaces cannot be read yet"
                     : "");
    a->last_error = rv;
}

static void tell_disk(struct agent *a)
{
    if (a->session.disk_state == a->disk_state)
        return;
    a->disk_state = a->session.disk_state;
    if (a->disk_state == DISK_FAILED)
        log_error("spool",
                  "%s: reports wait in memory alone, and a restart begins a "
                  "new session; make room or mend it, it is tried again",
                  a->session.disk_error.text);
    else if (a->disk_state == DISK_KEPT)
        log_info("spool", "reports are kept in %s as session %llu",
                 a->config.spool_dir, (unsigned long long)a->session.id);
}

/* The front of the spool is lost. No byte is: the counters are cumulative, but
 * those of the time without a node count when it comes back. */
static void tell_overflow(struct agent *a)
{
    uint64_t now_ms = clock_mono_ms();
    a->overflows++;
    if (a->overflow_told_ms != 0 &&
        now_ms - a->overflow_told_ms < OVERFLOW_LOG_MS)
        return;
    log_warn("spool",
             "full (--spool-bytes %llu), %llu times since the last line: its "
             "reports are given up and their bytes count at a later time; "
             "going on as session %llu",
             (unsigned long long)a->config.spool_bytes,
             (unsigned long long)a->overflows,
             (unsigned long long)a->session.id);
    a->overflow_told_ms = now_ms;
    a->overflows = 0;
}

/* 0, or ERR_NOMEM. A look that failed, unlike one that found no interface,
 * tells nothing, so nothing is reported. */
static int look(struct agent *a)
{
    struct errmsg e = {{0}};
    int renewed = 0;
    int rv = uapi_read(a->socket_path, &a->interface, &e);
    tell_look(a, rv, &e);
    if (rv != 0 && rv != ERR_NOTFOUND)
        return rv == ERR_NOMEM ? rv : 0;
    bool tell = a->config.print_baseline && !a->looked;
    a->looked = true;
    rv = session_tick(&a->session, rv == 0 ? &a->interface : NULL,
                      clock_wall_ms(), &renewed, tell ? print_baseline : NULL,
                      NULL);
    if (renewed == ERR_LIMIT)
        tell_overflow(a);
    if (renewed != 0)
        reporter_restart(a->reporter);
    tell_disk(a);
    return rv == ERR_LIMIT ? 0 : rv;
}

/* --- the loop ------------------------------------------------------------- */

static int run(struct agent *a)
{
    uint64_t next_ms = clock_mono_ms();
    while (!stop_requested) {
        uint64_t now_ms = clock_mono_ms();
        if (now_ms >= next_ms) {
            int rv = look(a);
            if (rv != 0)
                return rv;
            next_ms += a->config.stats_period_ms;
            if (next_ms <= now_ms) /* was frozen: no catching up */
                next_ms = now_ms + a->config.stats_period_ms;
        }
        uint64_t until_ms = now_ms + SIGNAL_LATENCY_MS;
        if (until_ms > next_ms)
            until_ms = next_ms;
        switch (reporter_poll(a->reporter, until_ms)) {
        case REPORTER_OVER:
            return ERR_CLOSED;
        case REPORTER_LOOK_DUE:
            if (next_ms > now_ms + RENEWED_LOOK_MS)
                next_ms = now_ms + RENEWED_LOOK_MS;
            break;
        case REPORTER_NOTHING:
            break;
        }
    }
    return 0;
}

/* The last bytes of every peer, if a node takes them in time. */
static int farewell(struct agent *a)
{
    int rv = look(a);
    uint64_t deadline_ms = clock_mono_ms() + FAREWELL_MS;
    while (rv == 0 && !session_is_drained(&a->session) &&
           clock_mono_ms() < deadline_ms)
        switch (reporter_poll(a->reporter, deadline_ms)) {
        case REPORTER_OVER:
            rv = ERR_CLOSED;
            break;
        case REPORTER_LOOK_DUE:
            /* A renewed session is empty: without a look the last counters
             * would never be told. */
            rv = look(a);
            break;
        case REPORTER_NOTHING:
            break;
        }
    if (rv == 0 && !session_is_drained(&a->session))
        log_warn("stop", "%zu reports were not acknowledged",
                 a->session.spool.count);
    return rv;
}

/* What cannot be read is given up, which loses no byte; a directory that cannot
 * be used at all is a mistake of whoever gave it. */
static int open_spool(struct agent *a, const uint8_t *machine, struct errmsg *e)
{
    const struct gateway_config *c = &a->config;
    if (c->spool_dir == NULL)
        return 0;
    int rv = spool_dir_open(&a->spool, c->spool_dir, c->spool_bytes,
                            c->gateway_id, machine, e);
    if (rv != 0)
        return rv;
    rv = session_resume(&a->session, &a->spool, e);
    if (rv == ERR_NOMEM || rv == ERR_NEWER)
        return rv;
    if (rv != 0)
        log_warn("spool",
                 "%s: what waited there is given up, its bytes count at a "
                 "later time; going on as session %llu",
                 e->text, (unsigned long long)a->session.id);
    else if (a->session.resumed)
        log_info("spool", "going on with session %llu: %zu reports wait in %s",
                 (unsigned long long)a->session.id, a->session.spool.count,
                 c->spool_dir);
    *e = (struct errmsg){{0}};
    return 0;
}

static int start(struct agent *a, struct errmsg *e)
{
    const struct gateway_config *c = &a->config;
    uint8_t machine[MACHINE_HASH_SIZE];
    int rv = machine_hash("/etc/machine-id", c->hostname, machine);
    if (rv != 0)
        return errmsg_set(e, rv, "the machine's hash cannot be computed");
    snprintf(a->socket_path, sizeof a->socket_path,
             "/var/run/wireguard/%s.sock", c->ifname);
    session_init(&a->session, machine, clock_wall_ms(), c->spool_bytes,
                 SPOOL_BATCHES_MAX);
    rv = open_spool(a, machine, e);
    if (rv != 0)
        return rv;
    struct reporter_config r = {
        .nodes = c->nodes,
        .node_count = c->node_count,
        .tls = &c->tls,
        .token = c->token,
        .hostname = c->hostname,
        .gateway_id = c->gateway_id,
    };
    rv = reporter_create(&a->reporter, &r, &a->session, e);
    if (rv != 0)
        return rv;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("observing ifname=%s node=%s session=%llu machine=%016llx\n",
           c->ifname, reporter_node(a->reporter),
           (unsigned long long)a->session.id,
           (unsigned long long)machine_mark(machine));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static struct agent a;
    struct errmsg e = {{0}};
    int status = 0;
    int rv = gateway_config_read(&a.config, argc, argv, &e);
    if (rv != 0) {
        if (rv < 0)
            fprintf(stderr, "holdfast-gateway: %s\n", e.text);
        status = rv < 0 ? 2 : 0;
        goto out;
    }
    log_configure(a.config.log_level,
                  isatty(STDERR_FILENO) ? LOG_TEXT : LOG_JSON);
    rv = start(&a, &e);
    bool misconfigured = rv != 0 && rv != ERR_NOMEM;
    if (rv == 0)
        rv = run(&a);
    if (rv == 0)
        rv = farewell(&a);
    if (rv != 0) {
        log_error("stop", "%s", e.text[0] != '\0' ? e.text : err_text(rv));
        status = misconfigured ? 2 : 1;
    }
    reporter_destroy(a.reporter);
    session_deinit(&a.session);
    spool_dir_close(&a.spool);
    wg_interface_deinit(&a.interface);
out:
    gateway_config_deinit(&a.config);
    return status;
}
