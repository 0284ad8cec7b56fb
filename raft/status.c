/* What others may know of a replica without asking its loop: a copy under a
 * lock, made every few milliseconds. */
#include "base/clock.h"
#include "raft/repl.h"

enum { STORE_ASK_MS = 1000 };

_Static_assert(sizeof HOLDFAST_VERSION <= RELEASE_LENGTH_MAX + 1,
               "the release fits");

static const char *role_text(int role)
{
    switch (role) {
    case RAFT_VOTER:
        return "voter";
    case RAFT_STANDBY:
        return "standby";
    default:
        return "spare";
    }
}

static void fill_node(struct repl *r, struct repl_node_status *node,
                      const struct raft_server *server, uint64_t now_ms)
{
    const struct out_link *out = forward_peer(r, server->id);
    bool self = server->id == r->identity.raft_id;
    *node = (struct repl_node_status){
        .id = server->id,
        .role = role_text(server->role),
        .leader = server->id == r->seen_leader,
        .connected = self || (out != NULL && link_is_open(&out->link)),
    };
    struct repl_peer peer;
    repl_peer_of(r, server, &peer);
    memcpy(node->name, peer.name, sizeof node->name);
    memcpy(node->address, peer.address, sizeof node->address);
    if (self) {
        node->facts_ms = now_ms;
        status_facts(r, now_ms, &node->facts);
    } else if (out != NULL) {
        node->rtt_us = out->rtt_us;
        node->clock_offset_ms =
            peer_clock_offset(&out->clock, clock_wall_ms(), clock_mono_ms());
        node->facts_ms = out->facts_ms;
        node->facts = out->facts;
    }
}

static const char *state_text(const struct repl *r, uint64_t now_ms)
{
    if (r->phase == PHASE_FETCHING)
        return "fetching";
    if (!r->raft_open)
        return "waiting";
    if (repl_is_removed(r, now_ms))
        return "removed";
    switch (r->raft.state) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_CANDIDATE:
        return "candidate";
    default:
        return "follower";
    }
}

/* Those who knock at this leader and are not let in yet. */
static void fill_joining(struct repl *r, struct repl_status *s)
{
    for (size_t i = 0; i < KNOCKS_MAX && s->node_count < PEERS_MAX; i++) {
        const struct knock *k = &r->membership.knocks[i];
        if (k->raft_id == 0 || repl_member(r, k->raft_id) != NULL)
            continue;
        struct repl_node_status *node = &s->nodes[s->node_count++];
        *node = (struct repl_node_status){.id = k->raft_id, .role = "joining"};
        memcpy(node->name, k->peer.name, sizeof node->name);
        memcpy(node->address, k->peer.address, sizeof node->address);
    }
}

/* Libraft tells nobody: a configuration has the log index of its entry. */
static void watch_members(struct repl *r)
{
    uint64_t index = r->raft.configuration_committed_index;
    if (r->members_index != 0 && index > r->members_index)
        r->members_changes++;
    r->members_index = index;
}

static uint64_t applied_index(struct repl *r);

static void fill_raft(struct repl *r, struct repl_status *s, uint64_t now_ms)
{
    watch_members(r);
    s->bootstrapped = true;
    s->has_leader = r->seen_leader != 0;
    s->is_leader = r->leads;
    s->leader_id = r->seen_leader;
    s->term = raft_current_term(&r->raft);
    s->last_index = raft_last_index(&r->raft);
    s->commit_index = raft_commit_index(&r->raft);
    s->applied_index = applied_index(r);
    s->heard_ms = r->leads ? now_ms : r->guard.heard_ms;
    s->leader_commit_first = r->guard.leader_commit_first;
    s->leader_changes = r->leader_changes;
    s->members_changes = r->members_changes;
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n && s->node_count < PEERS_MAX; i++)
        fill_node(r, &s->nodes[s->node_count++], &c->servers[i], now_ms);
    fill_joining(r, s);
}

/* Asking takes the store's locks: not at every turn. */
static uint64_t store_bytes(struct repl *r, uint64_t now_ms)
{
    if (r->store_asked_ms == 0 || now_ms - r->store_asked_ms >= STORE_ASK_MS) {
        struct store_status store;
        store_status(r->store, &store);
        r->store_bytes = store.used_bytes;
        r->store_asked_ms = now_ms;
    }
    return r->store_bytes;
}

/* An entry that is a barrier or a configuration goes by the store: once that
 * has everything it was handed, the rest is applied too. Otherwise an idle
 * cluster would look as if it were behind. */
static uint64_t applied_index(struct repl *r)
{
    uint64_t applied = store_applied_index(r->store);
    if (!r->raft_open || applied < r->handed_index)
        return applied;
    uint64_t last = raft_last_applied(&r->raft);
    return last > applied ? last : applied;
}

void status_facts(struct repl *r, uint64_t now_ms, struct repl_facts *out)
{
    uint64_t heard_ms = r->leads ? now_ms : r->guard.heard_ms;
    *out = (struct repl_facts){
        .level = r->level,
        .release = HOLDFAST_VERSION,
        .applied_index = applied_index(r),
        .flushed_index = store_flushed_index(r->store),
        .heard_ms_ago = heard_ms == 0 ? UINT64_MAX : now_ms - heard_ms,
        .store_bytes = store_bytes(r, now_ms),
        .disk_free_bytes = space_free_bytes(&r->space),
        .disk_low = space_is_low(&r->space),
        .draining = r->succession.draining,
    };
    memcpy(out->zone, r->zone, sizeof out->zone);
    if (r->raft_open) {
        out->term = raft_current_term(&r->raft);
        out->last_index = raft_last_index(&r->raft);
        out->commit_index = raft_commit_index(&r->raft);
    }
}

void status_refresh(struct repl *r, uint64_t now_ms)
{
    r->status_ms = now_ms;
    struct repl_status s = {.raft_id = r->identity.raft_id,
                            .state = state_text(r, now_ms),
                            .disk_low = space_is_low(&r->space),
                            .disk_free_bytes = space_free_bytes(&r->space)};
    memcpy(s.cluster_id, r->identity.cluster_id, sizeof s.cluster_id);
    if (r->raft_open) {
        fill_raft(r, &s, now_ms);
    } else if (r->phase == PHASE_FETCHING) {
        s.bootstrapped = identity_is_bootstrapped(&r->identity);
        s.fetch_bytes = atomic_load(&r->fetch.receive.bytes);
        s.fetch_total = atomic_load(&r->fetch.receive.total);
    }
    s.draining = r->succession.draining;
    s.level = store_level(r->store);
    s.pending = r->submitter.waiting.count + r->submitter.orders.count +
                r->submitter.proposal_count + forward_pending(r);
    s.failed = r->failed;
    s.entries = r->submitter.entries;
    s.entry_bytes = r->submitter.entry_bytes;
    s.sent_bytes = r->guard.sent_bytes;
    s.loop_ticked_ms = now_ms;
    pthread_mutex_lock(&r->status_lock);
    r->status = s;
    pthread_mutex_unlock(&r->status_lock);
}

void repl_status(struct repl *r, struct repl_status *out)
{
    pthread_mutex_lock(&r->status_lock);
    *out = r->status;
    pthread_mutex_unlock(&r->status_lock);
    out->applier_ticked_ms = atomic_load(&r->applier.ticked_ms);
}
