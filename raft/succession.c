#include "raft/succession.h"

#include "base/clock.h"
#include "raft/repl.h"

#include <stdio.h>
#include <stdlib.h>

static void watch_drain(struct repl *r);

int succession_init(struct repl *r, const char *leader_zones, struct errmsg *e)
{
    struct succession *s = &r->succession;
    *s = (struct succession){.stall_ms = 500,
                             .zone_stable_ms = 30 * 1000,
                             .zone_pause_ms = 60 * 1000};
    if (leader_zones == NULL)
        return 0;
    if (strlen(leader_zones) > ZONES_LENGTH_MAX)
        return errmsg_set(e, ERR_INVALID, "leader zones: at most %d characters",
                          ZONES_LENGTH_MAX);
    memcpy(s->leader_zones, leader_zones, strlen(leader_zones));
    return 0;
}

/* --- who could lead ------------------------------------------------------- */

/* Is @zone one of the comma-separated @zones? */
static bool zone_is_in(const char *zone, const char *zones)
{
    size_t length = strlen(zone);
    for (const char *at = zones; length > 0 && at != NULL;) {
        const char *end = strchr(at, ',');
        size_t n = end == NULL ? strlen(at) : (size_t)(end - at);
        if (n == length && memcmp(at, zone, n) == 0)
            return true;
        at = end == NULL ? NULL : end + 1;
    }
    return false;
}

/* Why a member cannot take over, or NULL. */
static const char *unfit(struct repl *r, const struct raft_server *server)
{
    const struct out_link *out = forward_peer(r, server->id);
    raft_index match = 0;
    if (server->role != RAFT_VOTER)
        return "is no voter";
    if (server->id == r->identity.raft_id)
        return "leads already";
    if (out == NULL || !link_is_open(&out->link))
        return "cannot be reached";
    if (out->facts.draining)
        return "is draining";
    if (out->facts.disk_low)
        return "has little room on its disk";
    if (raft_match_index(&r->raft, server->id, &match) != 0 ||
        match + TRANSFER_LAG_MAX < raft_last_index(&r->raft))
        return "lacks too much of the log";
    return NULL;
}

/* The fit voter that has most of the log, those in the preferred zones first;
 * only those, if @inside. 0: nobody. */
static uint64_t best_successor(struct repl *r, bool inside)
{
    uint64_t best = 0;
    raft_index best_match = 0;
    bool best_inside = false;
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        if (unfit(r, &c->servers[i]) != NULL)
            continue;
        uint64_t id = c->servers[i].id;
        bool is_inside = zone_is_in(forward_peer(r, id)->facts.zone,
                                    r->succession.leader_zones);
        raft_index match = 0;
        (void)raft_match_index(&r->raft, id, &match);
        if ((inside && !is_inside) ||
            (best != 0 && best_inside && !is_inside) ||
            (best != 0 && best_inside == is_inside && match <= best_match))
            continue;
        best = id;
        best_match = match;
        best_inside = is_inside;
    }
    return best;
}

static const char *name_of(const struct repl *r, uint64_t id)
{
    const struct out_link *out = forward_peer(r, id);
    return out == NULL || out->name[0] == '\0' ? "another node" : out->name;
}

/* --- one hand-over -------------------------------------------------------- */

int succession_transfer(struct repl *r, uint64_t to, succession_fn *done,
                        void *arg, struct errmsg *e)
{
    struct succession *s = &r->succession;
    if (!r->leads || r->phase == PHASE_CLOSING)
        return errmsg_set(e, ERR_AGAIN, "this node does not lead");
    if (s->state != HANDOVER_NONE || s->requested)
        return errmsg_set(e, ERR_AGAIN,
                          "leadership is being handed over already");
    bool named = to != 0;
    if (!named) {
        to = best_successor(r, false);
        if (to == 0)
            return errmsg_set(e, ERR_DENIED,
                              "no other voter is connected, up to date, and "
                              "willing to lead");
    } else {
        const struct raft_server *server = repl_member(r, to);
        const char *why = server == NULL ? NULL : unfit(r, server);
        if (server == NULL)
            return errmsg_set(e, ERR_NOTFOUND, "no such member");
        if (why != NULL)
            return errmsg_set(
                e, ERR_DENIED, "%s %s",
                to == r->identity.raft_id ? r->name : name_of(r, to), why);
    }
    s->state = HANDOVER_SETTLING;
    s->named = named;
    s->to = to;
    s->began_ms = clock_mono_ms();
    s->done = done;
    s->arg = arg;
    loop_wake(r); /* begun in the next turn */
    return 0;
}

static void finish(struct repl *r, int status)
{
    struct succession *s = &r->succession;
    succession_fn *done = s->done;
    char message[NODE_NAME_LENGTH_MAX + 64];
    raft_id leader;
    const char *address;
    raft_leader(&r->raft, &leader, &address);
    bool elsewhere = leader != 0 && leader != r->identity.raft_id;
    snprintf(message, sizeof message,
             status == 0             ? "%s leads"
             : status == ERR_AGAIN   ? (elsewhere ? "%s was elected instead"
                                                  : "%s could not be asked")
             : status == ERR_TIMEOUT ? "%s did not take over in time"
             : status == ERR_CLOSED  ? "%s was asked, but this node stops"
                                     : "%s was asked; nobody leads yet",
             name_of(r, elsewhere && status != ERR_CLOSED ? leader : s->to));
    s->state = HANDOVER_NONE;
    s->done = NULL;
    if (raft_state(&r->raft) == RAFT_LEADER && status != ERR_CLOSED)
        events_warn(&r->events, "leader", "%s: this node goes on leading",
                    message);
    if (done != NULL)
        done(s->arg, status, message);
}

/* @asked: libraft has been told to ask the successor. */
static int outcome(struct repl *r, bool asked)
{
    struct succession *s = &r->succession;
    raft_id leader;
    const char *address;
    raft_leader(&r->raft, &leader, &address);
    if (raft_state(&r->raft) == RAFT_LEADER)
        return asked ? ERR_TIMEOUT : ERR_AGAIN;
    if (leader == 0)
        return asked ? ERR_UNKNOWN : ERR_AGAIN;
    return s->named && leader != s->to ? ERR_AGAIN : 0;
}

static void on_transferred(struct raft_transfer *request)
{
    struct repl *r = request->data;
    r->succession.requested = false;
    if (r->succession.state == HANDOVER_ASKED)
        finish(r, outcome(r, true));
}

static void ask(struct repl *r)
{
    struct succession *s = &r->succession;
    s->state = HANDOVER_ASKED;
    s->request.data = r;
    s->requested = true;
    int rv = raft_transfer(&r->raft, &s->request, s->to, on_transferred);
    if (rv == 0)
        return;
    s->requested = false;
    finish(r, outcome(r, false));
}

void succession_turn(struct repl *r)
{
    struct succession *s = &r->succession;
    watch_drain(r);
    if (s->state == HANDOVER_NONE)
        return;
    uint64_t passed = clock_mono_ms() - s->began_ms;
    if (s->state == HANDOVER_SETTLING) {
        if (!r->leads)
            finish(r, outcome(r, false));
        else if (r->submitter.proposal_count == 0 || passed >= SETTLE_MS_MAX)
            ask(r);
    } else if (passed >= TRANSFER_MS_MAX) {
        /* libraft keeps its request until it has given up too. */
        finish(r, outcome(r, true));
    }
}

void succession_close(struct repl *r)
{
    if (r->succession.state != HANDOVER_NONE)
        finish(r, ERR_CLOSED);
}

/* --- hand-overs of its own accord ----------------------------------------- */

static void try_hand_over(struct repl *r, uint64_t now_ms, const char *why)
{
    struct succession *s = &r->succession;
    struct errmsg e = {""};
    if (s->state != HANDOVER_NONE ||
        (s->tried_ms != 0 && now_ms - s->tried_ms < RETRY_MS))
        return;
    s->tried_ms = now_ms;
    int rv = succession_transfer(r, 0, NULL, NULL, &e);
    if (rv == 0)
        events_info(&r->events, "leader", "handing leadership over to %s: %s",
                    name_of(r, s->to), why);
    else if (events_may_tell(&r->events, "hand_over", now_ms))
        events_warn(&r->events, "leader",
                    "%s, but leadership cannot be handed over: %s", why,
                    e.text);
}

/* Leads outside the preferred zones while somebody inside could, and both have
 * been so for a while. */
static void zone_beat(struct repl *r, uint64_t now_ms)
{
    struct succession *s = &r->succession;
    uint64_t to = 0;
    if (s->leader_zones[0] != '\0' && !zone_is_in(r->zone, s->leader_zones))
        to = best_successor(r, true);
    if (to == 0) {
        s->zone_since_ms = 0;
        return;
    }
    if (s->zone_since_ms == 0)
        s->zone_since_ms = now_ms;
    if (now_ms - s->zone_since_ms < s->zone_stable_ms ||
        (s->zone_moved_ms != 0 && now_ms - s->zone_moved_ms < s->zone_pause_ms))
        return;
    s->zone_moved_ms = now_ms;
    try_hand_over(r, now_ms, "it is in a preferred zone");
}

/* What decides who may lead is told at once, not with the next ping. */
static void watch_disk(struct repl *r, uint64_t now_ms)
{
    struct succession *s = &r->succession;
    bool low = space_is_low(&r->space);
    if (low == (s->low_since_ms != 0))
        return;
    s->low_since_ms = low ? now_ms : 0;
    forward_tell_facts(r);
}

static bool is_low_for_long(const struct succession *s, uint64_t now_ms)
{
    return s->low_since_ms != 0 && now_ms - s->low_since_ms >= LOW_MS;
}

void succession_beat(struct repl *r, uint64_t now_ms)
{
    struct succession *s = &r->succession;
    watch_disk(r, now_ms);
    if (r->phase != PHASE_RUNNING || !r->leads || s->requested) {
        s->zone_since_ms = 0;
        return;
    }
    if (s->draining)
        try_hand_over(r, now_ms, "this node is draining");
    else if (r->guard.stuck_ms >= s->stall_ms)
        try_hand_over(r, now_ms, "this node's disk stands still");
    else if (is_low_for_long(s, now_ms) && best_successor(r, false) != 0)
        try_hand_over(r, now_ms, "this node's disk has little room");
    else if (r->ready)
        zone_beat(r, now_ms);
}

void repl_drain(struct repl *r, bool drain)
{
    atomic_store(&r->succession.drain_wanted, drain);
    loop_wake(r);
}

static void watch_drain(struct repl *r)
{
    struct succession *s = &r->succession;
    bool wanted = atomic_load(&s->drain_wanted);
    if (wanted == s->draining)
        return;
    s->draining = wanted;
    s->tried_ms = 0;
    r->status_ms = 0;
    forward_tell_facts(r);
    events_info(&r->events, "drain", "%s",
                wanted ? "draining: this node gives leadership away"
                       : "not draining any more");
}
