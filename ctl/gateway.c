/* gateway: who reports, and who will no more. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/view.h"

#include <stdio.h>

static void put_rows(struct grid *t, const json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        grid_put_member(t, row, "id");
        grid_put_member(t, row, "hostname");
        grid_put_member(t, row, "name");
        grid_put_member(t, row, "network_name");
        grid_put_member(t, row, "kind");
        grid_put(t, view_bool(row, "connected") ? "heard" : "silent");
        grid_put_member(t, row, "last_seen");
    }
}

static int fetch(struct ctl *c, json_t **out, struct errmsg *e)
{
    char path[ROW_PATH_SIZE];
    json_t *location = NULL, *rows = NULL;
    if (!ctl_has(c, FLAG_LOCATION))
        return client_get(&c->client, "/api/v1/network/gateways", out, NULL, e);
    int rv = lookup(c, "/api/v1/network", c->values[FLAG_LOCATION], NULL,
                    "location", &location, e);
    if (rv == 0) {
        row_path("/api/v1/network", location, "/gateways", path);
        rv = client_get(&c->client, path, &rows, NULL, e);
    }
    if (rv == 0) {
        char id[24];
        snprintf(
            id, sizeof id, "%lld",
            (long long)json_integer_value(json_object_get(location, "id")));
        *out = json_pack("{s:o}", id, rows);
    }
    json_decref(location);
    return rv;
}

int run_gateway_list(struct ctl *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ID", NULL, true},         {"HOSTNAME", NULL, false},
        {"NAME", NULL, false},      {"LOCATION", NULL, false},
        {"KIND", NULL, false},      {"STATE", NULL, false},
        {"LAST SEEN", NULL, false},
    };
    json_t *locations = NULL, *rows;
    const char *id;
    size_t count = 0;
    int rv = fetch(c, &locations, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(locations, e);
    struct grid t;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_object_foreach(locations, id, rows)
    {
        put_rows(&t, rows);
        count += json_array_size(rows);
    }
    rv = grid_print(&t, stdout, e);
    if (count == 0)
        puts("No gateway has reported yet: holdfastctl location token --help");
    grid_deinit(&t);
    json_decref(locations);
    return rv;
}

int run_gateway_delete(struct ctl *c, struct errmsg *e)
{
    return delete_row(c, "/api/v1/gateway", "/api/v1/network/gateways",
                      "hostname", "gateway", e);
}
