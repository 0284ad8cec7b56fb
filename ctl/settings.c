/* settings show and set: what the cluster has agreed on and an operator may
 * change while it runs. /api/v1/settings. */
#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <stdio.h>

static const char path_all[] = "/api/v1/settings";

/* "retain-minute" as flags have it, "retain_minute" as JSON has it. */
static const struct setting {
    const char *name, *key, *about;
} settings[] = {
    {"retain-minute", "retain_minute", "how long minutes are kept"},
    {"retain-hour", "retain_hour", "how long hours are kept"},
    {"retain-day", "retain_day", "how long days are kept"},
};
enum { SETTING_COUNT = sizeof settings / sizeof *settings };

static int print(struct ctl *c, json_t *answer, struct errmsg *e)
{
    static const struct column columns[] = {
        {"NAME", NULL, false},
        {"VALUE", NULL, true},
        {"MEANING", NULL, false},
    };
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    struct grid t;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        const char *value = view_text(answer, settings[i].key);
        grid_put(&t, settings[i].name);
        grid_put(&t, strcmp(value, "0") == 0 ? "for ever" : value);
        grid_put(&t, settings[i].about);
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    json_decref(answer);
    return rv;
}

int run_settings_show(struct ctl *c, struct errmsg *e)
{
    json_t *answer = NULL;
    int rv = client_get(&c->client, path_all, &answer, NULL, e);
    return rv != 0 ? rv : print(c, answer, e);
}

static const struct setting *find(const char *name)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (strcmp(settings[i].name, name) == 0 ||
            strcmp(settings[i].key, name) == 0)
            return &settings[i];
    return NULL;
}

/* Without --yes a node refuses what would delete history, and says so. */
int run_settings_set(struct ctl *c, struct errmsg *e)
{
    json_t *answer = NULL;
    const struct setting *s = find(c->arguments[0]);
    if (s == NULL)
        return errmsg_set(e, ERR_INVALID,
                          "%s: no such setting; retain-minute, retain-hour or "
                          "retain-day is wanted",
                          c->arguments[0]);
    json_t *body = json_pack("{s:s,s:b}", s->key, c->arguments[1], "confirm",
                             ctl_has(c, FLAG_YES));
    int rv = client_change(&c->client, "PUT", path_all, body, &answer, e);
    json_decref(body);
    return rv != 0 ? rv : print(c, answer, e);
}
