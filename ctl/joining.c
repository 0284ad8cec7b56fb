/* member add: the cluster admits whoever knocks with a good hello, so adding a
 * node is starting it with the right flags. Says which, then watches. */
#include "ctl/peer_text.h"
#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_EVERY_MS = 1000 };

/* Who founded its cluster without --initial-peers has the address localhost:0
 * in it, for good: nobody can dial that. */
static bool is_alone(const json_t *cluster)
{
    const char *address = view_text(cluster_self(cluster), "address");
    const char *colon = strrchr(address, ':');
    return colon != NULL && strcmp(colon, ":0") == 0;
}

/* A name or address that a member has already is a mistake to be told now. */
static int check(const json_t *cluster, const struct repl_peer *n,
                 struct errmsg *e)
{
    size_t i;
    json_t *node;
    if (is_alone(cluster))
        return errmsg_set(e, ERR_DENIED,
                          "%s is a cluster of one, without --initial-peers: no "
                          "other node can dial it. To make one of it that "
                          "others can join: snapshot save FILE, stop it, "
                          "snapshot restore FILE --data-dir EMPTY --member "
                          "NAME=HOST:7600",
                          view_text(cluster, "node"));
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        const char *name = view_text(node, "name");
        bool here = view_bool(node, "connected") &&
                    strcmp(view_text(node, "role"), "joining") != 0;
        if (strcmp(name, n->name) == 0 && here)
            return errmsg_set(e, ERR_EXISTS,
                              "%s is a member already, at %s, and runs", name,
                              view_text(node, "address"));
        if (strcmp(name, n->name) != 0 &&
            strcmp(view_text(node, "address"), n->address) == 0)
            return errmsg_set(e, ERR_EXISTS, "%s is the address of %s",
                              n->address, name);
    }
    return 0;
}

static void print_flags(const struct ctl *c, const json_t *cluster,
                        const struct repl_peer *n)
{
    size_t i, count = 0;
    json_t *node;
    bool tls = strncmp(c->client.endpoints[0], "https://", 8) == 0;
    printf("On the new host, with an empty data directory:\n\n"
           "  holdfast-node --name %s --peer-address %s \\\n"
           "      --data-dir /var/lib/holdfast \\\n      --initial-peers ",
           n->name, n->address);
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        const char *name = view_text(node, "name");
        /* Who only knocks is not admitted yet, whatever it calls itself. */
        if (strcmp(name, n->name) == 0 ||
            strcmp(view_text(node, "role"), "joining") == 0)
            continue;
        fputs(count++ > 0 ? ",\\\n" : "", stdout);
        text_put(stdout, name);
        putchar('=');
        text_put(stdout, view_text(node, "address"));
    }
    printf(" \\\n      %s\n\n",
           tls ? "--tls-ca CA --tls-cert CERT --tls-key KEY"
               : "--insecure   # or the --tls-* flags of the other nodes");
    puts("and --zone, --election-timeout and --heartbeat as on the others.");
}

/* What the cluster makes of it so far; true when it has arrived. */
static bool describe(const json_t *cluster, const char *name, char *out,
                     size_t size)
{
    const json_t *node = cluster_node(cluster, name);
    const char *role = view_text(node, "role");
    uint64_t commit = 0, applied = 0;
    (void)view_uint(cluster, "commit", &commit);
    bool known = view_uint(node, "applied", &applied) && applied > 0;
    if (node == NULL)
        snprintf(out, size, "waiting for its knock: start it now");
    else if (strcmp(role, "joining") == 0)
        snprintf(out, size, "knocking: the leader is about to admit it");
    else if (strcmp(role, "spare") == 0)
        snprintf(out, size, "admitted: fetching a copy of the store");
    else if (known && commit > applied)
        snprintf(out, size, "%s, %llu entries behind", role,
                 (unsigned long long)(commit - applied));
    else
        snprintf(out, size, "%s", role);
    return node != NULL && view_bool(node, "connected") &&
           (strcmp(role, "voter") == 0 || strcmp(role, "standby") == 0);
}

static int wait_for(struct ctl *c, const struct repl_peer *n, uint64_t wait_ms,
                    struct errmsg *e)
{
    char state[128] = "", told[128] = "";
    uint64_t begun = clock_mono_ms();
    for (;;) {
        json_t *cluster = NULL;
        bool there = false;
        uint64_t waited = clock_mono_ms() - begun;
        if (client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e) == 0)
            there = describe(cluster, n->name, state, sizeof state);
        else
            snprintf(state, sizeof state, "no endpoint answers");
        json_decref(cluster);
        progress_show("%3llu s  %s: %s", (unsigned long long)waited / 1000,
                      n->name, state);
        /* Where nothing can be overwritten: one line for each change. */
        if (!is_terminal(stderr) && strcmp(state, told) != 0)
            fprintf(stderr, "%s: %s\n", n->name, state);
        memcpy(told, state, sizeof told);
        if (there) {
            progress_clear();
            return 0;
        }
        if (waited >= wait_ms)
            return errmsg_set(e, ERR_TIMEOUT,
                              "%s after %llu s: %s. Look at its log; nothing "
                              "needs to be undone",
                              n->name, (unsigned long long)waited / 1000,
                              state);
        nanosleep(&(struct timespec){LOOK_EVERY_MS / 1000, 0}, NULL);
    }
}

static int print_arrival(struct ctl *c, const struct repl_peer *n,
                         struct errmsg *e)
{
    json_t *cluster = NULL;
    int rv = client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e);
    if (rv != 0)
        return rv;
    const json_t *node = cluster_node(cluster, n->name);
    if (c->output == OUTPUT_JSON)
        rv = ctl_print_json(json_pack("{s:s,s:s,s:s}", "name", n->name,
                                      "address", n->address, "role",
                                      view_text(node, "role")),
                            e);
    else
        printf("\n%s has joined, as a %s.\n", n->name, view_text(node, "role"));
    json_decref(cluster);
    return rv;
}

int run_member_add(struct ctl *c, struct errmsg *e)
{
    struct repl_peer n;
    uint64_t wait_ms = 0;
    json_t *cluster = NULL;
    const char *wait = ctl_has(c, FLAG_WAIT) ? c->values[FLAG_WAIT]
                                             : flags[FLAG_WAIT].fallback;
    if (strcmp(wait, "0") != 0 && !duration_parse(wait, &wait_ms))
        return errmsg_set(e, ERR_INVALID,
                          "--wait %s: a duration such as 90s or 10m, or 0, is "
                          "wanted",
                          wait);
    int rv = peer_parse(c->arguments[0], "", &n, e);
    if (rv == 0)
        rv = client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e);
    if (rv == 0)
        rv = check(cluster, &n, e);
    if (rv == 0 && c->output == OUTPUT_TABLE) {
        print_flags(c, cluster, &n);
        fflush(stdout);
    }
    json_decref(cluster);
    if (rv == 0 && wait_ms > 0)
        rv = wait_for(c, &n, wait_ms, e);
    if (rv == 0 && wait_ms > 0)
        rv = print_arrival(c, &n, e);
    return rv;
}
