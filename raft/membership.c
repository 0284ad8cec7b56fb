#include "raft/membership.h"

#include "base/clock.h"
#include "raft/repl.h"

#include <stdio.h>

/* A name that shows up at another address may be somebody else's mistake. */
enum { MOVED_MS_MIN = 10 * 1000 };

static void look(struct repl *r, uint64_t now_ms);
static bool let_in(struct repl *r, struct knock *k, uint64_t now_ms);
static bool obey_wishes(struct repl *r);
static bool raise_spares(struct repl *r, uint64_t now_ms);
static bool raise_standby(struct repl *r, uint64_t now_ms);
static bool relieve_voter(struct repl *r, uint64_t now_ms);

void membership_init(struct repl *r)
{
    r->membership.away_ms = AWAY_MS_MAX;
    r->membership.caught_ms = CAUGHT_UP_MS_MIN;
}

void membership_knock(struct repl *r, const struct hello *hello)
{
    struct membership *m = &r->membership;
    struct knock *place = NULL;
    for (size_t i = 0; i < KNOCKS_MAX; i++) {
        struct knock *k = &m->knocks[i];
        if (k->raft_id == hello->raft_id) {
            place = k;
            break;
        }
        if (k->raft_id == 0 && place == NULL)
            place = k;
    }
    if (place == NULL)
        return; /* it knocks again */
    place->raft_id = hello->raft_id;
    place->level = hello->level;
    place->seen_ms = clock_mono_ms();
    memcpy(place->peer.name, hello->name, sizeof place->peer.name);
    memcpy(place->peer.address, hello->address, sizeof place->peer.address);
}

void membership_beat(struct repl *r, uint64_t now_ms)
{
    struct membership *m = &r->membership;
    if (!repl_may_propose(r)) {
        memset(m->knocks, 0, sizeof m->knocks);
        memset(m->watches, 0, sizeof m->watches);
        return;
    }
    if (now_ms - m->beat_ms < AUTOPILOT_EVERY_MS)
        return;
    m->beat_ms = now_ms;
    look(r, now_ms);
    if (m->changing || r->raft.configuration_uncommitted_index != 0)
        return;
    for (size_t i = 0; i < KNOCKS_MAX; i++)
        if (m->knocks[i].raft_id != 0 && let_in(r, &m->knocks[i], now_ms))
            return;
    if (!obey_wishes(r) && !raise_spares(r, now_ms) &&
        !raise_standby(r, now_ms))
        (void)relieve_voter(r, now_ms);
}

void membership_close(struct repl *r)
{
    struct membership *m = &r->membership;
    membership_fn *done = m->done;
    m->done = NULL;
    if (done != NULL)
        done(r, m->arg, ERR_UNKNOWN, "this node stops: look at the members");
}

/* --- health --------------------------------------------------------------- */

bool membership_is_healthy(const struct repl *r, uint64_t id, uint64_t now_ms)
{
    if (id == r->identity.raft_id)
        return true;
    const struct out_link *out = forward_peer(r, id);
    return out != NULL && link_is_open(&out->link) && out->facts_ms != 0 &&
           now_ms - out->facts_ms <= FACTS_AGE_MS_MAX && !out->facts.disk_low;
}

static struct member_watch *watch_of(struct repl *r, uint64_t id)
{
    struct member_watch *free_place = NULL;
    for (size_t i = 0; i < PEERS_MAX; i++) {
        struct member_watch *w = &r->membership.watches[i];
        if (w->id == id)
            return w;
        if (free_place == NULL && repl_member(r, w->id) == NULL)
            free_place = w;
    }
    if (free_place != NULL)
        *free_place = (struct member_watch){.id = id};
    return free_place;
}

/* How far a member is behind our log, in what it stored and in what it
 * applied. */
static uint64_t lag_of(struct repl *r, uint64_t id)
{
    raft_index match = 0;
    const struct out_link *out = forward_peer(r, id);
    if (out == NULL || raft_match_index(&r->raft, id, &match) != 0)
        return UINT64_MAX;
    uint64_t last = raft_last_index(&r->raft), at = match;
    if (out->facts.applied_index < at)
        at = out->facts.applied_index;
    return last > at ? last - at : 0;
}

static void look(struct repl *r, uint64_t now_ms)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t id = c->servers[i].id;
        struct member_watch *w = watch_of(r, id);
        if (w == NULL)
            continue;
        bool there = membership_is_healthy(r, id, now_ms);
        if (there)
            w->away_since_ms = 0;
        else if (w->away_since_ms == 0)
            w->away_since_ms = now_ms;
        if (!there || lag_of(r, id) > CAUGHT_UP_LAG_MAX)
            w->caught_since_ms = 0;
        else if (w->caught_since_ms == 0)
            w->caught_since_ms = now_ms;
    }
    for (size_t i = 0; i < KNOCKS_MAX; i++)
        if (now_ms - r->membership.knocks[i].seen_ms > KNOCK_AGE_MS_MAX)
            r->membership.knocks[i].raft_id = 0;
}

/* Would the voters after the change have a quorum that answers? */
static bool quorum_stays(struct repl *r, enum member_change change, uint64_t id,
                         int role, uint64_t now_ms)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned voters = 0, healthy = 0;
    for (unsigned i = 0; i < c->n; i++) {
        int then = c->servers[i].role;
        if (c->servers[i].id == id)
            then = change == MEMBER_REMOVE ? RAFT_SPARE : role;
        if (then != RAFT_VOTER)
            continue;
        voters++;
        if (membership_is_healthy(r, c->servers[i].id, now_ms))
            healthy++;
    }
    return healthy > voters / 2;
}

/* --- one change ----------------------------------------------------------- */

static void on_changed(struct raft_change *request, int status)
{
    struct repl *r = request->data;
    struct membership *m = &r->membership;
    if (!m->changing)
        return; /* left over from a call that failed */
    m->changing = false;
    membership_fn *done = m->done;
    m->done = NULL;
    if (status == 0)
        events_info(&r->events, "membership", "%s", m->doing);
    if (done == NULL)
        return;
    if (status == 0)
        done(r, m->arg, 0, m->doing);
    else if (status == RAFT_NOCONNECTION)
        done(r, m->arg, ERR_AGAIN, "it could not catch up in time");
    else
        done(r, m->arg, ERR_UNKNOWN,
             "the leader lost its lead meanwhile: look at the members");
}

static int change_failed(struct repl *r, int rv, struct errmsg *e)
{
    switch (rv) {
    case RAFT_BADROLE:
        return errmsg_set(e, ERR_DENIED, "it has this role already");
    case RAFT_NOTLEADER:
        return errmsg_set(e, ERR_AGAIN, "this node leads no more");
    case RAFT_CANTCHANGE:
        return errmsg_set(e, ERR_AGAIN, "another change is under way");
    default:
        return errmsg_set(e, ERR_AGAIN, "%s (%s)", raft_strerror(rv),
                          raft_errmsg(&r->raft));
    }
}

static int request_change(struct repl *r, enum member_change change,
                          uint64_t id, int role, const char *address)
{
    struct membership *m = &r->membership;
    m->request.data = r;
    switch (change) {
    case MEMBER_ADD:
        return raft_add(&r->raft, &m->request, id, address, on_changed);
    case MEMBER_REMOVE:
        return raft_remove(&r->raft, &m->request, id, on_changed);
    case MEMBER_ASSIGN:
        break;
    }
    return raft_assign(&r->raft, &m->request, id, role, on_changed);
}

static const char *role_name(int role)
{
    return role == RAFT_VOTER     ? "a voter"
           : role == RAFT_STANDBY ? "a standby"
                                  : "a spare";
}

int membership_check(struct repl *r, enum member_change change, uint64_t id,
                     int role, struct errmsg *e)
{
    if (!repl_may_propose(r))
        return errmsg_set(e, ERR_AGAIN, "this node does not lead");
    if (r->membership.changing)
        return errmsg_set(e, ERR_AGAIN, "another change is under way");
    if (repl_member(r, id) == NULL)
        return errmsg_set(e, ERR_DENIED, "it is no member");
    if (id == r->identity.raft_id && role != RAFT_VOTER)
        return errmsg_set(e, ERR_DENIED,
                          "it leads: transfer leadership to another first");
    if (!quorum_stays(r, change, id, role, clock_mono_ms()))
        return errmsg_set(e, ERR_DENIED,
                          "fewer healthy voters than a quorum would be left: "
                          "bring the others back first");
    return 0;
}

int membership_change(struct repl *r, enum member_change change, uint64_t id,
                      int role, membership_fn *done, void *arg,
                      struct errmsg *e)
{
    struct membership *m = &r->membership;
    int rv = membership_check(r, change, id, role, e);
    if (rv != 0)
        return rv;
    const struct raft_server *server = repl_member(r, id);
    struct repl_peer peer;
    repl_peer_of(r, server, &peer);
    const char *name = peer.name[0] != '\0' ? peer.name : peer.address;
    if (change == MEMBER_REMOVE)
        snprintf(m->doing, sizeof m->doing, "%.64s is removed", name);
    else
        snprintf(m->doing, sizeof m->doing, "%.64s is %s now", name,
                 role_name(role));
    rv = request_change(r, change, id, role, NULL);
    if (rv != 0)
        return change_failed(r, rv, e);
    m->changing = true;
    m->done = done;
    m->arg = arg;
    return 0;
}

/* One that nobody waits for; what cannot be done now is tried again. True: it
 * is under way. */
static bool autopilot(struct repl *r, enum member_change change, uint64_t id,
                      int role)
{
    struct errmsg e;
    return membership_change(r, change, id, role, NULL, NULL, &e) == 0;
}

/* --- rules ---------------------------------------------------------------- */

static bool add_member(struct repl *r, const struct knock *k, uint64_t now_ms)
{
    struct membership *m = &r->membership;
    if (r->raft.configuration.n >= PEERS_MAX) {
        if (events_may_tell(&r->events, "too many members", now_ms))
            events_warn(&r->events, "membership",
                        "%s (%s) asks to be let in, but there are %d members: "
                        "remove one first",
                        k->peer.name, k->peer.address, PEERS_MAX);
        return false;
    }
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
    member_address_join(k->peer.name, k->peer.address, address);
    snprintf(m->doing, sizeof m->doing, "%.64s is let in as a spare",
             k->peer.name);
    if (request_change(r, MEMBER_ADD, k->raft_id, RAFT_SPARE, address) != 0)
        return false;
    m->changing = true;
    m->done = NULL;
    return true;
}

/* The member whose name or address @k has under another id, or that has its id
 * under another name or address: who knocks has an empty directory, so whoever
 * it was before is gone. NULL: nobody. */
static const struct raft_server *
predecessor(const struct repl *r, const struct knock *k, bool *same_address)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        struct repl_peer peer;
        repl_peer_of(r, &c->servers[i], &peer);
        *same_address = strcmp(peer.address, k->peer.address) == 0;
        bool same_name = strcmp(peer.name, k->peer.name) == 0;
        bool same_id = c->servers[i].id == k->raft_id;
        if (same_id ? !*same_address || !same_name : *same_address || same_name)
            return &c->servers[i];
    }
    return NULL;
}

/* Rules 1 and 2: replace, or add. */
static bool let_in(struct repl *r, struct knock *k, uint64_t now_ms)
{
    bool same_address;
    const struct raft_server *old = predecessor(r, k, &same_address);
    if (old == NULL && repl_member(r, k->raft_id) != NULL) {
        /* It has what it asked for; if it is removed, that was meant. */
        k->raft_id = 0;
        return false;
    }
    if (old == NULL)
        return add_member(r, k, now_ms);
    const struct out_link *out = forward_peer(r, old->id);
    const struct member_watch *w = watch_of(r, old->id);
    if (old->id == r->identity.raft_id ||
        (out != NULL && link_is_open(&out->link))) {
        if (events_may_tell(&r->events, k->peer.name, now_ms))
            events_warn(&r->events, "membership",
                        "%s (%s) asks to be let in, but %s is a living member: "
                        "give it a name and an address of its own",
                        k->peer.name, k->peer.address, old->address);
        return false;
    }
    if (!same_address && old->id != k->raft_id &&
        (w == NULL || w->away_since_ms == 0 ||
         now_ms - w->away_since_ms < MOVED_MS_MIN))
        return false;
    uint64_t id = old->id;
    struct errmsg e;
    if (membership_change(r, MEMBER_REMOVE, id, RAFT_SPARE, NULL, NULL, &e) ==
        0) {
        events_warn(&r->events, "membership",
                    "%s (%s) is there with an empty directory: its old self "
                    "%016llx is removed, it joins as %016llx",
                    k->peer.name, k->peer.address, (unsigned long long)id,
                    (unsigned long long)k->raft_id);
        return true;
    }
    if (events_may_tell(&r->events, k->peer.name, now_ms))
        events_warn(&r->events, "membership",
                    "%s (%s) is there with an empty directory and cannot "
                    "replace its old self now: %s",
                    k->peer.name, k->peer.address, e.text);
    return false;
}

static enum member_wish wish_of(const struct repl *r,
                                const struct raft_server *server)
{
    struct repl_peer peer;
    repl_peer_of(r, server, &peer);
    return store_wish(r->store, peer.name);
}

/* A demotion whose leader was lost between the wish and the change. */
static bool obey_wishes(struct repl *r)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].role == RAFT_VOTER &&
            c->servers[i].id != r->identity.raft_id && !r->changes.busy &&
            wish_of(r, &c->servers[i]) == WISH_STANDBY &&
            autopilot(r, MEMBER_ASSIGN, c->servers[i].id, RAFT_STANDBY))
            return true;
    return false;
}

/* Rule 3: it has a store and runs raft (or it would take no link), so it can
 * go on with the log. */
static bool raise_spares(struct repl *r, uint64_t now_ms)
{
    const struct raft_configuration *c = &r->raft.configuration;
    for (unsigned i = 0; i < c->n; i++) {
        if (c->servers[i].role == RAFT_SPARE &&
            membership_is_healthy(r, c->servers[i].id, now_ms) &&
            autopilot(r, MEMBER_ASSIGN, c->servers[i].id, RAFT_STANDBY))
            return true;
    }
    return false;
}

static bool is_caught_up(struct repl *r, uint64_t id, uint64_t now_ms)
{
    const struct member_watch *w = watch_of(r, id);
    return w != NULL && w->caught_since_ms != 0 &&
           now_ms - w->caught_since_ms >= r->membership.caught_ms;
}

/* May the autopilot make it a voter? */
static bool is_eligible(struct repl *r, const struct raft_server *server,
                        uint64_t now_ms)
{
    return server->role == RAFT_STANDBY &&
           is_caught_up(r, server->id, now_ms) &&
           membership_is_healthy(r, server->id, now_ms) &&
           wish_of(r, server) == WISH_AUTO;
}

static unsigned voters_in_zone(struct repl *r, const char *zone)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned count = 0;
    for (unsigned i = 0; i < c->n; i++) {
        const struct out_link *out = forward_peer(r, c->servers[i].id);
        const char *its = c->servers[i].id == r->identity.raft_id ? r->zone
                          : out != NULL ? out->facts.zone
                                        : "";
        if (c->servers[i].role == RAFT_VOTER && strcmp(its, zone) == 0)
            count++;
    }
    return count;
}

/* Rule 4: an odd number of voters, as many as there are nodes for it, spread
 * over the zones. */
static bool raise_standby(struct repl *r, uint64_t now_ms)
{
    const struct raft_configuration *c = &r->raft.configuration;
    unsigned voters = 0, eligible = 0, fewest = UINT32_MAX;
    uint64_t best = 0;
    for (unsigned i = 0; i < c->n; i++) {
        voters += c->servers[i].role == RAFT_VOTER;
        if (!is_eligible(r, &c->servers[i], now_ms))
            continue;
        eligible++;
        const struct out_link *out = forward_peer(r, c->servers[i].id);
        unsigned in_zone = voters_in_zone(r, out->facts.zone);
        if (in_zone < fewest) {
            fewest = in_zone;
            best = c->servers[i].id;
        }
    }
    unsigned wanted = voters + eligible;
    if (wanted > AUTOPILOT_VOTERS_MAX)
        wanted = AUTOPILOT_VOTERS_MAX;
    wanted -= wanted % 2 == 0; /* an even number tolerates no more failures */
    return best != 0 && voters < wanted &&
           autopilot(r, MEMBER_ASSIGN, best, RAFT_VOTER);
}

/* Rule 5: a voter that is away for long makes place for a standby, and becomes
 * one again when it is back. */
static bool relieve_voter(struct repl *r, uint64_t now_ms)
{
    const struct raft_configuration *c = &r->raft.configuration;
    bool standby = false;
    for (unsigned i = 0; i < c->n; i++)
        standby = standby || is_eligible(r, &c->servers[i], now_ms);
    for (unsigned i = 0; standby && i < c->n; i++) {
        const struct member_watch *w = watch_of(r, c->servers[i].id);
        if (c->servers[i].role == RAFT_VOTER && w != NULL &&
            w->away_since_ms != 0 &&
            now_ms - w->away_since_ms >= r->membership.away_ms &&
            autopilot(r, MEMBER_ASSIGN, c->servers[i].id, RAFT_SPARE))
            return true;
    }
    return false;
}
