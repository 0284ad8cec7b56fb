/* What others may know of a replica without asking its loop: a copy under a
 * lock, made every few milliseconds. */
#include "base/clock.h"
#include "raft/repl.h"

static void fill_node(struct repl *r, struct repl_node_status *node,
                      const struct raft_server *server)
{
    const struct out_link *out = forward_peer(r, server->id);
    bool self = server->id == r->identity.raft_id;
    *node = (struct repl_node_status){
        .id = server->id,
        .role = server->role == RAFT_VOTER     ? "voter"
                : server->role == RAFT_STANDBY ? "standby"
                                               : "spare",
        .leader = server->id == r->seen_leader,
        .connected = self || (out != NULL && link_is_open(&out->link)),
        .rtt_us = out != NULL ? out->rtt_us : 0,
    };
    strncpy(node->address, server->address, sizeof node->address - 1);
    if (self)
        memcpy(node->name, r->name, sizeof node->name);
    else if (out != NULL && out->name[0] != '\0')
        memcpy(node->name, out->name, sizeof node->name);
    else
        for (size_t i = 0; i < r->initial_count; i++)
            if (strcmp(r->initial[i].address, server->address) == 0)
                memcpy(node->name, r->initial[i].name, sizeof node->name);
}

static const char *state_text(const struct repl *r)
{
    if (!r->raft_open)
        return "waiting";
    switch (r->raft.state) {
    case RAFT_LEADER:
        return "leader";
    case RAFT_CANDIDATE:
        return "candidate";
    default:
        return "follower";
    }
}

static void fill_raft(struct repl *r, struct repl_status *s, uint64_t now_ms)
{
    s->bootstrapped = true;
    s->has_leader = r->seen_leader != 0;
    s->is_leader = r->leads;
    s->leader_id = r->seen_leader;
    s->term = raft_current_term(&r->raft);
    s->last_index = raft_last_index(&r->raft);
    s->commit_index = raft_commit_index(&r->raft);
    s->heard_ms = r->leads ? now_ms : r->guard.heard_ms;
    s->leader_commit_first = r->guard.leader_commit_first;
    s->leader_changes = r->leader_changes;
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n && s->node_count < PEERS_MAX; i++)
        fill_node(r, &s->nodes[s->node_count++], &c->servers[i]);
}

void status_refresh(struct repl *r, uint64_t now_ms)
{
    r->status_ms = now_ms;
    struct repl_status s = {.raft_id = r->identity.raft_id,
                            .state = state_text(r)};
    memcpy(s.cluster_id, r->identity.cluster_id, sizeof s.cluster_id);
    if (r->raft_open)
        fill_raft(r, &s, now_ms);
    s.pending = r->submitter.waiting.count + r->submitter.orders.count +
                r->submitter.proposal_count + forward_pending(r);
    s.failed = r->failed;
    s.entries = r->submitter.entries;
    s.entry_bytes = r->submitter.entry_bytes;
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
