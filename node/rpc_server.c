/* The gateways' port: libgrpc's server on one completion queue and one thread
 * (more threads cost 34-44 % more CPU a call). Other threads push parcels into
 * the mailbox and wake the queue by an empty batch on a call of a lame channel,
 * the one way that the C core has. The clock of everything here is the queue's
 * own timeout. reference: grpc-c-core.md, sections 2 and 4 */
#include "node/rpc_call.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/config_value.h"
#include "node/listen.h"

#include <grpc/grpc_security.h>
#include <grpc/support/time.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

/* --- other threads -------------------------------------------------------- */

/* Any thread, at most once for each time the mailbox is emptied. */
static void wake_queue(void *arg)
{
    struct rpc_server *g = arg;
    pthread_mutex_lock(&g->wake_lock);
    if (!g->wake_closed) {
        grpc_call_error error =
            grpc_call_start_batch(g->lame_call, NULL, 0, &g->wake, NULL);
        ASSERT(error == GRPC_CALL_OK);
    }
    pthread_mutex_unlock(&g->wake_lock);
}

static void proposal_settled(struct parcel *parcel)
{
    struct proposal *p = CONTAINER_OF(parcel, struct proposal, parcel);
    p->settled(p, p->status);
}

/* Raft loop or applier thread. */
static void submission_done(struct submission *s, int status)
{
    struct proposal *p = CONTAINER_OF(s, struct proposal, submission);
    struct rpc_server *g = p->arg;
    p->status = status;
    p->parcel.open = proposal_settled;
    mailbox_push(&g->mailbox, &p->parcel.letter);
}

static void submit(struct ingest *ingest, struct proposal *p)
{
    struct rpc_server *g = CONTAINER_OF(ingest, struct rpc_server, ingest);
    p->arg = g;
    p->submission.done = submission_done;
    repl_submit(g->node->repl, &p->submission);
}

void rpc_server_applied(struct rpc_server *g, uint64_t applied_index)
{
    struct change change;
    if (g == NULL)
        return;
    roster_read_lock(g->ingest.roster);
    bool roster_changed =
        roster_changes(g->ingest.roster, g->journal_seen, &change, 1) != 0;
    roster_read_unlock(g->ingest.roster);
    g->journal_seen = applied_index;
    if (!roster_changed && applied_index < atomic_load(&g->applied_wanted))
        return;
    if (!atomic_exchange(&g->applied_posted, true))
        mailbox_push(&g->mailbox, &g->applied.letter);
}

/* --- the grpc thread's clock ---------------------------------------------- */

static void tick_calls(struct rpc_server *g)
{
    struct call *next;
    for (struct call *c = g->calls; c != NULL; c = next) {
        next = c->next;
        if (c->method->tick != NULL)
            c->method->tick(c);
    }
}

static void listen_to_calls(struct presence_round *p)
{
    struct rpc_server *g = CONTAINER_OF(p, struct rpc_server, presence);
    for (struct call *c = g->calls; c != NULL; c = c->next)
        if (c->method->heard != NULL)
            presence_add(p, c->method->heard(c));
}

static void presence_go_on(struct rpc_server *g)
{
    /* Until then such a record is refused. */
    if (store_level(g->node->store) >= store_level_of(RECORD_PRESENCE))
        presence_pump(&g->presence);
}

static void barrier_go_on(struct rpc_server *g)
{
    bool passed =
        barrier_pump(&g->barrier, store_applied_index(g->node->store));
    atomic_store(&g->applied_wanted, g->barrier.state == BARRIER_APPLYING
                                         ? g->barrier.applied_wanted
                                         : UINT64_MAX);
    /* What was applied between the two lines above woke nobody. */
    if (!passed && g->barrier.state == BARRIER_APPLYING)
        passed = barrier_pump(&g->barrier, store_applied_index(g->node->store));
    if (barrier_has_passed(&g->barrier, g->first_ticket))
        atomic_store(&g->node->caught_up, true);
    if (passed) {
        tick_calls(g);
        presence_go_on(g);
    }
}

static void look_at_leader(struct rpc_server *g)
{
    struct repl_status status;
    repl_status(g->node->repl, &status);
    g->ingest.has_leader = status.has_leader && !g->stopping;
    g->leader_name[0] = '\0';
    for (size_t i = 0; status.has_leader && i < status.node_count; i++)
        if (status.nodes[i].id == status.leader_id)
            memcpy(g->leader_name, status.nodes[i].name, sizeof g->leader_name);
    if (status.has_leader) {
        g->leaderless_since_ms = 0;
        g->config_refused_until_ms = 0;
        g->evicted = false;
    } else if (g->leaderless_since_ms == 0) {
        g->leaderless_since_ms = g->ingest.now_ms;
    }
}

static bool is_leaderless(const struct rpc_server *g)
{
    return g->leaderless_since_ms != 0 &&
           g->ingest.now_ms - g->leaderless_since_ms >= LEADERLESS_MS;
}

/* Once in each time without a leader: defguard's gateways come back by
 * themselves, through whatever balancer stands before the nodes. Our agents
 * stay: they spool. DESIGN, "Without a leader" */
static void evict_gateways(struct rpc_server *g)
{
    g->evicted = true;
    g->config_refused_until_ms = g->ingest.now_ms + CONFIG_REFUSED_MS;
    log_warn("leaderless", "no leader for %d s: gateways are sent elsewhere",
             LEADERLESS_MS / 1000);
    for (struct call *c = g->calls; c != NULL; c = c->next)
        if (c->method->who == FOR_DEFGUARD)
            call_finish(c, GRPC_STATUS_UNAVAILABLE,
                        "this node has no leader; another may");
}

/* All of them: our agents send elsewhere what was not acknowledged here, of
 * defguard's the last samples are still committed. New ones are turned away by
 * call_accept. */
static void look_at_drain(struct rpc_server *g)
{
    bool draining = atomic_load(&g->node->draining);
    if (draining && !g->draining)
        for (struct call *c = g->calls; c != NULL; c = c->next)
            if (c->method->who != FOR_ANYBODY)
                call_finish(c, GRPC_STATUS_UNAVAILABLE, DRAINING_TEXT);
    g->draining = draining;
}

static void tick(struct rpc_server *g)
{
    look_at_leader(g);
    look_at_drain(g);
    bool leaderless = is_leaderless(g);
    if (leaderless && !g->evicted)
        evict_gateways(g);
    bool serving = !g->stopping && !atomic_load(&g->node->stopping) &&
                   !g->draining && !leaderless && node_is_ready(g->node);
    bool news = serving != g->serving || g->ingest.retry_wanted ||
                g->health_requests > 0; /* they have deadlines */
    g->serving = serving;
    g->ingest.retry_wanted = false;
    atomic_store(&g->node->ingest.waiting_bytes, g->ingest.bytes_in_flight);
    atomic_store(&g->node->ingest.calls, g->call_count);
    rpc_core_allow_memory(g);
    barrier_go_on(g);
    if (news)
        tick_calls(g);
    presence_go_on(g);
    g->next_tick_ms = g->ingest.now_ms + TICK_MS;
}

static void applied_open(struct parcel *parcel)
{
    struct rpc_server *g = CONTAINER_OF(parcel, struct rpc_server, applied);
    atomic_store(&g->applied_posted, false);
    g->roster_generation++;
    tick_calls(g);
}

static void wake_done(struct op *op, bool ok)
{
    struct rpc_server *g = CONTAINER_OF(op, struct rpc_server, wake);
    (void)ok;
    for (struct letter *l = mailbox_take(&g->mailbox), *next; l != NULL;
         l = next) {
        struct parcel *parcel = CONTAINER_OF(l, struct parcel, letter);
        next = l->next;
        parcel->open(parcel);
    }
    barrier_go_on(g);
}

/* --- accepting ------------------------------------------------------------ */

bool refusal_is_news(struct rpc_server *g, enum refusal kind, uint64_t *count)
{
    *count = ++g->refusals[kind];
    if (g->refusal_logged_ms[kind] != 0 &&
        g->ingest.now_ms - g->refusal_logged_ms[kind] < REFUSAL_LOG_MS)
        return false;
    g->refusal_logged_ms[kind] = g->ingest.now_ms;
    g->refusals[kind] = 0;
    return true;
}

static void acceptor_arm(struct acceptor *a)
{
    struct rpc_server *g = a->server;
    a->rpc = NULL;
    grpc_call_details_init(&a->details);
    grpc_metadata_array_init(&a->metadata);
    grpc_call_error error =
        grpc_server_request_call(g->core, &a->rpc, &a->details, &a->metadata,
                                 g->queue, g->queue, &a->op);
    ASSERT(error == GRPC_CALL_OK);
}

static void acceptor_done(struct op *op, bool ok)
{
    struct acceptor *a = CONTAINER_OF(op, struct acceptor, op);
    if (ok)
        call_accept(a->server, a);
    grpc_call_details_destroy(&a->details);
    grpc_metadata_array_destroy(&a->metadata);
    /* Not ok: the server is stopping. */
    if (ok && !a->server->stopping)
        acceptor_arm(a);
}

/* --- the thread ----------------------------------------------------------- */

/* Everything has left libgrpc: the queue ends when it is empty. */
static void shut_down_done(struct op *op, bool ok)
{
    struct rpc_server *g = CONTAINER_OF(op, struct rpc_server, shut_down);
    (void)ok;
    pthread_mutex_lock(&g->wake_lock);
    g->wake_closed = true;
    pthread_mutex_unlock(&g->wake_lock);
    grpc_completion_queue_shutdown(g->queue);
}

static void stop_open(struct parcel *parcel)
{
    struct rpc_server *g = CONTAINER_OF(parcel, struct rpc_server, stop);
    g->stopping = true;
    g->ingest.has_leader = false; /* nothing is submitted any more */
    g->stop_at_ms = g->ingest.now_ms + STOP_GRACE_MS;
    for (struct call *c = g->calls; c != NULL; c = c->next)
        call_finish(c, GRPC_STATUS_UNAVAILABLE,
                    "this node is stopping; use another");
    grpc_server_shutdown_and_notify(g->core, g->queue, &g->shut_down);
}

static gpr_timespec wait_until(struct rpc_server *g)
{
    uint64_t at_ms = g->next_tick_ms;
    uint64_t retry_at_ms = g->ingest.now_ms + INGEST_RETRY_MS;
    if (g->ingest.retry_wanted && retry_at_ms < at_ms)
        g->next_tick_ms = at_ms = retry_at_ms;
    int64_t wait_ms =
        at_ms > g->ingest.now_ms ? (int64_t)(at_ms - g->ingest.now_ms) : 0;
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
}

static void *run(void *arg)
{
    struct rpc_server *g = arg;
    thread_role_take(&grpc_thread);
    g->ingest.now_ms = clock_mono_ms();
    g->first_ticket = barrier_ticket(&g->barrier);
    tick(g);
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(g->queue, wait_until(g), NULL);
        g->ingest.now_ms = clock_mono_ms();
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            break;
        if (event.type == GRPC_OP_COMPLETE) {
            struct op *op = event.tag;
            op->done(op, event.success != 0);
        }
        if (g->ingest.now_ms >= g->next_tick_ms)
            tick(g);
        if (g->stopping && !g->cancelled_all &&
            g->ingest.now_ms >= g->stop_at_ms) {
            g->cancelled_all = true;
            grpc_server_cancel_all_calls(g->core);
        }
    }
    /* Calls that the log still holds something of outlive libgrpc's side. */
    for (struct call *c = g->calls; c != NULL; c = c->next)
        call_detach(c);
    return NULL;
}

/* --- start and stop ------------------------------------------------------- */

/* libgrpc does not tell its callers why: the same is tried once more. */
static int tell_refused_port(const char *where, struct errmsg *e)
{
    char address[LISTEN_ADDRESS_SIZE];
    int fd = -1;
    int rv = listen_open(where, &fd, address, e);
    if (rv != 0)
        return errmsg_wrap(e, rv, "--grpc-bind");
    close(fd);
    return errmsg_set(e, ERR_IO,
                      "--grpc-bind %s: cannot listen there; try "
                      "again",
                      where);
}

static int bind_port(struct rpc_server *g, struct errmsg *e)
{
    const struct node_config *config = g->node->config;
    const char *where = config->grpc_bind;
    grpc_server_credentials *credentials =
        config->tls_cert != NULL
            ? rpc_tls_credentials(&g->tls, config->tls_cert, config->tls_key)
            : grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(g->core, where, credentials);
    grpc_server_credentials_release(credentials);
    if (port == 0)
        return tell_refused_port(where, e);
    struct address bound;
    int rv = address_parse(where, -1, true, &bound, e);
    if (rv != 0)
        return rv;
    bound.port = (uint16_t)port;
    address_format(&bound, g->node->grpc_address, sizeof g->node->grpc_address);
    return 0;
}

static uint64_t log_time_ms(struct ingest *ingest)
{
    struct rpc_server *g = CONTAINER_OF(ingest, struct rpc_server, ingest);
    return store_log_time_ms(g->node->store);
}

/* "os;version;architecture": gateways demand exactly three parts. */
static void describe_system(char *out, size_t room)
{
    struct utsname u;
    if (uname(&u) != 0)
        snprintf(out, room, "Linux;unknown;unknown");
    else
        snprintf(out, room, "%.40s;%.60s;%.40s", u.sysname, u.release,
                 u.machine);
}

static int prepare(struct rpc_server *g, struct node *n, struct errmsg *e)
{
    g->node = n;
    g->ingest = (struct ingest){.submit = submit,
                                .log_time_ms = log_time_ms,
                                .roster = store_roster(n->store),
                                .counters = &n->ingest,
                                .seed = ingest_seed()};
    g->registrations.seed = g->ingest.seed;
    g->reports = calloc(REPORT_PEERS_MAX, sizeof *g->reports);
    g->changes = calloc(JOURNAL_CHANGES_MAX, sizeof *g->changes);
    if (g->reports == NULL || g->changes == NULL ||
        barrier_init(&g->barrier, &g->ingest) != 0)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    presence_init(&g->presence, &g->ingest, &g->barrier, listen_to_calls);
    mailbox_init(&g->mailbox, wake_queue, g);
    pthread_mutex_init(&g->wake_lock, NULL);
    g->stop.open = stop_open;
    g->applied.open = applied_open;
    g->wake.done = wake_done;
    g->shut_down.done = shut_down_done;
    g->applied_wanted = UINT64_MAX;
    g->journal_seen = store_applied_index(n->store);
    describe_system(g->system, sizeof g->system);
    return 0;
}

static void free_all(struct rpc_server *g)
{
    rpc_tls_deinit(&g->tls);
    presence_deinit(&g->presence);
    barrier_deinit(&g->barrier);
    registrations_deinit(&g->registrations);
    buf_deinit(&g->scratch);
    buf_deinit(&g->out);
    free(g->reports);
    free(g->changes);
    free(g);
}

/* libgrpc's part, but for the server's own shutdown. */
static void core_destroy(struct rpc_server *g)
{
    grpc_server_destroy(g->core);
    grpc_resource_quota_unref(g->quota);
    grpc_call_unref(g->lame_call);
    grpc_channel_destroy(g->lame_channel);
    grpc_completion_queue_destroy(g->queue);
    grpc_shutdown();
}

/* The port could not be had: libgrpc wants an orderly shutdown all the same. */
static void core_abandon(struct rpc_server *g)
{
    grpc_server_shutdown_and_notify(g->core, g->queue, &g->shut_down);
    grpc_completion_queue_shutdown(g->queue);
    while (grpc_completion_queue_next(g->queue,
                                      gpr_inf_future(GPR_CLOCK_REALTIME), NULL)
               .type != GRPC_QUEUE_SHUTDOWN)
        ;
    core_destroy(g);
}

int rpc_server_start(struct node *n, struct errmsg *e)
{
    struct rpc_server *g = calloc(1, sizeof *g);
    if (g == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int rv = prepare(g, n, e);
    if (rv != 0) {
        free_all(g);
        return rv;
    }
    rpc_core_log();
    grpc_init();
    g->queue = grpc_completion_queue_create_for_next(NULL);
    rpc_core_create(g);
    grpc_server_register_completion_queue(g->core, g->queue, NULL);
    g->lame_channel = grpc_lame_client_channel_create(
        "wake", GRPC_STATUS_UNAVAILABLE, "never used");
    g->lame_call = grpc_channel_create_call(
        g->lame_channel, NULL, GRPC_PROPAGATE_DEFAULTS, g->queue,
        grpc_slice_from_static_string("/wake"), NULL,
        gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    rv = bind_port(g, e);
    if (rv != 0) {
        core_abandon(g);
        free_all(g);
        return rv;
    }
    grpc_server_start(g->core);
    for (size_t i = 0; i < ACCEPTORS; i++) {
        g->acceptors[i].server = g;
        g->acceptors[i].op.done = acceptor_done;
        acceptor_arm(&g->acceptors[i]);
    }
    ASSERT(pthread_create(&g->thread, NULL, run, g) == 0);
    n->grpc = g;
    return 0;
}

void rpc_server_stop(struct rpc_server *g)
{
    if (g == NULL)
        return;
    mailbox_push(&g->mailbox, &g->stop.letter);
    pthread_join(g->thread, NULL);
    core_destroy(g);
}

void rpc_server_destroy(struct rpc_server *g)
{
    if (g == NULL)
        return;
    /* What the replica gave back meanwhile; nobody submits again. */
    for (struct letter *l = mailbox_take(&g->mailbox), *next; l != NULL;
         l = next) {
        struct parcel *parcel = CONTAINER_OF(l, struct parcel, letter);
        next = l->next;
        if (parcel != &g->applied)
            parcel->open(parcel);
    }
    while (g->calls != NULL)
        call_free(g->calls);
    free_all(g);
}
