/* The turn of the raft loop: what other threads sent comes in, libraft's state
 * is looked at (it has no callbacks for leadership or failure), entries are
 * proposed, links are flushed. Also the phases of a stop. Raft loop; the
 * functions that repl_start calls run before it exists. */
#include "base/clock.h"
#include "raft/history.h"
#include "raft/repl.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { INSTALL_TIMEOUT_MS = 3000 };

static void on_wake(uv_async_t *wake);
static void on_turn(uv_prepare_t *turn);
static void on_beat(uv_timer_t *beat);
static void begin_stop(struct errand *errand);
static bool knows(void *arg, uint64_t id);
static void linked(void *arg, uint64_t id);
static void stop_turn(struct repl *r);

/* --- opening -------------------------------------------------------------- */

int loop_init(struct repl *r, struct errmsg *e)
{
    uv_async_init(&r->loop, &r->wake, on_wake);
    uv_prepare_init(&r->loop, &r->turn);
    uv_timer_init(&r->loop, &r->beat);
    r->wake.data = r->turn.data = r->beat.data = r;
    uv_prepare_start(&r->turn, on_turn);
    uv_timer_start(&r->beat, on_beat, BEAT_MS, BEAT_MS);
    mailbox_init(&r->submissions, loop_wake, r);
    mailbox_init(&r->errands, loop_wake, r);
    r->stop.run = begin_stop;
    unsigned silence_ms = 3 * r->election_timeout_ms;
    tls_inbox_init(&r->peer_tls.inbox, loop_wake, r);
    struct peer_tls *tls = r->peer_tls.tls != NULL ? &r->peer_tls : NULL;
    r->dialer =
        (struct dialer){.loop = &r->loop, .tls = tls, .silence_ms = silence_ms};
    r->dialer.me.raft_id = r->identity.raft_id;
    memcpy(r->dialer.me.cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE);
    memcpy(r->dialer.me.name, r->name, sizeof r->name);
    memcpy(r->dialer.me.address, r->address, sizeof r->address);
    r->dialer.me.level = r->level;
    r->listener = (struct listener){
        .loop = &r->loop, .tls = tls, .silence_ms = silence_ms};
    door_init(r);
    membership_init(r);
    changes_init(r);
    transport_init(&r->transport, &r->dialer, &r->events);
    r->transport.knows = knows;
    r->transport.linked = linked;
    r->transport.arg = r;
    int rv = resolver_start(&r->resolver, loop_wake, r, e);
    r->dialer.resolver = r->resolver;
    return rv;
}

static bool knows(void *arg, uint64_t id)
{
    return repl_member(arg, id) != NULL;
}

static void linked(void *arg, uint64_t id)
{
    struct repl *r = arg;
    resend_forget(&r->guard.resend, id);
}

static void on_raft_closed(struct raft *raft)
{
    struct repl *r = raft->data;
    r->raft_closed = true;
}

static int raft_failed(struct repl *r, int rv, const char *what,
                       const char *why, struct errmsg *e)
{
    if (r->guard.refused.text[0] != '\0') {
        *e = r->guard.refused;
        return ERR_CORRUPT;
    }
    int code = rv == RAFT_NOMEM                             ? ERR_NOMEM
               : rv == RAFT_NOSPACE                         ? ERR_NOSPACE
               : rv == RAFT_CORRUPT || rv == RAFT_MALFORMED ? ERR_CORRUPT
                                                            : ERR_IO;
    if (code == ERR_CORRUPT || code == ERR_IO)
        return errmsg_set(e, code,
                          "%.70s: %s: %.110s; unless the disk is at fault, "
                          "wipe the data directory and let this node rejoin",
                          r->raft_dir, what, why);
    return errmsg_set(e, code, "%s: %s: %s (%s)", r->raft_dir, what,
                      raft_strerror(rv), why);
}

static int found_cluster(struct repl *r,
                         const struct raft_configuration *configuration,
                         const uint8_t *cluster_id, struct errmsg *e)
{
    int rv = raft_bootstrap(&r->raft, configuration);
    if (rv != 0)
        return raft_failed(r, rv, "bootstrap", r->guard.io.errmsg, e);
    /* Durable before raft_start, so that a node without a cluster id has never
     * voted (raft/identity.h). */
    memcpy(r->identity.cluster_id, cluster_id, CLUSTER_ID_SIZE);
    memcpy(r->dialer.me.cluster_id, cluster_id, CLUSTER_ID_SIZE);
    rv = identity_save(r->data_dir, &r->identity, e);
    if (rv == 0)
        events_info(&r->events, "founded", "a cluster of %u as node %016llx",
                    configuration->n, (unsigned long long)r->identity.raft_id);
    return rv;
}

static void set_options(struct repl *r)
{
    raft_uv_set_auto_recovery(&r->guard.io, false);
    raft_uv_set_segment_size(&r->guard.io, SEGMENT_SIZE);
    raft_uv_set_disk_retry(&r->guard.io, GUARD_DISK_RETRY_MS);
    raft_uv_set_connect_retry_delay(&r->guard.io, BEAT_MS);
    raft_set_heartbeat_timeout(&r->raft, r->heartbeat_ms);
    raft_set_election_timeout(&r->raft, r->election_timeout_ms);
    raft_set_pre_vote(&r->raft, true);
    /* A manifest is a few bytes. A node that fetched comes back while its
     * leader still waits for the answer to the one before: not half a minute.
     */
    raft_set_install_snapshot_timeout(&r->raft, INSTALL_TIMEOUT_MS);
    raft_set_max_inflight_entries(&r->raft, 128);
    /* libraft refuses entries while a majority has little of its log prepared
     * on disk, by default also the first of a new leader, which is never tried
     * again: it then leads and commits nothing. raft/space.h knows the disks
     * better. */
    raft_set_capacity_threshold(&r->raft, 0);
}

int repl_raft_open(struct repl *r,
                   const struct raft_configuration *configuration,
                   const uint8_t *cluster_id, struct errmsg *e)
{
    struct raft_io *io = &r->guard.io;
    int rv = history_check_vote(r->raft_dir, e);
    if (rv == 0)
        rv = history_check_segments(r->raft_dir, e);
    if (rv == 0)
        rv = history_check_snapshots(r->raft_dir, e);
    if (rv != 0)
        return rv;
    rv = raft_uv_init(io, &r->loop, r->raft_dir, &r->transport.base);
    if (rv != 0)
        return raft_failed(r, rv, "open", io->errmsg, e);
    r->guard.events = &r->events;
    r->guard.raft = &r->raft;
    guard_install(&r->guard);
    r->guard.takes_entries = space_takes_entries;
    r->guard.peer_takes_entries = space_peer_takes_entries;
    snapshot_init(r);
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
    member_address_join(r->name, r->address, address);
    rv = raft_init(&r->raft, io, &r->fsm, r->identity.raft_id, address);
    if (rv != 0) {
        rv = raft_failed(r, rv, "open", raft_errmsg(&r->raft), e);
        raft_uv_close(io);
        return rv;
    }
    r->raft.data = r;
    r->raft_open = true; /* from here on loop_close closes it */
    set_options(r);
    if (configuration != NULL) {
        rv = found_cluster(r, configuration, cluster_id, e);
        if (rv != 0)
            return rv;
    }
    rv = raft_start(&r->raft);
    if (rv != 0)
        return raft_failed(r, rv, "start", raft_errmsg(&r->raft), e);
    if (events_failed(&r->events))
        return errmsg_set(e, ERR_BEHIND, "%s: cannot start", r->data_dir);
    /* One that joins may have a log from before it was let in: the leader
     * sends the rest. Without a configuration of its own it never votes itself
     * into anything. */
    if (r->raft.configuration.n > 0 &&
        repl_member(r, r->identity.raft_id) == NULL)
        events_info(&r->events, "membership",
                    "%s does not name this node as a member yet", r->raft_dir);
    snapshot_beat(r);
    r->dialer.me.configuration_index = repl_configuration_index(r);
    forward_set_members(r);
    r->phase = PHASE_RUNNING;
    return 0;
}

/* --- turns ---------------------------------------------------------------- */

void loop_wake(void *arg)
{
    struct repl *r = arg;
    uv_async_send(&r->wake);
}

void *loop_main(void *arg)
{
    struct repl *r = arg;
    thread_role_take(&loop_thread);
    /* A peer that hangs up makes write(2) raise SIGPIPE here; libuv wants the
     * error instead. The daemon's own disposition stays as it is. */
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    return NULL;
}

static void on_wake(uv_async_t *wake)
{
    struct repl *r = wake->data;
    if (r->phase != PHASE_CLOSING)
        resolver_collect(r->resolver);
    tls_collect(&r->peer_tls.inbox);
    errands_run(&r->errands);
    submit_collect(r);
    changes_collect(r);
}

static void on_turn(uv_prepare_t *turn)
{
    struct repl *r = turn->data;
    thread_role_assert(&loop_thread);
    if (r->raft_open && r->phase != PHASE_CLOSING) {
        if (raft_state(&r->raft) == RAFT_UNAVAILABLE) {
            events_fatal(&r->events, EXIT_RESTART, "raft",
                         "libraft gave up: %s", raft_errmsg(&r->raft));
            return; /* nothing of its state means anything now */
        }
        leadership_turn(r);
        leader_gone_turn(r);
        succession_turn(r);
        atomic_store(&r->applier.stored_index, r->raft.last_stored);
        stop_turn(r);
        if (r->phase == PHASE_CLOSING)
            return;
        submit_pump(r);
        forward_flush(r);
    }
    uint64_t now = clock_mono_ms();
    if (now - r->status_ms >= 5)
        status_refresh(r, now);
}

/* --- stopping ------------------------------------------------------------- */

static void begin_stop(struct errand *errand)
{
    struct repl *r = CONTAINER_OF(errand, struct repl, stop);
    /* Others may still ring; it must not keep the loop alive any more. */
    uv_unref((uv_handle_t *)&r->wake);
    if (r->phase == PHASE_CLOSING)
        return; /* it failed before */
    if (r->phase != PHASE_RUNNING) {
        submit_fail_waiting(r, ERR_CLOSED);
        loop_close(r);
        return;
    }
    submit_fail_waiting(r, ERR_CLOSED);
    struct errmsg e;
    bool handing = succession_holds(&r->succession) ||
                   succession_transfer(r, 0, NULL, NULL, &e) == 0;
    r->phase = handing ? PHASE_HANDING : PHASE_DRAINING;
    r->phase_until_ms = clock_mono_ms() + DRAIN_MS_MAX;
}

static void stop_turn(struct repl *r)
{
    uint64_t now = clock_mono_ms();
    if (r->phase == PHASE_HANDING && !succession_holds(&r->succession)) {
        /* What the others send until they know the new leader is answered: a
         * closed link would leave it unknown. */
        r->phase = PHASE_DRAINING;
        r->linger_until_ms = now + LINGER_MS;
    } else if (r->phase == PHASE_DRAINING && now >= r->linger_until_ms &&
               (now >= r->phase_until_ms ||
                (r->submitter.proposal_count == 0 && forward_pending(r) == 0)))
        loop_close(r);
}

void loop_close(struct repl *r)
{
    r->phase = PHASE_CLOSING;
    succession_close(r);
    leader_gone_close(r);
    if (r->leads)
        leadership_lose(r);
    bootstrap_stop(r);
    fetch_close(r);
    membership_close(r);
    changes_close(r);
    forward_close(r);
    listener_close(&r->listener);
    if (r->raft_open) {
        /* The applier's last flush waits for nobody: tell it what the log on
         * disk has now. */
        atomic_store(&r->applier.stored_index, r->raft.last_stored);
        r->guard.closing = true;
        raft_close(&r->raft, on_raft_closed);
    }
    dialer_close(&r->dialer);
    resolver_stop(r->resolver);
    r->resolver = NULL;
    uv_close((uv_handle_t *)&r->turn, NULL);
    uv_close((uv_handle_t *)&r->beat, NULL);
}

static void on_beat(uv_timer_t *beat)
{
    struct repl *r = beat->data;
    uint64_t now = clock_mono_ms();
    if (events_failed(&r->events)) {
        /* Should the process live on for a moment, this node neither votes nor
         * acknowledges any more. */
        submit_fail_waiting(r, ERR_CLOSED);
        loop_close(r);
        return;
    }
    listener_beat(&r->listener);
    dialer_beat(&r->dialer);
    peer_tls_beat(&r->peer_tls, &r->events, now);
    changes_beat(r, now);
    if (r->phase == PHASE_FETCHING) {
        submit_beat(r, now);
        fetch_beat(r, now);
        return;
    }
    if (r->phase == PHASE_WAITING) {
        submit_beat(r, now);
        if (r->bootstrap.running)
            bootstrap_beat(r, now);
        return;
    }
    if (!r->raft_open || r->phase == PHASE_CLOSING)
        return;
    r->dialer.me.configuration_index = repl_configuration_index(r);
    transport_beat(&r->transport);
    forward_set_members(r);
    forward_beat(r, now);
    membership_beat(r, now);
    level_beat(r, now);
    stranger_beat(r, now);
    unheard_beat(r, now);
    guard_beat(&r->guard, raft_last_index(&r->raft), now);
    snapshot_beat(r);
    copies_beat(r, now);
    submit_beat(r, now);
    succession_beat(r, now);
    leader_gone_beat(r, now);
}
