/* location list, create, delete, token: /api/v1/network. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

static const char path_all[] = "/api/v1/network";

static void put_list(struct grid *t, const json_t *list)
{
    struct buf text = {0};
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        buf_printf(&text, "%s%s", i > 0 ? "," : "", json_string_value(item));
    }
    buf_put_u8(&text, '\0');
    grid_put(t, buf_failed(&text) ? "" : (const char *)text.data);
    buf_deinit(&text);
}

static void put_row(struct grid *t, const json_t *row)
{
    const json_t *gateways = json_object_get(row, "gateways");
    size_t heard = 0, i;
    uint64_t port = 0;
    json_t *gateway;
    json_array_foreach(gateways, i, gateway)
    {
        heard += view_bool(gateway, "connected");
    }
    (void)view_uint(row, "port", &port);
    grid_put_member(t, row, "id");
    grid_put_member(t, row, "name");
    put_list(t, json_object_get(row, "address"));
    grid_printf(t, "%s:%llu", view_text(row, "endpoint"),
                (unsigned long long)port);
    grid_printf(t, "%zu of %zu", heard, json_array_size(gateways));
    grid_put(t, view_bool(row, "accept_unknown_peers") ? "accepted" : "");
}

int run_location_list(struct ctl *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ID", NULL, true},
        {"NAME", NULL, false},
        {"ADDRESS", NULL, false},
        {"VPN ENDPOINT", "ENDPOINT", false},
        {"GATEWAYS HEARD", "HEARD", false},
        {"UNKNOWN PEERS", "UNKNOWN", false},
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
        put_row(&t, row);
    }
    rv = grid_print(&t, stdout, e);
    if (json_array_size(rows) == 0)
        puts("There is no location yet: holdfastctl location create --help");
    grid_deinit(&t);
    json_decref(rows);
    return rv;
}

static int take_number(const struct ctl *c, enum flag_id flag, uint64_t max,
                       json_t *body, const char *key, struct errmsg *e)
{
    uint64_t value;
    const char *text =
        ctl_has(c, flag) ? c->values[flag] : flags[flag].fallback;
    if (!number_parse(text, max, &value))
        return errmsg_set(e, ERR_INVALID,
                          "--%s %s: a number up to %llu is wanted",
                          flags[flag].name, text, (unsigned long long)max);
    json_object_set_new(body, key, json_integer((json_int_t)value));
    return 0;
}

int run_location_create(struct ctl *c, struct errmsg *e)
{
    if (!ctl_has(c, FLAG_ADDRESS) || !ctl_has(c, FLAG_VPN_HOST))
        return errmsg_set(e, ERR_INVALID,
                          "--address and --vpn-host are needed\nfor example: "
                          "holdfastctl %s",
                          c->command->example);
    json_t *answer = NULL;
    json_t *body = json_pack(
        "{s:s,s:s,s:s,s:s*,s:s*,s:b}", "name", c->arguments[0], "address",
        c->values[FLAG_ADDRESS], "endpoint", c->values[FLAG_VPN_HOST],
        "allowed_ips", c->values[FLAG_ALLOWED_IPS], "dns", c->values[FLAG_DNS],
        "accept_unknown_peers", ctl_has(c, FLAG_ACCEPT_UNKNOWN));
    int rv = take_number(c, FLAG_VPN_PORT, 65535, body, "port", e);
    if (rv == 0)
        rv = take_number(c, FLAG_KEEPALIVE, 65535, body, "keepalive_interval",
                         e);
    if (rv == 0)
        rv = take_number(c, FLAG_DISCONNECT_AFTER, 86400, body,
                         "peer_disconnect_threshold", e);
    if (rv == 0)
        rv = client_change(&c->client, "POST", path_all, body, &answer, e);
    json_decref(body);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    uint64_t id = 0;
    (void)view_uint(answer, "id", &id);
    printf("location %s has the id %llu and the public key %s\n"
           "next: holdfastctl location token %llu\n",
           c->arguments[0], (unsigned long long)id, view_text(answer, "pubkey"),
           (unsigned long long)id);
    json_decref(answer);
    return 0;
}

int run_location_delete(struct ctl *c, struct errmsg *e)
{
    return delete_row(c, path_all, path_all, NULL, "location", e);
}

int run_location_token(struct ctl *c, struct errmsg *e)
{
    char path[ROW_PATH_SIZE];
    json_t *row = NULL, *answer = NULL;
    int rv = lookup(c, path_all, c->arguments[0], NULL, "location", &row, e);
    if (rv == 0) {
        row_path(path_all, row, "/token", path);
        rv = client_get(&c->client, path, &answer, NULL, e);
    }
    json_decref(row);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    printf("DEFGUARD_TOKEN=%s\nDEFGUARD_GRPC_URL=%s\n",
           view_text(answer, "token"), view_text(answer, "grpc_url"));
    json_decref(answer);
    return 0;
}
