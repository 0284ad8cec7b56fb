/* device top: who moved the most bytes. /api/v1/overview without points. */
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <inttypes.h>
#include <stdio.h>

enum { PATH_SIZE = 240, LIMIT_MAX = 10000 };

/* "&from=…" where the flag is given. */
static int put_time(const struct ctl *c, enum flag_id flag, char *out,
                    size_t size, struct errmsg *e)
{
    uint64_t s;
    out[0] = '\0';
    if (!ctl_has(c, flag))
        return 0;
    if (!time_text_parse(c->values[flag], &s))
        return errmsg_set(e, ERR_INVALID,
                          "--%s %s: Unix seconds or 2026-11-22T12:00:00Z is "
                          "wanted",
                          flags[flag].name, c->values[flag]);
    snprintf(out, size, "&%s=%" PRIu64, flags[flag].name, s);
    return 0;
}

/* "all", or the id of --location. */
static int find_location(struct ctl *c, char *out, size_t size,
                         struct errmsg *e)
{
    json_t *row = NULL;
    uint64_t id = 0;
    snprintf(out, size, "all");
    if (!ctl_has(c, FLAG_LOCATION))
        return 0;
    int rv = lookup(c, "/api/v1/network", c->values[FLAG_LOCATION], NULL,
                    "location", &row, e);
    if (rv == 0 && view_uint(row, "id", &id))
        snprintf(out, size, "%" PRIu64, id);
    json_decref(row);
    return rv;
}

static int make_path(struct ctl *c, char path[PATH_SIZE], struct errmsg *e)
{
    const char *by =
        ctl_has(c, FLAG_BY) ? c->values[FLAG_BY] : flags[FLAG_BY].fallback;
    const char *limit = ctl_has(c, FLAG_LIMIT) ? c->values[FLAG_LIMIT]
                                               : flags[FLAG_LIMIT].fallback;
    char location[24], from[32], to[32];
    uint64_t count;
    if (strcmp(by, "device") != 0 && strcmp(by, "user") != 0 &&
        strcmp(by, "gateway") != 0)
        return errmsg_set(e, ERR_INVALID,
                          "--by %s: device, user or gateway is wanted", by);
    if (!number_parse(limit, LIMIT_MAX, &count) || count == 0)
        return errmsg_set(e, ERR_INVALID, "--limit %s: 1 to %d is wanted",
                          limit, LIMIT_MAX);
    int rv = find_location(c, location, sizeof location, e);
    if (rv == 0)
        rv = put_time(c, FLAG_FROM, from, sizeof from, e);
    if (rv == 0)
        rv = put_time(c, FLAG_TO, to, sizeof to, e);
    if (rv == 0)
        snprintf(path, PATH_SIZE,
                 "/api/v1/overview?location=%s&by=%s&points=0&limit=%" PRIu64
                 "%s%s",
                 location, by, count, from, to);
    return rv;
}

static int print(const json_t *answer, struct errmsg *e)
{
    static const struct column columns[] = {
        {"NAME", NULL, false},
        {"KEY", NULL, false},
        {"UPLOAD", NULL, true},
        {"DOWNLOAD", NULL, true},
    };
    struct grid t;
    size_t i;
    json_t *row;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(json_object_get(answer, "series"), i, row)
    {
        bool same = strcmp(view_text(row, "name"), view_text(row, "key")) == 0;
        grid_put_member(&t, row, "name");
        grid_put(&t, same ? "" : view_text(row, "key"));
        grid_put_bytes(&t, row, "upload");
        grid_put_bytes(&t, row, "download");
    }
    int rv = grid_print(&t, stdout, e);
    if (i == 0)
        puts("Nobody moved a byte in that time: --from TIME looks further "
             "back.");
    grid_deinit(&t);
    return rv;
}

int run_device_top(struct ctl *c, struct errmsg *e)
{
    char path[PATH_SIZE];
    json_t *answer = NULL;
    int rv = make_path(c, path, e);
    if (rv == 0)
        rv = client_get(&c->client, path, &answer, NULL, e);
    if (rv != 0)
        return rv;
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(answer, e);
    rv = print(answer, e);
    json_decref(answer);
    return rv;
}
