/* leader transfer and drain. */
#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/view.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

enum { LOOK_EVERY_MS = 100 };

/* The node that is asked may hear of the new leader a moment later. */
static int await_leader(struct ctl *c, const char *name, json_t **cluster,
                        struct errmsg *e)
{
    uint64_t until = clock_mono_ms() + (uint64_t)c->client.timeout_ms;
    for (;;) {
        int rv = client_get(&c->client, "/api/v1/cluster", cluster, NULL, e);
        if (rv != 0)
            return rv;
        const char *leader = view_text(*cluster, "leader");
        if (leader[0] != '\0' && (name[0] == '\0' || strcmp(leader, name) == 0))
            return 0;
        json_decref(*cluster);
        *cluster = NULL;
        if (clock_mono_ms() > until)
            return errmsg_set(e, ERR_TIMEOUT,
                              "it was done, but %s sees no %s%s yet: look at "
                              "endpoint status",
                              c->client.endpoints[0],
                              name[0] != '\0' ? "leader " : "leader", name);
        nanosleep(&(struct timespec){0, LOOK_EVERY_MS * 1000000L}, NULL);
    }
}

int run_leader_transfer(struct ctl *c, struct errmsg *e)
{
    json_t *cluster = NULL;
    const char *name = c->argument_count > 0 ? c->arguments[0] : "";
    json_t *body = json_pack("{s:s}", "name", name);
    int rv = client_change(&c->client, "POST", "/api/v1/cluster/leader", body,
                           NULL, e);
    json_decref(body);
    if (rv == 0)
        rv = await_leader(c, name, &cluster, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON) {
        rv = ctl_print_json(json_pack("{s:O,s:O}", "leader",
                                      json_object_get(cluster, "leader"),
                                      "term", json_object_get(cluster, "term")),
                            e);
    } else {
        uint64_t term = 0;
        (void)view_uint(cluster, "term", &term);
        printf("%s leads, in term %llu\n", view_text(cluster, "leader"),
               (unsigned long long)term);
    }
    json_decref(cluster);
    return rv;
}

int run_drain(struct ctl *c, struct errmsg *e)
{
    bool drain = !ctl_has(c, FLAG_UNDO);
    json_t *cluster = NULL;
    if (c->client.endpoint_count != 1)
        return errmsg_set(e, ERR_INVALID,
                          "drain is for the node that is asked: give exactly "
                          "that one in --endpoints");
    json_t *body = json_pack("{s:b}", "drain", drain);
    int rv = client_change(&c->client, "POST", "/api/v1/drain", body, NULL, e);
    json_decref(body);
    if (rv == 0)
        rv = client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e);
    if (rv != 0)
        return rv;
    const char *node = view_text(cluster, "node");
    if (c->output == OUTPUT_JSON) {
        rv = ctl_print_json(
            json_pack("{s:s,s:b}", "node", node, "draining", drain), e);
    } else if (drain) {
        printf("%s drains: it gives leadership away and takes no new gateways; "
               "end it with drain --undo or a restart\n",
               node);
    } else {
        printf("%s takes part again\n", node);
    }
    json_decref(cluster);
    return rv;
}
