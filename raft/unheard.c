#include "raft/unheard.h"

#include "raft/repl.h"

/* What the links say. */
struct links {
    const struct out_link *open;    /* one to a member; NULL: none is open */
    const struct out_link *dials;   /* its facts come: it has a link to us */
    const struct out_link *follows; /* and it hears a leader, or is it */
};

static struct links look(const struct repl *r, uint64_t now_ms)
{
    struct links l = {0};
    for (size_t i = 0; i < PEERS_MAX && r->forward.outs[i] != NULL; i++) {
        const struct out_link *out = r->forward.outs[i];
        if (link_is_open(&out->link))
            l.open = out;
        if (out->facts_ms == 0 || now_ms - out->facts_ms > UNHEARD_FACTS_MS)
            continue;
        l.dials = out;
        if (out->facts.heard_ms_ago <= UNHEARD_FACTS_MS)
            l.follows = out;
    }
    return l;
}

static const char *name_of(const struct out_link *out)
{
    return out->name[0] != '\0' ? out->name : out->address;
}

static void tell(struct repl *r, const struct links *l, const char *address,
                 unsigned long long s)
{
    if (l->dials == NULL)
        events_warn(&r->events, "unheard",
                    "this node reaches %s, but no member has reached it at %s "
                    "for %llu s, so the leader cannot send it the log: does "
                    "that name lead here from the other members, and is the "
                    "port open in every firewall? Their logs say "
                    "peer_unreachable or peer_refused and why",
                    name_of(l->open), address, s);
    else
        events_warn(&r->events, "unheard",
                    "%s has a leader, but that has not reached this node at "
                    "%s for %llu s: does that name lead here from the leader, "
                    "and is the port open in every firewall? Its log says "
                    "peer_unreachable or peer_refused and why",
                    name_of(l->follows), address, s);
}

/* Where all is well but nobody leads there is nothing to mend here; and a spare
 * hears nothing of a leader that reaches it. */
static bool is_unheard(const struct repl *r, const struct links *l,
                       const struct raft_server *self, uint64_t now_ms)
{
    bool spare = self == NULL || self->role == RAFT_SPARE;
    bool heard = now_ms - r->guard.heard_ms <= UNHEARD_FACTS_MS;
    bool closed = l->open != NULL && l->dials == NULL;
    return !heard && (closed || (l->follows != NULL && !spare));
}

void unheard_beat(struct repl *r, uint64_t now_ms)
{
    struct unheard *u = &r->unheard;
    const struct raft_server *self = repl_member(r, r->identity.raft_id);
    struct links l = look(r, now_ms);
    if (r->phase != PHASE_RUNNING || r->leads ||
        !is_unheard(r, &l, self, now_ms))
        u->since_ms = now_ms;
    if (now_ms - u->since_ms < UNHEARD_MS_MIN || repl_is_removed(r, now_ms) ||
        !events_may_tell(&r->events, "unheard", now_ms))
        return;
    const char *address =
        self != NULL ? member_address_dial(self->address) : r->address;
    tell(r, &l, address, (unsigned long long)(now_ms - u->since_ms) / 1000);
}
