/* device list, add, delete: /api/v1/device. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

static const char path_all[] = "/api/v1/device";

int run_device_list(struct ctl *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ID", NULL, true},          {"NAME", NULL, false},
        {"USER", NULL, false},       {"TYPE", NULL, false},
        {"PUBLIC KEY", NULL, false},
    };
    json_t *rows = NULL, *row;
    size_t i;
    int rv = client_get(&c->client, path_all, &rows, NULL, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(rows, e);
    struct grid t;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(rows, i, row)
    {
        grid_put_member(&t, row, "id");
        grid_put_member(&t, row, "name");
        grid_put_member(&t, row, "username");
        grid_put_member(&t, row, "device_type");
        grid_put_member(&t, row, "wireguard_pubkey");
    }
    rv = grid_print(&t, stdout, e);
    if (json_array_size(rows) == 0)
        puts("There is no device yet: holdfastctl device add --help");
    grid_deinit(&t);
    json_decref(rows);
    return rv;
}

static void print_added(const json_t *answer)
{
    const json_t *device = json_object_get(answer, "device");
    uint64_t id = 0;
    size_t i;
    json_t *config;
    (void)view_uint(device, "id", &id);
    printf("# device %s has the id %llu\n", view_text(device, "name"),
           (unsigned long long)id);
    json_array_foreach(json_object_get(answer, "configs"), i, config)
    {
        printf("\n# at %s\n%s", view_text(config, "network_name"),
               view_text(config, "config"));
    }
}

/* The path to post to; a location is looked up and set in @body. */
static int choose_path(struct ctl *c, json_t *body, char *path, size_t size,
                       struct errmsg *e)
{
    char user[200];
    json_t *location = NULL;
    if (ctl_has(c, FLAG_USER) == ctl_has(c, FLAG_LOCATION))
        return errmsg_set(e, ERR_INVALID,
                          "--user NAME or --location ID is wanted, one of the "
                          "two\nfor example: holdfastctl %s",
                          c->command->example);
    if (ctl_has(c, FLAG_USER)) {
        if (!path_escape(c->values[FLAG_USER], user, sizeof user))
            return errmsg_set(e, ERR_INVALID, "--user: the name is too long");
        snprintf(path, size, "%s/%s", path_all, user);
        return 0;
    }
    int rv = lookup(c, "/api/v1/network", c->values[FLAG_LOCATION], NULL,
                    "location", &location, e);
    if (rv == 0)
        json_object_set(body, "location_id", json_object_get(location, "id"));
    json_decref(location);
    snprintf(path, size, "%s/network", path_all);
    return rv;
}

int run_device_add(struct ctl *c, struct errmsg *e)
{
    char path[256];
    json_t *answer = NULL;
    json_t *body =
        json_pack("{s:s,s:s,s:s*}", "name", c->arguments[0], "wireguard_pubkey",
                  c->arguments[1], "description", c->values[FLAG_DESCRIPTION]);
    int rv = choose_path(c, body, path, sizeof path, e);
    if (rv == 0)
        rv = client_change(&c->client, "POST", path, body, &answer, e);
    json_decref(body);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    print_added(answer);
    json_decref(answer);
    return 0;
}

int run_device_delete(struct ctl *c, struct errmsg *e)
{
    return delete_row(c, path_all, path_all, "wireguard_pubkey", "device", e);
}
