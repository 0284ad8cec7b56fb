/* Who may come in at the peer port: what a hello is answered (docs/format.md,
 * "Peer hello"), and where the stream goes. Raft loop. */
#include "base/clock.h"
#include "raft/repl.h"

#include <stdio.h>

enum {
    STRANGER_MS_MAX = 10 * 1000, /* an older word does not count */
    STRANGER_QUIET_MS = 3000,    /* without a leader: not just a joiner */
};

static const char *claim(void *arg, const struct hello *hello);
static void judge(void *arg, const struct hello *hello,
                  struct hello_answer *answer);
static void welcome(void *arg, const struct hello *hello, uv_stream_t *stream);
static void rejected(void *arg, const char *source, const char *why);

void door_init(struct repl *r)
{
    r->listener.claim = claim;
    r->listener.judge = judge;
    r->listener.welcome = welcome;
    r->listener.rejected = rejected;
    r->listener.arg = r;
}

const struct raft_server *repl_member(const struct repl *r, uint64_t id)
{
    for (unsigned i = 0; r->raft_open && i < r->raft.configuration.n; i++)
        if (r->raft.configuration.servers[i].id == id)
            return &r->raft.configuration.servers[i];
    return NULL;
}

uint64_t repl_configuration_index(const struct repl *r)
{
    if (!r->raft_open)
        return 0;
    return r->raft.configuration_uncommitted_index != 0
               ? r->raft.configuration_uncommitted_index
               : r->raft.configuration_committed_index;
}

void repl_peer_of(const struct repl *r, const struct raft_server *server,
                  struct repl_peer *out)
{
    if (member_address_split(server->address, out) != 0)
        *out = (struct repl_peer){0};
    const struct out_link *link = forward_peer(r, server->id);
    if (out->name[0] == '\0' && server->id == r->identity.raft_id)
        memcpy(out->name, r->name, sizeof out->name);
    else if (out->name[0] == '\0' && link != NULL)
        memcpy(out->name, link->name, sizeof out->name);
    for (size_t i = 0; i < r->initial_count && out->name[0] == '\0'; i++)
        if (strcmp(r->initial[i].address, out->address) == 0)
            memcpy(out->name, r->initial[i].name, sizeof out->name);
}

/* No member, and not one that we cannot know of yet, because it joined while we
 * were away: one that was removed has an older configuration than those who
 * removed it. */
static bool is_stranger(const struct repl *r, const struct hello *hello)
{
    return hello->raft_id == r->identity.raft_id ||
           (repl_member(r, hello->raft_id) == NULL &&
            hello->configuration_index <= repl_configuration_index(r));
}

/* A raft id is worth what its address in the configuration proves. Who asks
 * only for an answer, or is not known yet, proves the address that it gives; a
 * tool that is no node gives none. */
static const char *claim(void *arg, const struct hello *hello)
{
    const struct repl *r = arg;
    const struct raft_server *server = hello_ends_with_answer(hello->channel)
                                           ? NULL
                                           : repl_member(r, hello->raft_id);
    return server != NULL ? member_address_dial(server->address)
                          : hello->address;
}

static void introduce(const struct repl *r, const struct hello *hello,
                      struct hello_answer *answer)
{
    answer->raft_id = r->identity.raft_id;
    memcpy(answer->cluster_id, r->identity.cluster_id, CLUSTER_ID_SIZE);
    memcpy(answer->name, r->name, sizeof answer->name);
    answer->level = r->level;
    answer->empty = !identity_is_bootstrapped(&r->identity);
    answer->leads = r->leads && r->ready;
    answer->member = repl_member(r, hello->raft_id) != NULL;
    const struct raft_server *leader =
        r->seen_leader == 0 ? NULL : repl_member(r, r->seen_leader);
    if (leader != NULL)
        snprintf(answer->leader, sizeof answer->leader, "%s", leader->address);
}

static void refuse(struct hello_answer *answer, enum hello_code code,
                   const char *text)
{
    answer->code = code;
    snprintf(answer->text, sizeof answer->text, "%s", text);
}

static void judge(void *arg, const struct hello *hello,
                  struct hello_answer *answer)
{
    struct repl *r = arg;
    introduce(r, hello, answer);
    if (hello->channel != HELLO_PROBE && hello->level < store_level(r->store)) {
        answer->code = HELLO_TOO_OLD;
        snprintf(answer->text, sizeof answer->text,
                 "the cluster is at feature level %u, this node speaks %u: "
                 "upgrade it",
                 store_level(r->store), hello->level);
        return;
    }
    if (hello->channel == HELLO_JOIN && answer->leads)
        membership_knock(r, hello);
    if (hello_ends_with_answer(hello->channel))
        return;
    if (r->phase == PHASE_FETCHING)
        refuse(answer, HELLO_NOT_READY, "this node fetches a copy itself");
    else if (!r->raft_open || r->phase == PHASE_CLOSING)
        refuse(answer, HELLO_NOT_READY, "this node is not in a cluster yet");
    else if (memcmp(hello->cluster_id, r->identity.cluster_id,
                    CLUSTER_ID_SIZE) != 0)
        refuse(answer, HELLO_FOREIGN, "this node is of another cluster");
    else if (hello->target_id != 0 && hello->target_id != r->identity.raft_id)
        refuse(answer, HELLO_NOT_ME, "this node has another raft id");
    else if (is_stranger(r, hello))
        refuse(answer, HELLO_STRANGER, "the raft id is not a member's");
    else if (repl_member(r, hello->raft_id) == NULL &&
             hello->channel != HELLO_RAFT)
        /* It may lead: the log that it sends tells of it. */
        refuse(answer, HELLO_NOT_READY, "this node does not know it yet");
    else if (hello->channel == HELLO_BULK && !servings_have_room(r))
        refuse(answer, HELLO_NOT_READY, "too many nodes fetch from here");
}

static void welcome(void *arg, const struct hello *hello, uv_stream_t *stream)
{
    struct repl *r = arg;
    const struct raft_server *server = repl_member(r, hello->raft_id);
    transport_peer_seen(&r->transport, hello->raft_id);
    forward_peer_seen(r, hello->raft_id);
    if (hello->channel == HELLO_BULK) {
        serving_begin(r, hello->raft_id, hello->name, stream);
        return;
    }
    if (hello->channel != HELLO_RAFT) {
        forward_accept(r, hello->raft_id, stream);
        return;
    }
    /* The address as the configuration has it: libraft compares strings. */
    char address[MEMBER_ADDRESS_LENGTH_MAX + 1];
    if (server != NULL)
        snprintf(address, sizeof address, "%s", server->address);
    else
        member_address_join(hello->name, hello->address, address);
    transport_accept(&r->transport, hello->raft_id, address, stream);
}

static void rejected(void *arg, const char *source, const char *why)
{
    struct repl *r = arg;
    if (events_may_tell(&r->events, source, clock_mono_ms()))
        events_warn(&r->events, "peer_rejected", "%s: %s", source, why);
}

bool repl_is_removed(const struct repl *r, uint64_t now_ms)
{
    return r->stranger_ms != 0 && now_ms - r->stranger_ms <= STRANGER_MS_MAX &&
           (r->guard.heard_ms == 0 ||
            now_ms - r->guard.heard_ms > STRANGER_QUIET_MS);
}

void stranger_beat(struct repl *r, uint64_t now_ms)
{
    if (repl_is_removed(r, now_ms) &&
        events_may_tell(&r->events, "removed", now_ms))
        events_warn(&r->events, "removed",
                    "the cluster does not name this node (%016llx) as a member "
                    "any more: it answers reads from what it has. Stop it, or "
                    "start it with an empty %s to let it join anew",
                    (unsigned long long)r->identity.raft_id, r->data_dir);
}
