/* The checks of what the nodes say of themselves and one another (doctor.h). */
#include "ctl/doctor.h"

#include "ctl/text.h"
#include "ctl/view.h"

#include <stdlib.h>

enum {
    LAG_ENTRIES = 10 * 1000,
    OFFSET_DOUBT_MS = 1000,
    OFFSET_BAD_MS = 60 * 1000,
    DISK_DOUBT_BYTES = 1024 * 1024 * 1024,
};

/* Each member by the view of the leader. */
#define FOR_EACH_NODE(d, i, node)                                              \
    json_array_foreach(json_object_get((d)->view, "nodes"), i, node)

bool doctor_is_member(const struct question *q)
{
    return question_ok(q) && json_is_object(q->json) &&
           strcmp(view_text(q->json, "state"), "removed") != 0;
}

void doctor_check_removed(struct doctor *d)
{
    for (size_t i = 0; i < d->cluster.count; i++) {
        const struct question *q = &d->cluster.questions[i];
        if (question_ok(q) &&
            strcmp(view_text(q->json, "state"), "removed") == 0)
            doctor_add(d, "roles", FINDING_FAIL,
                       "stop it; to come back it joins anew, with an empty "
                       "data directory",
                       "%s was removed from the cluster and still runs",
                       view_text(q->json, "node"));
    }
}

void doctor_check_endpoints(struct doctor *d)
{
    size_t answered = 0, i;
    json_t *name;
    for (i = 0; i < d->cluster.count; i++)
        answered += question_ok(&d->cluster.questions[i]);
    if (answered == d->cluster.count)
        doctor_add(d, "endpoints", FINDING_OK, "", "%zu of %zu answer",
                   answered, d->cluster.count);
    for (i = 0; i < d->cluster.count; i++) {
        const struct question *q = &d->cluster.questions[i];
        if (question_ok(q))
            continue;
        doctor_add(d, "endpoints", FINDING_FAIL,
                   q->status == 401 ? ""
                   : q->status != 0 ? "look at that node's log"
                                    : "is holdfast-node running there, and is "
                                      "this its --http-bind address?",
                   "%s: %s", q->endpoint, q->error);
    }
    json_array_foreach(d->cluster.unasked, i, name)
    {
        doctor_add(d, "endpoints", FINDING_WARN,
                   "list its HTTP address in --endpoints", "%s was not asked",
                   json_string_value(name));
    }
}

void doctor_check_cluster(struct doctor *d)
{
    const char *id = view_text(d->view, "cluster_id");
    bool same = true;
    for (size_t i = 0; i < d->cluster.count; i++) {
        const struct question *q = &d->cluster.questions[i];
        const char *other = view_text(q->json, "cluster_id");
        if (!question_ok(q) || strcmp(other, id) == 0)
            continue;
        same = false;
        doctor_add(d, "cluster", FINDING_FAIL,
                   other[0] == '\0'
                       ? "it waits to found or join a cluster: its log says "
                         "for whom"
                       : "it was founded by itself: is its --initial-peers "
                         "the others'?",
                   other[0] == '\0' ? "%s belongs to no cluster"
                                    : "%s is of another cluster",
                   q->endpoint);
    }
    size_t members = json_array_size(json_object_get(d->view, "nodes"));
    if (same && id[0] != '\0')
        doctor_add(d, "cluster", FINDING_OK, "", "%zu member%s, id %.8s",
                   members, members == 1 ? "" : "s", id);
    else if (same)
        doctor_add(d, "cluster", FINDING_FAIL,
                   "start all of --initial-peers; their logs say for whom "
                   "they wait",
                   "there is none yet");
}

void doctor_check_leader(struct doctor *d)
{
    const char *leader = view_text(d->view, "leader");
    bool agree = true;
    if (!view_bool(d->view, "has_leader")) {
        doctor_add(d, "leader", FINDING_FAIL,
                   "a majority of the voters must run and reach one another; "
                   "if they are lost for good: holdfastctl recover --help",
                   "there is none: reads go on, nothing is accepted");
        return;
    }
    for (size_t i = 0; i < d->cluster.count; i++) {
        const struct question *q = &d->cluster.questions[i];
        const char *other = view_text(q->json, "leader");
        if (!doctor_is_member(q) || strcmp(other, leader) == 0)
            continue;
        agree = false;
        doctor_add(d, "leader", FINDING_FAIL,
                   "look again in a second; if it stays so, that node does not "
                   "reach the others",
                   "%s follows %s, not %s", view_text(q->json, "node"),
                   other[0] != '\0' ? other : "nobody", leader);
    }
    uint64_t term = 0;
    (void)view_uint(d->view, "term", &term);
    if (agree)
        doctor_add(d, "leader", FINDING_OK, "", "%s, in term %llu, all agree",
                   leader, (unsigned long long)term);
}

void doctor_check_quorum(struct doctor *d)
{
    size_t voters = 0, up = 0, i;
    json_t *node;
    FOR_EACH_NODE(d, i, node)
    {
        if (strcmp(view_text(node, "role"), "voter") != 0)
            continue;
        voters++;
        up += view_bool(node, "connected");
        if (!view_bool(node, "connected"))
            doctor_add(d, "quorum", FINDING_WARN,
                       "start it again with its data directory; if the host is "
                       "lost, an empty one of the same name takes its place",
                       "%s is down, or out of reach of %s",
                       view_text(node, "name"), view_text(d->view, "node"));
    }
    size_t quorum = voters / 2 + 1;
    if (up < quorum)
        doctor_add(d, "quorum", FINDING_FAIL, "bring voters back",
                   "%zu of %zu voters are up, %zu are needed", up, voters,
                   quorum);
    else if (voters == 1)
        doctor_add(d, "quorum", FINDING_WARN,
                   "three nodes survive the loss of one",
                   "a single voter: with it everything is gone");
    else if (up == quorum)
        doctor_add(d, "quorum", FINDING_WARN,
                   up < voters ? "bring the others back soon"
                               : "holdfastctl member add",
                   "%zu of %zu voters are up: none more may fail", up, voters);
    else
        doctor_add(d, "quorum", FINDING_OK, "",
                   "%zu of %zu voters are up: %zu more may fail", up, voters,
                   up - quorum);
}

void doctor_check_states(struct doctor *d)
{
    size_t i;
    json_t *node;
    FOR_EACH_NODE(d, i, node)
    {
        const char *name = view_text(node, "name");
        if (view_bool(node, "draining"))
            doctor_add(d, "roles", FINDING_WARN,
                       "when its maintenance is over: holdfastctl drain --undo",
                       "%s is draining", name);
        bool spare = strcmp(view_text(node, "role"), "spare") == 0;
        if (spare && !view_bool(node, "connected"))
            doctor_add(d, "roles", FINDING_WARN,
                       "does that name lead there, and is the port open? If "
                       "it runs no more: holdfastctl member remove",
                       "%s (spare) is not reached by %s at %s", name,
                       view_text(d->view, "node"), view_text(node, "address"));
        else if (spare || strcmp(view_text(node, "role"), "joining") == 0)
            doctor_add(d, "roles", FINDING_WARN,
                       "if it stays so for minutes, its log says why",
                       "%s is on its way in (%s)", name,
                       view_text(node, "role"));
    }
}

void doctor_check_lag(struct doctor *d)
{
    uint64_t commit = 0, applied, most = 0;
    bool fine = true;
    size_t i;
    json_t *node;
    (void)view_uint(d->view, "commit", &commit);
    FOR_EACH_NODE(d, i, node)
    {
        if (!view_bool(node, "connected") ||
            !view_uint(node, "applied", &applied) || applied >= commit)
            continue;
        uint64_t lag = commit - applied;
        most = lag > most ? lag : most;
        if (lag <= LAG_ENTRIES)
            continue;
        fine = false;
        doctor_add(d, "lag", FINDING_WARN,
                   "normal while it catches up; otherwise its disk or its "
                   "network is too slow: holdfastctl check disk",
                   "%s is %llu entries behind", view_text(node, "name"),
                   (unsigned long long)lag);
    }
    if (fine && most == 0)
        doctor_add(d, "lag", FINDING_OK, "", "none");
    else if (fine)
        doctor_add(d, "lag", FINDING_OK, "", "at most %llu log entries",
                   (unsigned long long)most);
}

void doctor_check_clocks(struct doctor *d)
{
    long long worst = 0;
    bool fine = true, known = false;
    size_t i;
    json_t *node;
    FOR_EACH_NODE(d, i, node)
    {
        const json_t *value = json_object_get(node, "clock_offset_ms");
        if (!json_is_integer(value))
            continue;
        known = true;
        long long offset = llabs(json_integer_value(value));
        worst = offset > worst ? offset : worst;
        if (offset < OFFSET_DOUBT_MS)
            continue;
        fine = false;
        doctor_add(d, "clocks",
                   offset < OFFSET_BAD_MS ? FINDING_WARN : FINDING_FAIL,
                   "run chrony or another NTP client there; the minutes of "
                   "reports come from the nodes' clocks",
                   "%s is %+.1f s off %s", view_text(node, "name"),
                   (double)json_integer_value(value) / 1000,
                   view_text(d->view, "node"));
    }
    if (fine && known)
        doctor_add(d, "clocks", FINDING_OK, "", "within %lld ms", worst);
}

void doctor_check_disks(struct doctor *d)
{
    uint64_t least = UINT64_MAX, bytes;
    bool fine = true;
    char text[UNIT_TEXT_SIZE] = "";
    size_t i;
    json_t *node;
    FOR_EACH_NODE(d, i, node)
    {
        bool known = view_uint(node, "disk_free_bytes", &bytes);
        bool low = view_bool(node, "disk_low");
        if (known && bytes < least)
            least = bytes;
        if (!low && (!known || bytes >= DISK_DOUBT_BYTES))
            continue;
        fine = false;
        bytes_format(known ? bytes : 0, text);
        doctor_add(d, "disks", low ? FINDING_FAIL : FINDING_WARN,
                   low ? "make room there: it takes no new entries until then"
                       : "make room there before it stops taking entries",
                   "%s has %s left", view_text(node, "name"), text);
    }
    if (fine && least != UINT64_MAX) {
        bytes_format(least, text);
        doctor_add(d, "disks", FINDING_OK, "", "at least %s free everywhere",
                   text);
    }
}

void doctor_check_versions(struct doctor *d)
{
    const char *first = "";
    bool same = true;
    uint64_t level = 0;
    size_t i;
    json_t *node;
    (void)view_uint(d->view, "level", &level);
    FOR_EACH_NODE(d, i, node)
    {
        const char *version = view_text(node, "version");
        if (version[0] == '\0')
            continue;
        if (first[0] == '\0')
            first = version;
        same = same && strcmp(version, first) == 0;
    }
    if (same && first[0] != '\0')
        doctor_add(d, "versions", FINDING_OK, "",
                   level != 0 ? "%s everywhere, feature level %llu"
                              : "%s everywhere",
                   first, (unsigned long long)level);
    FOR_EACH_NODE(d, i, node)
    {
        if (!same && view_text(node, "version")[0] != '\0')
            doctor_add(d, "versions", FINDING_WARN,
                       "finish the upgrade, one node at a time; new features "
                       "wait for the last one",
                       "%s runs %s", view_text(node, "name"),
                       view_text(node, "version"));
    }
}
