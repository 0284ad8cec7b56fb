#include "raft/replica.h"

#include "base/assert.h"
#include "base/clock.h"
#include "raft/repl.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

static int copy_options(struct repl *r, const struct repl_options *o,
                        struct errmsg *e);
static int open_all(struct repl *r, const struct repl_options *o,
                    struct errmsg *e);
static void compare_initial(struct repl *r);
static void check_file_system(struct repl *r);
static void destroy(struct repl *r);

int repl_start(const struct repl_options *options, struct repl **out,
               struct errmsg *e)
{
    /* libraft's disk writes share libuv's pool; must be set before its first
     * use. Somebody's own choice stands. */
    setenv("UV_THREADPOOL_SIZE", "8", 0);
    *out = NULL;
    struct repl *r = calloc(1, sizeof *r);
    if (r == NULL)
        return errmsg_set(e, ERR_NOMEM, "replica");
    r->lock_fd = -1;
    pthread_mutex_init(&r->status_lock, NULL);
    pthread_mutex_init(&r->copies.lock, NULL);
    pthread_cond_init(&r->copies.changed, NULL);
    events_init(&r->events, options->on_event, options->arg);
    int rv = copy_options(r, options, e);
    if (rv == 0)
        rv = identity_lock(r->data_dir, &r->lock_fd, e);
    if (rv == 0)
        rv = identity_open(r->data_dir, &r->identity, e);
    if (rv != 0) {
        destroy(r);
        return rv;
    }
    rv = uv_loop_init(&r->loop);
    if (rv != 0) {
        destroy(r);
        return errmsg_set(e, ERR_IO, "event loop: %s", uv_strerror(rv));
    }
    *out = r; /* callbacks may come before this function returns */
    rv = loop_init(r, e);
    if (rv == 0)
        rv = open_all(r, options, e);
    if (rv != 0) {
        *out = NULL;
        repl_stop(r);
    }
    return rv;
}

static int open_all(struct repl *r, const struct repl_options *o,
                    struct errmsg *e)
{
    int rv = submit_init(r, e);
    if (rv == 0 && o->peer_bind != NULL)
        rv = listener_open(&r->listener, o->peer_bind, &r->port, e);
    if (rv != 0)
        return rv;
    if (store_level(r->store) > r->level)
        return errmsg_set(e, ERR_NEWER,
                          "%s: the cluster has agreed on feature level %u, "
                          "this version speaks %u: start a newer one",
                          r->data_dir, store_level(r->store), r->level);
    check_file_system(r);
    rv = space_init(&r->space, r->data_dir, o->disk_reserve, &r->events, e);
    if (rv != 0)
        return rv;
    r->applier.space = &r->space;
    r->applier.store = r->store;
    r->applier.events = &r->events;
    r->applier.applied = o->on_applied;
    r->applier.arg = o->arg;
    r->applier.relieved = loop_wake;
    r->applier.relieved_arg = r;
    rv = applier_start(&r->applier, e);
    if (rv != 0)
        return rv;
    r->applier_started = true;
    rv = copies_init(r, e);
    bool fetching = false;
    if (rv == 0)
        rv = fetch_resume(r, &fetching, e);
    if (rv != 0)
        return rv;
    if (fetching) {
        rv = 0; /* raft stays closed */
    } else if (identity_is_bootstrapped(&r->identity)) {
        rv = repl_raft_open(r, NULL, NULL, e);
        if (rv == 0)
            compare_initial(r);
    } else if (r->founder && r->initial_count <= 1) {
        struct founder me = {r->name, r->address, r->identity.raft_id};
        rv = bootstrap_found(r, &me, 1, e);
    } else {
        bootstrap_start(r);
    }
    if (rv != 0)
        return rv;
    status_refresh(r, clock_mono_ms());
    if (pthread_create(&r->thread, NULL, loop_main, r) != 0)
        return errmsg_set(e, ERR_NOMEM, "cannot start the raft thread");
    r->thread_started = true;
    return 0;
}

void repl_stop(struct repl *r)
{
    if (r == NULL)
        return;
    if (r->thread_started) {
        mailbox_push(&r->errands, &r->stop.letter);
        pthread_join(r->thread, NULL);
    } else {
        uv_unref((uv_handle_t *)&r->wake);
        loop_close(r);
        uv_run(&r->loop, UV_RUN_DEFAULT);
    }
    fetch_join(r);
    copies_stop(r);
    servings_stop(r);
    if (r->peer_tls.tls != NULL) {
        tls_inbox_close(r->peer_tls.tls, &r->peer_tls.inbox);
        tls_collect(&r->peer_tls.inbox);
    }
    if (r->applier_started)
        applier_stop(&r->applier);
    /* Both threads are gone: what they left in the mailboxes is ours. */
    errands_run(&r->errands);
    submit_collect(r);
    submit_fail_waiting(r, ERR_CLOSED);
    changes_collect(r);
    forward_deinit(r);
    if (r->raft_open) {
        ASSERT(r->raft_closed);
        raft_uv_close(&r->guard.io);
    }
    uv_close((uv_handle_t *)&r->wake, NULL);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    submit_deinit(r);
    level_deinit(r);
    changes_deinit(r);
    if (uv_loop_close(&r->loop) != 0) {
        /* Cut short in the middle of a snapshot, libraft may leave a handle
         * open. That is after a failure, the process ends: keep the memory. */
        ASSERT(events_failed(&r->events));
        close(r->lock_fd);
        return;
    }
    destroy(r);
}

void repl_flush(struct repl *r)
{
    applier_want_flush(&r->applier);
}

uint16_t repl_peer_port(const struct repl *r)
{
    return r->port;
}

static void destroy(struct repl *r)
{
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    copies_deinit(r);
    pthread_cond_destroy(&r->copies.changed);
    pthread_mutex_destroy(&r->copies.lock);
    pthread_mutex_destroy(&r->status_lock);
    free(r->data_dir);
    free(r->raft_dir);
    free(r);
}

/* --- options -------------------------------------------------------------- */

static int copy_text(char *out, size_t size, const char *in, const char *what,
                     struct errmsg *e)
{
    size_t length = in == NULL ? 0 : strlen(in);
    if (length == 0 || length >= size)
        return errmsg_set(e, ERR_INVALID, "%s: 1 to %zu characters", what,
                          size - 1);
    memcpy(out, in, length + 1);
    return 0;
}

static int copy_initial(struct repl *r, const struct repl_options *o,
                        struct errmsg *e)
{
    if (o->initial_peer_count > PEERS_MAX)
        return errmsg_set(e, ERR_INVALID, "initial peers: at most %d",
                          PEERS_MAX);
    const struct repl_peer *self = NULL;
    for (size_t i = 0; i < o->initial_peer_count; i++) {
        const struct repl_peer *p = &o->initial_peers[i];
        struct lookup lookup;
        if (lookup_parse(p->address, &lookup) != 0)
            return errmsg_set(e, ERR_INVALID,
                              "initial peer %s: %s is not host:port", p->name,
                              p->address);
        for (size_t j = 0; j < i; j++)
            if (strcmp(p->name, r->initial[j].name) == 0 ||
                strcmp(p->address, r->initial[j].address) == 0)
                return errmsg_set(e, ERR_INVALID,
                                  "initial peers: %s=%s is there twice",
                                  p->name, p->address);
        r->initial[r->initial_count++] = *p;
        if (strcmp(p->name, r->name) == 0)
            self = &r->initial[i];
    }
    r->founder = self != NULL || o->initial_peer_count == 0;
    if (self == NULL && o->initial_peer_count > 0 && r->address[0] == '\0')
        return errmsg_set(e, ERR_INVALID,
                          "initial peers: this node (%s) is not among them, so "
                          "it can only join, and needs a peer address",
                          r->name);
    if (self == NULL)
        return 0;
    if (r->address[0] != '\0' && strcmp(r->address, self->address) != 0)
        return errmsg_set(e, ERR_INVALID,
                          "peer address is %s but the initial peers say %s",
                          r->address, self->address);
    memcpy(r->address, self->address, sizeof r->address);
    return 0;
}

static int copy_options(struct repl *r, const struct repl_options *o,
                        struct errmsg *e)
{
    r->store = o->store;
    r->peer_tls.tls = o->peer_tls;
    r->on_leader = o->on_leader;
    r->arg = o->arg;
    r->election_timeout_ms = o->election_timeout_ms;
    r->heartbeat_ms = o->heartbeat_ms;
    r->log_entries_max = o->log_entries_max;
    r->tail_entries = o->tail_entries;
    if (o->heartbeat_ms == 0 || o->election_timeout_ms <= o->heartbeat_ms)
        return errmsg_set(e, ERR_INVALID,
                          "the election timeout (%u ms) must be longer than "
                          "the heartbeat (%u ms)",
                          o->election_timeout_ms, o->heartbeat_ms);
    int rv = copy_text(r->name, sizeof r->name, o->name, "node name", e);
    if (rv == 0 && o->peer_address != NULL)
        rv = copy_text(r->address, sizeof r->address, o->peer_address,
                       "peer address", e);
    r->level = o->level != 0 ? o->level : LEVEL_NEWEST;
    if (rv == 0 && o->zone != NULL)
        rv = copy_text(r->zone, sizeof r->zone, o->zone, "zone", e);
    if (rv == 0 && strchr(r->name, '=') != NULL)
        rv = errmsg_set(e, ERR_INVALID, "node name %s: it must have no \"=\"",
                        r->name);
    if (rv == 0)
        rv = succession_init(r, o->leader_zones, e);
    if (rv == 0)
        rv = copy_initial(r, o, e);
    if (rv != 0)
        return rv;
    if (r->address[0] == '\0') /* libraft wants one; nobody dials it */
        snprintf(r->address, sizeof r->address, "localhost:0");
    size_t size = strlen(o->data_dir) + sizeof "/raft";
    r->data_dir = strdup(o->data_dir);
    r->raft_dir = malloc(size);
    if (r->data_dir == NULL || r->raft_dir == NULL)
        return errmsg_set(e, ERR_NOMEM, "replica");
    snprintf(r->raft_dir, size, "%s/raft", o->data_dir);
    return 0;
}

/* The initial peers found a cluster once; later the log knows the members. Who
 * edits the list should hear that it has no effect. */
static void compare_initial(struct repl *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        const char *known = member_address_dial(c->servers[i].address);
        if (c->servers[i].id == r->identity.raft_id && r->initial_count > 0 &&
            strcmp(known, r->address) != 0)
            events_warn(&r->events, "peer_address",
                        "the others dial this node at %s, it says %s: a "
                        "member's address does not change; to move it, start "
                        "it with an empty data directory, and it takes its own "
                        "place",
                        known, r->address);
    }
    for (size_t i = 0; i < r->initial_count; i++) {
        bool found = strcmp(r->initial[i].name, r->name) == 0;
        for (unsigned j = 0; j < c->n; j++)
            found = found || strcmp(member_address_dial(c->servers[j].address),
                                    r->initial[i].address) == 0;
        if (!found)
            events_warn(&r->events, "initial_peers",
                        "%s=%s is not a member: the list only founds a "
                        "cluster, this one has %u members in its log; to found "
                        "another, start on an empty data directory",
                        r->initial[i].name, r->initial[i].address, c->n);
    }
}

/* Where libraft was measured; elsewhere direct writes may not work as it
 * expects, and network file systems are untested. */
static void check_file_system(struct repl *r)
{
    enum { EXT4 = 0xef53, XFS = 0x58465342 };
    struct statfs fs;
    if (statfs(r->raft_dir, &fs) == 0 && fs.f_type != EXT4 && fs.f_type != XFS)
        events_warn(&r->events, "file_system",
                    "%s is neither on ext4 nor on xfs: use a block volume with "
                    "one of them for data that matters",
                    r->raft_dir);
}
