#include "raft/joining.h"

#include "raft/fetch.h"
#include "raft/repl.h"

#include <stdio.h>

static bool find_cluster(struct repl *r, uint64_t now_ms,
                         const struct candidate **first,
                         const struct candidate **other);
static void tell_split(struct repl *r, const struct candidate *a,
                       const struct candidate *b, uint64_t now_ms);
static void follow_leader(struct repl *r, const struct candidate *from);
static void enter(struct repl *r, uint64_t now_ms);

static bool is_in_cluster(const struct candidate *c, uint64_t now_ms)
{
    return candidate_counts(c, now_ms) && !c->empty;
}

bool joining_beat(struct repl *r, uint64_t now_ms)
{
    struct bootstrap *b = &r->bootstrap;
    struct joining *j = &b->joining;
    const struct candidate *first = NULL, *other = NULL;
    if (!find_cluster(r, now_ms, &first, &other))
        return false;
    if (other != NULL) {
        tell_split(r, first, other, now_ms);
        return true;
    }
    if (memcmp(j->cluster_id, first->cluster_id, CLUSTER_ID_SIZE) != 0) {
        memcpy(j->cluster_id, first->cluster_id, CLUSTER_ID_SIZE);
        j->seen_ms = now_ms;
        j->knocking = false;
    }
    bool admitted = false, unknown = false;
    for (size_t i = 0; i < b->count; i++) {
        const struct candidate *c = &b->candidates[i];
        if (!is_in_cluster(c, now_ms))
            continue;
        admitted = admitted || (c->leads && c->member);
        unknown = unknown || !c->member;
        if (c->leader[0] != '\0')
            follow_leader(r, c);
    }
    if (admitted &&
        (j->knocking || now_ms - j->seen_ms >= FOUNDER_PATIENCE_MS)) {
        enter(r, now_ms);
    } else if (unknown && !j->knocking) {
        j->knocking = true;
        events_info(&r->events, "joining",
                    "%s is in a cluster without this node: asking to be let in",
                    first->peer.name);
    } else if (j->knocking && now_ms - j->seen_ms >= WAITING_SOON_MS &&
               events_may_tell(&r->events, "joining", now_ms)) {
        events_info(&r->events, "joining",
                    "still asking to be let in: the cluster needs a leader and "
                    "room (at most %d members), and no living member may have "
                    "this name or address",
                    PEERS_MAX);
    }
    return true;
}

/* One that is in a cluster, and one that is in another. */
static bool find_cluster(struct repl *r, uint64_t now_ms,
                         const struct candidate **first,
                         const struct candidate **other)
{
    const struct bootstrap *b = &r->bootstrap;
    for (size_t i = 0; i < b->count; i++) {
        const struct candidate *c = &b->candidates[i];
        if (!is_in_cluster(c, now_ms))
            continue;
        if (*first == NULL)
            *first = c;
        else if (memcmp((*first)->cluster_id, c->cluster_id, CLUSTER_ID_SIZE) !=
                 0)
            *other = c;
    }
    return *first != NULL;
}

static void tell_split(struct repl *r, const struct candidate *a,
                       const struct candidate *b, uint64_t now_ms)
{
    r->bootstrap.joining.knocking = false;
    if (events_may_tell(&r->events, "two clusters", now_ms))
        events_warn(&r->events, "waiting",
                    "%s (%s) and %s (%s) are in different clusters: waiting. "
                    "Name only members of the one to join as initial peers",
                    a->peer.name, a->peer.address, b->peer.name,
                    b->peer.address);
}

/* The leader may be nobody of our list: it gets the place behind it. */
static void follow_leader(struct repl *r, const struct candidate *from)
{
    struct bootstrap *b = &r->bootstrap;
    struct repl_peer peer;
    if (member_address_split(from->leader, &peer) != 0 ||
        peer.name[0] == '\0' || strcmp(peer.name, r->name) == 0)
        return;
    struct candidate *extra = NULL;
    for (size_t i = 0; i < b->count; i++) {
        struct candidate *c = &b->candidates[i];
        if (strcmp(c->peer.address, peer.address) == 0)
            return;
        if (!c->founder)
            extra = c;
    }
    if (extra == NULL)
        extra = &b->candidates[b->count++];
    else if (extra == from)
        return; /* it leads no more: the others know who does */
    dial_cancel(extra->dial);
    *extra =
        (struct candidate){.repl = r, .peer = peer, .why = "was not asked yet"};
}

/* In the configuration: now the store. */
static void enter(struct repl *r, uint64_t now_ms)
{
    struct bootstrap *b = &r->bootstrap;
    char texts[PEERS_MAX + 1][MEMBER_ADDRESS_LENGTH_MAX + 1];
    const char *members[PEERS_MAX + 1];
    size_t count = 0;
    /* Those that do not lead first: they have time. */
    for (int leads = 0; leads <= 1; leads++)
        for (size_t i = 0; i < b->count; i++) {
            const struct candidate *c = &b->candidates[i];
            if (!is_in_cluster(c, now_ms) || c->leads != (leads == 1))
                continue;
            member_address_join(c->peer.name, c->peer.address, texts[count]);
            members[count] = texts[count];
            count++;
        }
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    memcpy(cluster_id, b->joining.cluster_id, CLUSTER_ID_SIZE);
    bootstrap_stop(r);
    events_info(&r->events, "joining",
                "the leader let this node in: fetching the store");
    struct errmsg e = {""};
    if (fetch_begin(r, cluster_id, members, count, &e) != 0)
        events_fatal(&r->events, EXIT_RESTART, "joining", "%s", e.text);
}
