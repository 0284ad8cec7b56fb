#include "raft/leader_gone.h"

#include "base/assert.h"
#include "base/clock.h"
#include "raft/election.h"
#include "raft/repl.h"

#include <stdlib.h>

_Static_assert((int)GONE_BELIEFS_MAX == (int)PEERS_MAX, "one belief a peer");

/* One connection attempt to where the leader listened. */
struct gone_probe {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct repl *repl; /* NULL: being closed */
    struct gone_probe *next;
};

static void probe_round(struct repl *r, uint64_t now_ms);

/* --- whom it is about ----------------------------------------------------- */

static void on_lookup(struct lookup *lookup, void *arg)
{
    struct repl *r = arg;
    struct leader_gone *g = &r->gone;
    g->lookup = NULL;
    memcpy(g->addresses, lookup->addresses, sizeof g->addresses);
    g->address_count = lookup->count;
}

/* While it lives: the process that leads stays where it is, and a name server
 * must not be on the way of an election. */
static void look_up(struct repl *r, const char *address)
{
    struct leader_gone *g = &r->gone;
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        return; /* then the timer elects */
    if (lookup_parse(address, lookup) != 0 || lookup->count > 0) {
        on_lookup(lookup, r);
        free(lookup);
        return;
    }
    lookup->done = on_lookup;
    lookup->arg = r;
    g->lookup = lookup;
    resolver_ask(r->resolver, lookup);
}

static void probe_end(struct gone_probe *p);

static void forget(struct repl *r)
{
    struct leader_gone *g = &r->gone;
    while (g->probes != NULL)
        probe_end(g->probes);
    resolver_cancel(r->resolver, g->lookup);
    g->lookup = NULL;
    g->address_count = 0;
    g->broken = false;
    g->majority_ms = 0;
}

static void watch_leader(struct repl *r)
{
    struct leader_gone *g = &r->gone;
    raft_id id;
    const char *address;
    raft_leader(&r->raft, &id, &address);
    if (id == r->identity.raft_id)
        id = 0;
    uint64_t term = id == 0 ? 0 : r->guard.heard_term;
    if (id == g->leader && term == g->term)
        return;
    forget(r);
    g->leader = id;
    g->term = term;
    if (id != 0)
        look_up(r, member_address_dial(address));
}

/* --- is it gone? ---------------------------------------------------------- */

static void on_probe_closed(uv_handle_t *handle)
{
    free(handle);
}

static void probe_end(struct gone_probe *p)
{
    struct gone_probe **at = &p->repl->gone.probes;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->repl = NULL;
    uv_close((uv_handle_t *)&p->tcp, on_probe_closed);
}

static void round_answered(struct repl *r, int status)
{
    struct leader_gone *g = &r->gone;
    /* An address that this machine has no way to says nothing of the leader
     * (a name with an IPv6 address where there is no IPv6). */
    if (status == UV_ECONNREFUSED)
        g->refused++;
    else if (status != UV_ENETUNREACH && status != UV_EADDRNOTAVAIL &&
             status != UV_EAFNOSUPPORT)
        g->other++;
    if (g->probes == NULL && g->refused > 0 && g->other == 0)
        leader_gone_believe(r);
}

static void on_probe(uv_connect_t *connect, int status)
{
    struct gone_probe *p = CONTAINER_OF(connect, struct gone_probe, connect);
    struct repl *r = p->repl;
    if (r == NULL)
        return;
    probe_end(p);
    round_answered(r, status);
}

static int probe_start(struct repl *r, const struct sockaddr_storage *to)
{
    struct gone_probe *p = calloc(1, sizeof *p);
    if (p == NULL)
        return UV_ENOMEM;
    int rv = uv_tcp_init(&r->loop, &p->tcp);
    if (rv != 0) {
        free(p);
        return rv;
    }
    p->repl = r;
    p->next = r->gone.probes;
    r->gone.probes = p;
    rv = uv_tcp_connect(&p->connect, &p->tcp, (const struct sockaddr *)to,
                        on_probe);
    if (rv != 0)
        probe_end(p);
    return rv;
}

static void probe_round(struct repl *r, uint64_t now_ms)
{
    struct leader_gone *g = &r->gone;
    g->probed_ms = now_ms;
    g->refused = g->other = 0;
    for (size_t i = 0; i < g->address_count; i++) {
        int rv = probe_start(r, &g->addresses[i]);
        if (rv != 0)
            round_answered(r, rv);
    }
}

void leader_gone_link_broke(struct repl *r, uint64_t peer_id)
{
    struct leader_gone *g = &r->gone;
    if (peer_id == 0 || peer_id != g->leader || r->phase != PHASE_RUNNING)
        return;
    g->broken = true;
    g->broken_ms = clock_mono_ms();
    if (g->probes == NULL)
        probe_round(r, g->broken_ms);
}

/* --- who believes so ------------------------------------------------------ */

static uint64_t last_log_term(const struct raft *raft)
{
    const struct raft_trail *t = &raft->trail;
    unsigned count =
        t->front <= t->back ? t->back - t->front : t->size - t->front + t->back;
    return count == 0 ? t->snapshot.term
                      : t->records[(t->front + count - 1) % t->size].term;
}

static bool is_voter(const struct repl *r, uint64_t id)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == id)
            return c->servers[i].role == RAFT_VOTER;
    return false;
}

static unsigned voter_count(const struct repl *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned count = 0;
    for (unsigned i = 0; i < c->n; i++)
        count += c->servers[i].role == RAFT_VOTER;
    return count;
}

static void keep_belief(struct leader_gone *g, const struct gone_belief *b)
{
    struct gone_belief *oldest = &g->beliefs[0];
    for (size_t i = 0; i < GONE_BELIEFS_MAX; i++) {
        struct gone_belief *at = &g->beliefs[i];
        if (at->id == b->id) {
            *at = *b;
            return;
        }
        if (at->heard_ms < oldest->heard_ms)
            oldest = at;
    }
    *oldest = *b;
}

static bool is_better(const struct gone_belief *a, const struct gone_belief *b)
{
    if (a->last_term != b->last_term)
        return a->last_term > b->last_term;
    if (a->last_index != b->last_index)
        return a->last_index > b->last_index;
    return a->id < b->id;
}

static bool counts(const struct repl *r, const struct gone_belief *b,
                   uint64_t now_ms)
{
    return b->id != 0 && b->leader == r->gone.leader &&
           b->term == r->gone.term && now_ms - b->heard_ms <= GONE_BELIEF_MS &&
           is_voter(r, b->id);
}

/* How many voters believe it; @rank: how many of them should lead rather than
 * this node, UINT_MAX if this node does not believe it. */
static unsigned count_believers(const struct repl *r, uint64_t now_ms,
                                unsigned *rank)
{
    const struct leader_gone *g = &r->gone;
    const struct gone_belief *mine = NULL;
    unsigned count = 0;
    for (size_t i = 0; i < GONE_BELIEFS_MAX; i++)
        if (counts(r, &g->beliefs[i], now_ms) &&
            g->beliefs[i].id == r->identity.raft_id)
            mine = &g->beliefs[i];
    *rank = mine == NULL ? UINT_MAX : 0;
    for (size_t i = 0; i < GONE_BELIEFS_MAX; i++) {
        if (!counts(r, &g->beliefs[i], now_ms))
            continue;
        count++;
        if (mine != NULL && is_better(&g->beliefs[i], mine))
            ++*rank;
    }
    return count;
}

static void elect_if_due(struct repl *r)
{
    struct leader_gone *g = &r->gone;
    /* Votes are asked for what is on disk: with entries on their way there,
     * the others' logs would look longer. */
    if (g->leader == 0 || raft_state(&r->raft) != RAFT_FOLLOWER ||
        r->raft.last_stored < raft_last_index(&r->raft) || r->guard.puts > 0 ||
        r->phase != PHASE_RUNNING)
        return;
    uint64_t now = clock_mono_ms();
    unsigned rank;
    unsigned believers = count_believers(r, now, &rank);
    if (believers <= voter_count(r) / 2 || rank == UINT_MAX) {
        g->majority_ms = 0;
        return;
    }
    if (g->majority_ms == 0)
        g->majority_ms = now;
    /* A node that gives leadership away leaves the first go to the others. */
    if (r->succession.draining)
        rank += believers;
    if (now - g->majority_ms < (uint64_t)rank * GONE_STAGGER_MS)
        return;
    events_info(&r->events, "leader",
                "the leader is gone or silent, as %u of %u voters see it: "
                "electing without waiting for the timer",
                believers, voter_count(r));
    election_start_now(&r->guard, g->leader, last_log_term(&r->raft));
    forget(r);
    memset(g->beliefs, 0, sizeof g->beliefs);
}

void leader_gone_heard(struct repl *r, uint64_t voter_id,
                       const struct frame *frame)
{
    struct gone_belief belief = {.id = voter_id,
                                 .leader = frame->gone.leader,
                                 .term = frame->gone.term,
                                 .last_term = frame->gone.last_term,
                                 .last_index = frame->gone.last_index,
                                 .heard_ms = clock_mono_ms()};
    keep_belief(&r->gone, &belief);
}

void leader_gone_believe(struct repl *r)
{
    struct leader_gone *g = &r->gone;
    if (g->leader == 0)
        return;
    g->broken = false; /* seen enough */
    struct frame frame = {.type = FRAME_GONE,
                          .gone = {.leader = g->leader,
                                   .term = g->term,
                                   .last_term = last_log_term(&r->raft),
                                   .last_index = raft_last_index(&r->raft)}};
    leader_gone_heard(r, r->identity.raft_id, &frame);
    forward_broadcast(r, &frame);
}

/* --- time ----------------------------------------------------------------- */

void leader_gone_turn(struct repl *r)
{
    watch_leader(r);
    elect_if_due(r);
}

/* libraft's own timers fire at random between one and two election timeouts,
 * and may then split the votes: told at the first possible moment, a majority
 * agrees on one candidate before the first of them does. */
static void watch_silence(struct repl *r)
{
    struct leader_gone *g = &r->gone;
    if (g->leader == 0 || g->silent_since_ms != r->guard.heard_ms) {
        g->silent_since_ms = r->guard.heard_ms;
        g->silent_beats = 0;
    } else if (++g->silent_beats * BEAT_MS >= r->election_timeout_ms) {
        leader_gone_believe(r);
        g->silent_beats /= 2; /* and says so again, should it last */
    }
}

void leader_gone_beat(struct repl *r, uint64_t now_ms)
{
    struct leader_gone *g = &r->gone;
    watch_silence(r);
    if (!g->broken)
        return;
    const struct out_link *out = forward_peer(r, g->leader);
    if ((out != NULL && link_is_open(&out->link)) ||
        clock_elapsed(g->broken_ms, now_ms) > GONE_PROBE_MS_MAX) {
        g->broken = false;
        return;
    }
    if (g->probes == NULL) {
        /* Somebody answered: a process that is being killed may close its
         * connections before its listener. */
        probe_round(r, now_ms);
    } else if (clock_elapsed(g->probed_ms, now_ms) >= GONE_PROBE_TIMEOUT_MS) {
        g->other++; /* silence is no refusal */
        while (g->probes != NULL)
            probe_end(g->probes);
    }
}

void leader_gone_close(struct repl *r)
{
    forget(r);
    r->gone.leader = 0;
}
