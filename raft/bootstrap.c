#include "raft/bootstrap.h"

#include "base/clock.h"
#include "raft/repl.h"

#include <xxhash.h>

#include <stdio.h>
#include <stdlib.h>

static int by_name(const void *a, const void *b)
{
    const struct founder *x = a, *y = b;
    return strcmp(x->name, y->name);
}

void bootstrap_cluster_id(struct founder *founders, size_t count,
                          uint8_t out[CLUSTER_ID_SIZE])
{
    qsort(founders, count, sizeof *founders, by_name);
    uint8_t text[PEERS_MAX *
                 (NODE_NAME_LENGTH_MAX + 1 + PEER_ADDRESS_LENGTH_MAX + 1 + 8)];
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t name = strlen(founders[i].name) + 1;
        size_t address = strlen(founders[i].address) + 1;
        memcpy(text + size, founders[i].name, name);
        memcpy(text + size + name, founders[i].address, address);
        le64_put(text + size + name + address, founders[i].raft_id);
        size += name + address + 8;
    }
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(text, size));
    memcpy(out, canonical.digest, CLUSTER_ID_SIZE);
}

int bootstrap_found(struct repl *r, struct founder *founders, size_t count,
                    struct errmsg *e)
{
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    bootstrap_cluster_id(founders, count, cluster_id);
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    int rv = 0;
    for (size_t i = 0; i < count && rv == 0; i++) {
        char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
        member_address_join(founders[i].name, founders[i].address, address);
        rv = raft_configuration_add(&configuration, founders[i].raft_id,
                                    address, RAFT_VOTER);
    }
    if (rv != 0)
        rv = errmsg_set(e, ERR_INVALID, "initial peers: %s", raft_strerror(rv));
    else
        rv = repl_raft_open(r, &configuration, cluster_id, e);
    raft_configuration_close(&configuration);
    return rv;
}

void bootstrap_start(struct repl *r)
{
    struct bootstrap *b = &r->bootstrap;
    b->running = true;
    b->started_ms = clock_mono_ms();
    for (size_t i = 0; i < r->initial_count; i++)
        if (strcmp(r->initial[i].name, r->name) != 0)
            b->candidates[b->count++] =
                (struct candidate){.repl = r,
                                   .peer = r->initial[i],
                                   .founder = true,
                                   .why = "was not asked yet"};
}

void bootstrap_stop(struct repl *r)
{
    for (size_t i = 0; i < r->bootstrap.count; i++)
        dial_cancel(r->bootstrap.candidates[i].dial);
    r->bootstrap.count = 0;
    r->bootstrap.running = false;
}

bool candidate_counts(const struct candidate *c, uint64_t now_ms)
{
    return c->answered_ms != 0 && now_ms - c->answered_ms <= PROBE_AGE_MS_MAX;
}

static void take_answer(struct candidate *c, const struct hello_answer *answer)
{
    c->answered_ms = clock_mono_ms();
    c->raft_id = answer->raft_id;
    c->empty = answer->empty;
    c->leads = answer->leads;
    c->member = answer->member;
    memcpy(c->cluster_id, answer->cluster_id, CLUSTER_ID_SIZE);
    memcpy(c->leader, answer->leader, sizeof c->leader);
}

static void on_probed(void *arg, uv_stream_t *stream,
                      const struct hello_answer *answer, const char *why)
{
    struct candidate *c = arg;
    struct repl *r = c->repl;
    c->dial = NULL;
    c->due_ms =
        clock_mono_ms() +
        (r->bootstrap.joining.knocking ? KNOCK_EVERY_MS : PROBE_EVERY_MS);
    c->answered_ms = 0;
    if (stream != NULL)
        link_close(&(struct link){.stream = stream});
    if (answer == NULL || stream == NULL)
        snprintf(c->why, sizeof c->why, "%s", why);
    else if (answer->raft_id == r->identity.raft_id)
        snprintf(c->why, sizeof c->why, "its address leads to this node");
    else if (answer->code == HELLO_UNPROVEN || answer->code == HELLO_TOO_OLD)
        snprintf(c->why, sizeof c->why, "it refuses this node: %s",
                 answer->text);
    else if (strcmp(answer->name, c->peer.name) != 0)
        snprintf(c->why, sizeof c->why, "a node named %s answers there",
                 answer->name);
    else
        take_answer(c, answer);
}

static void probe_all(struct repl *r, uint64_t now_ms)
{
    struct bootstrap *b = &r->bootstrap;
    for (size_t i = 0; i < b->count; i++) {
        struct candidate *c = &b->candidates[i];
        if (c->dial == NULL && c->due_ms <= now_ms)
            c->dial = dial_start(&r->dialer,
                                 b->joining.knocking ? HELLO_JOIN : HELLO_PROBE,
                                 0, c->peer.address, on_probed, c);
    }
}

/* Says for whom this node waits: often at first, then once a minute. */
static void tell_waiting(struct repl *r, uint64_t now_ms)
{
    struct bootstrap *b = &r->bootstrap;
    uint64_t every = now_ms - b->started_ms < WAITING_LATER_MS
                         ? WAITING_SOON_MS
                         : WAITING_LATER_MS;
    uint64_t since = b->told_ms != 0 ? b->told_ms : b->started_ms;
    if (now_ms - since < (b->told_ms != 0 ? every : 2000))
        return;
    b->told_ms = now_ms;
    struct buf text = {0};
    for (size_t i = 0; i < b->count; i++) {
        const struct candidate *c = &b->candidates[i];
        if (!candidate_counts(c, now_ms))
            buf_printf(&text, "%s%s (%s: %s)", text.size > 0 ? ", " : "",
                       c->peer.name, c->peer.address, c->why);
    }
    buf_put_u8(&text, 0);
    if (!buf_failed(&text) && text.size > 1)
        events_info(&r->events, "waiting", "to found the cluster with %s",
                    (const char *)text.data);
    else if (!buf_failed(&text) && !r->founder)
        events_info(&r->events, "waiting",
                    "for a cluster to join: none of the initial peers is in "
                    "one, and this node is not among them. To found one with "
                    "it, give every node the same list");
    buf_deinit(&text);
}

/* All initial peers answered, and none of them belongs to another cluster than
 * the one that they found with this node: who that is. */
static bool all_found(struct repl *r, struct founder *founders, size_t *count,
                      uint64_t now_ms)
{
    const struct bootstrap *b = &r->bootstrap;
    if (!r->founder)
        return false;
    founders[(*count)++] =
        (struct founder){r->name, r->address, r->identity.raft_id};
    for (size_t i = 0; i < b->count; i++) {
        const struct candidate *c = &b->candidates[i];
        if (!c->founder)
            continue;
        if (!candidate_counts(c, now_ms))
            return false;
        founders[(*count)++] =
            (struct founder){c->peer.name, c->peer.address, c->raft_id};
    }
    uint8_t cluster_id[CLUSTER_ID_SIZE];
    bootstrap_cluster_id(founders, *count, cluster_id);
    for (size_t i = 0; i < b->count; i++)
        if (!b->candidates[i].empty && memcmp(b->candidates[i].cluster_id,
                                              cluster_id, CLUSTER_ID_SIZE) != 0)
            return false;
    return true;
}

void bootstrap_beat(struct repl *r, uint64_t now_ms)
{
    probe_all(r, now_ms);
    struct founder founders[PEERS_MAX];
    size_t count = 0;
    if (all_found(r, founders, &count, now_ms)) {
        bootstrap_stop(r);
        struct errmsg e = {""};
        if (bootstrap_found(r, founders, count, &e) != 0)
            events_fatal(&r->events, EXIT_RESTART, "bootstrap", "%s", e.text);
    } else if (!joining_beat(r, now_ms)) {
        tell_waiting(r, now_ms);
    }
}
