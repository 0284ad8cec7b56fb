/* token list, create, revoke: /api/v1/token. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/view.h"

#include <stdio.h>

static const char path_all[] = "/api/v1/token";

int run_token_list(struct ctl *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ID", NULL, true},
        {"NAME", NULL, false},
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
    }
    rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    json_decref(rows);
    return rv;
}

int run_token_create(struct ctl *c, struct errmsg *e)
{
    json_t *answer = NULL;
    json_t *body = json_pack("{s:s}", "name", c->arguments[0]);
    int rv = client_change(&c->client, "POST", path_all, body, &answer, e);
    json_decref(body);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    /* The token alone on stdout, so that > FILE makes a --token-file. */
    fprintf(stderr, "shown this once:\n");
    puts(view_text(answer, "token"));
    json_decref(answer);
    return 0;
}

int run_token_revoke(struct ctl *c, struct errmsg *e)
{
    return delete_row(c, path_all, path_all, NULL, "token", e);
}
