/* member list, remove, promote, demote. Adding is in joining.c. */
#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

int run_member_list(struct ctl *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"NAME", NULL, false},    {"ROLE", NULL, false},
        {"ZONE", NULL, false},    {"PEER ADDRESS", "ADDRESS", false},
        {"VERSION", NULL, false}, {"LINK", NULL, false},
        {"RTT", NULL, true},      {"ID", NULL, true},
    };
    json_t *cluster = NULL, *node;
    size_t i;
    int rv = client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON) {
        rv = ctl_print_json(json_pack("{s:O,s:O}", "cluster_id",
                                      json_object_get(cluster, "cluster_id"),
                                      "members",
                                      json_object_get(cluster, "nodes")),
                            e);
        json_decref(cluster);
        return rv;
    }
    struct grid t;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        grid_put_member(&t, node, "name");
        grid_put(&t, view_bool(node, "leader") ? "leader"
                                               : view_text(node, "role"));
        grid_put_member(&t, node, "zone");
        grid_put_member(&t, node, "address");
        grid_put_member(&t, node, "version");
        grid_put(&t, view_bool(node, "self")        ? "self"
                     : view_bool(node, "connected") ? "up"
                                                    : "down");
        grid_put_us(&t, node, "rtt_us");
        grid_put_member(&t, node, "id");
    }
    rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    json_decref(cluster);
    return rv;
}

static int member_path(const char *name, char *out, size_t size,
                       struct errmsg *e)
{
    char escaped[256];
    if (name[0] == '\0' || !path_escape(name, escaped, sizeof escaped))
        return errmsg_set(e, ERR_INVALID, "%.80s: not the name of a node",
                          name);
    snprintf(out, size, "/api/v1/cluster/members/%s", escaped);
    return 0;
}

static int say_done(const struct ctl *c, const char *what, struct errmsg *e)
{
    const char *name = c->arguments[0];
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(
            json_pack("{s:s,s:s}", "name", name, "done", c->command->verb), e);
    text_put(stdout, name);
    printf(" %s\n", what);
    return 0;
}

static int change_role(struct ctl *c, const char *what, struct errmsg *e)
{
    char path[512];
    json_t *body = json_pack("{s:s}", "action", c->command->verb);
    int rv = member_path(c->arguments[0], path, sizeof path, e);
    if (rv == 0)
        rv = client_change(&c->client, "POST", path, body, NULL, e);
    json_decref(body);
    return rv == 0 ? say_done(c, what, e) : rv;
}

int run_member_promote(struct ctl *c, struct errmsg *e)
{
    return change_role(c, "votes now", e);
}

int run_member_demote(struct ctl *c, struct errmsg *e)
{
    return change_role(c,
                       "is a standby now: it keeps all data and does not "
                       "vote until it is promoted",
                       e);
}

int run_member_remove(struct ctl *c, struct errmsg *e)
{
    char path[512];
    int rv = member_path(c->arguments[0], path, sizeof path, e);
    if (rv == 0)
        rv = ctl_confirm(c, e, "Take %s out of the cluster for good?",
                         c->arguments[0]);
    if (rv == 0)
        rv = client_change(&c->client, "DELETE", path, NULL, NULL, e);
    return rv == 0 ? say_done(c,
                              "is no member any more: stop it; to come back "
                              "it needs an empty data directory",
                              e)
                   : rv;
}
