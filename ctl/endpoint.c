/* endpoint status, health, and top: one line for each node. The JSON of a node
 * is what GET /api/v1/cluster says of it, with endpoint, lag and errors added.
 */
#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <time.h>

enum { STALE_MS = 5000, TOP_S = 2 };

/* --- what is wrong with a node -------------------------------------------- */

static void add_error(json_t *errors, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_error(json_t *errors, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(errors, json_string(text));
}

static void find_errors(const json_t *cluster, const json_t *node,
                        json_t *errors)
{
    uint64_t age_ms;
    char age[UNIT_TEXT_SIZE];
    const char *state = view_text(cluster, "state");
    bool self = view_bool(node, "self");
    if (!view_bool(node, "connected"))
        add_error(errors, "no link from %s", view_text(cluster, "node"));
    else if (self && !view_bool(cluster, "has_leader"))
        add_error(errors, "no leader");
    else if (view_uint(node, "age_ms", &age_ms) && age_ms > STALE_MS) {
        duration_format((double)age_ms, age);
        add_error(errors, "no leader heard for %s", age);
    }
    if (self &&
        (strcmp(state, "fetching") == 0 || strcmp(state, "waiting") == 0 ||
         strcmp(state, "removed") == 0))
        add_error(errors, "%s", state);
    if (view_bool(node, "disk_low"))
        add_error(errors, "disk almost full");
    if (view_bool(node, "draining"))
        add_error(errors, "draining");
}

/* --- status --------------------------------------------------------------- */

/* Appends a copy of @node; @endpoint may be NULL. */
static void add_row(json_t *rows, const char *endpoint, const json_t *cluster,
                    const json_t *node, const char *failure)
{
    json_t *row = node != NULL ? json_deep_copy(node) : json_object();
    json_t *errors = json_array();
    json_object_set_new(row, "endpoint",
                        endpoint != NULL ? json_string(endpoint) : json_null());
    if (node != NULL)
        find_errors(cluster, node, errors);
    else
        add_error(errors, "%s", failure);
    json_object_set_new(row, "errors", errors);
    json_array_append_new(rows, row);
}

/* Entries behind the newest commit that any row knows. */
static void set_lags(json_t *rows)
{
    uint64_t newest = 0, value;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (view_uint(row, "commit", &value) && value > newest)
            newest = value;
    }
    json_array_foreach(rows, i, row)
    {
        json_t *lag = json_null();
        /* What a node said last before it was lost is no lag. */
        if (view_bool(row, "connected") && view_uint(row, "applied", &value))
            lag =
                json_integer(newest > value ? (json_int_t)(newest - value) : 0);
        json_object_set_new(row, "lag", lag);
    }
}

static void put_errors(struct grid *t, const json_t *row)
{
    struct buf text = {0};
    size_t i;
    json_t *error;
    json_array_foreach(json_object_get(row, "errors"), i, error)
    {
        buf_printf(&text, "%s%s", i > 0 ? ", " : "", json_string_value(error));
    }
    buf_put_u8(&text, '\0');
    grid_put(t, buf_failed(&text) ? "" : (const char *)text.data);
    buf_deinit(&text);
}

static void put_offset(struct grid *t, const json_t *row)
{
    const json_t *offset = json_object_get(row, "clock_offset_ms");
    if (json_is_integer(offset))
        grid_printf(t, "%+lld ms", (long long)json_integer_value(offset));
    else
        grid_put(t, "");
}

static int print_rows(const json_t *rows, bool cluster, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ENDPOINT", NULL, false},
        {"NODE", NULL, false},
        {"ZONE", NULL, false},
        {"VERSION", "VER", false},
        {"ROLE", NULL, false},
        {"TERM", NULL, true},
        {"COMMITTED", "COMMIT", true},
        {"APPLIED", NULL, true},
        {"LAG", NULL, true},
        {"DB SIZE", "DB", true},
        {"CLOCK OFFSET", "CLOCK", true},
        {"ERRORS", NULL, false},
    };
    struct grid t;
    size_t i;
    json_t *row;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(rows, i, row)
    {
        grid_put(&t, cluster ? "" : view_text(row, "endpoint"));
        grid_put_member(&t, row, "name");
        grid_put_member(&t, row, "zone");
        grid_put_member(&t, row, "version");
        grid_put(&t,
                 view_bool(row, "leader") ? "leader" : view_text(row, "role"));
        grid_put_member(&t, row, "term");
        grid_put_member(&t, row, "commit");
        grid_put_member(&t, row, "applied");
        grid_put_member(&t, row, "lag");
        grid_put_bytes(&t, row, "db_bytes");
        put_offset(&t, row);
        put_errors(&t, row);
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    return rv;
}

static int answer_rows(const struct ctl *c, json_t *rows, struct errmsg *e)
{
    set_lags(rows);
    if (c->output == OUTPUT_JSON)
        return ctl_print_json(json_pack("{s:O}", "nodes", rows), e);
    return print_rows(rows, ctl_has(c, FLAG_CLUSTER), e);
}

static int status_of_cluster(struct ctl *c, struct errmsg *e)
{
    json_t *cluster = NULL, *rows = json_array(), *node;
    size_t i;
    int rv = client_get(&c->client, "/api/v1/cluster", &cluster, NULL, e);
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        add_row(rows, NULL, cluster, node, NULL);
    }
    if (rv == 0)
        rv = answer_rows(c, rows, e);
    json_decref(rows);
    json_decref(cluster);
    return rv;
}

static int status_of_endpoints(struct ctl *c, struct errmsg *e)
{
    struct survey s = {0};
    json_t *rows = json_array();
    bool all = true;
    survey_ask(c, &s, "GET", "/api/v1/cluster");
    for (size_t i = 0; i < s.count; i++) {
        const struct question *q = &s.questions[i];
        const json_t *self = cluster_self(q->json);
        add_row(rows, q->endpoint, q->json, self,
                question_ok(q) ? "it has not joined a cluster" : q->error);
        all = all && question_ok(q);
    }
    int rv = answer_rows(c, rows, e);
    survey_deinit(&s);
    json_decref(rows);
    return rv == 0 && !all ? CTL_FAILED : rv;
}

int run_endpoint_status(struct ctl *c, struct errmsg *e)
{
    return ctl_has(c, FLAG_CLUSTER) ? status_of_cluster(c, e)
                                    : status_of_endpoints(c, e);
}

/* The cluster's status on a cleared screen, again and again; once where there
 * is no screen. */
int run_top(struct ctl *c, struct errmsg *e)
{
    c->values[FLAG_CLUSTER] = "true";
    for (;;) {
        bool screen = is_terminal(stdout) && c->output == OUTPUT_TABLE;
        char when[32] = "";
        struct tm tm;
        time_t now = time(NULL);
        if (gmtime_r(&now, &tm) != NULL)
            strftime(when, sizeof when, "%H:%M:%S UTC", &tm);
        if (screen)
            fputs("\033[H\033[2J", stdout);
        if (c->output == OUTPUT_TABLE)
            printf("%s, every %d s; Ctrl-C ends it\n\n", when, TOP_S);
        int rv = status_of_cluster(c, e);
        if (!screen)
            return rv;
        /* A cluster that is away for a moment is what one watches for. */
        if (rv < 0) {
            text_put(stdout, e->text);
            putchar('\n');
        }
        fflush(stdout);
        nanosleep(&(struct timespec){TOP_S, 0}, NULL);
    }
}

/* --- health --------------------------------------------------------------- */

static const char *health_of(const struct question *q)
{
    if (q->status == 0)
        return "unreachable";
    if (!json_is_object(q->json) || json_object_get(q->json, "live") == NULL)
        return "unknown";
    if (!view_bool(q->json, "live"))
        return "hangs";
    if (!view_bool(q->json, "ready"))
        return "not ready";
    return view_bool(q->json, "has_leader") ? "healthy" : "no leader";
}

static json_t *health_row(const char *endpoint, const char *name,
                          const char *health, const char *error,
                          const struct question *q)
{
    return json_pack(
        "{s:s?,s:s?,s:s,s:b,s:o,s:s?}", "endpoint", endpoint, "name", name,
        "health", health, "healthy", strcmp(health, "healthy") == 0, "took_ms",
        q != NULL && q->status != 0 ? json_real(q->took_ms) : json_null(),
        "error", error[0] != '\0' ? error : NULL);
}

static json_t *health_rows(const struct survey *s)
{
    json_t *rows = json_array(), *name;
    size_t i;
    for (i = 0; i < s->count; i++) {
        const struct question *q = &s->questions[i];
        const char *error = q->status == 0 ? q->error : "";
        json_array_append_new(
            rows, health_row(q->endpoint, NULL, health_of(q), error, q));
    }
    json_array_foreach(s->unasked, i, name)
    {
        json_array_append_new(
            rows, health_row(NULL, json_string_value(name), "not asked",
                             "list its HTTP address in --endpoints", NULL));
    }
    return rows;
}

static int print_health(const json_t *rows, struct errmsg *e)
{
    static const struct column columns[] = {
        {"ENDPOINT", NULL, false},
        {"HEALTH", NULL, false},
        {"TOOK", NULL, true},
        {"ERROR", NULL, false},
    };
    struct grid t;
    size_t i;
    json_t *row;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(rows, i, row)
    {
        char took[UNIT_TEXT_SIZE] = "";
        const json_t *ms = json_object_get(row, "took_ms");
        const char *endpoint = view_text(row, "endpoint");
        if (json_is_real(ms))
            duration_format(json_real_value(ms), took);
        grid_put(&t, endpoint[0] != '\0' ? endpoint : view_text(row, "name"));
        grid_put_member(&t, row, "health");
        grid_put(&t, took);
        grid_put_member(&t, row, "error");
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    return rv;
}

int run_endpoint_health(struct ctl *c, struct errmsg *e)
{
    struct survey s = {0};
    json_t *rows = NULL, *row;
    bool all = true;
    size_t i;
    int rv = survey_find_members(c, &s, e);
    if (rv != 0)
        goto out;
    survey_ask(c, &s, "GET", "/api/v1/health");
    rows = health_rows(&s);
    json_array_foreach(rows, i, row)
    {
        all = all && view_bool(row, "healthy");
    }
    rv = c->output == OUTPUT_JSON
             ? ctl_print_json(json_pack("{s:O}", "endpoints", rows), e)
             : print_health(rows, e);
    if (rv == 0 && !all)
        rv = CTL_FAILED;
out:
    json_decref(rows);
    survey_deinit(&s);
    return rv;
}
