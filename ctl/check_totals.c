/* check totals: no byte lost, none counted twice. Of every location, what its
 * devices moved must be what its gateways did, and they what the location did,
 * in every tier; the tiers must agree over the buckets that both still have,
 * and so must the nodes; and all of it with a file of what went into the
 * gateways. A report that comes in between looks like a fault: what is off is
 * asked again. */
#include "ctl/ledger.h"
#include "ctl/lookup.h"
#include "ctl/run.h"
#include "ctl/survey.h"
#include "ctl/text.h"
#include "ctl/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum {
    HOUR_S = 3600,
    DAY_S = 24 * HOUR_S,
    TRIES = 4,
    TRY_EVERY_S = 1,
    PATH_SIZE = 280,
    PAGE_SIZE = 10000,
};

/* Where two tiers are compared: over whole buckets of the coarser. */
struct window {
    const char *fine, *coarse;
    uint64_t step_s;
    uint64_t from_s, to_s; /* from = to: there is none */
};
enum { WINDOW_COUNT = 2 };

struct check {
    struct ctl *ctl;
    struct survey survey;             /* of all endpoints: who is there */
    const char *nodes[ENDPOINTS_MAX]; /* those that are; borrowed from ctl */
    size_t node_count;
    json_t *locations; /* owned */
    struct window windows[WINDOW_COUNT];
    json_t *findings;                  /* owned */
    uint64_t index_min, index_max;     /* of all answers */
    size_t rows;                       /* compared at the first node */
    struct ledger first[WINDOW_COUNT]; /* of the first node; coarse tiers */
};

/* --- asking one node ------------------------------------------------------ */

static int ask(struct check *c, const char *endpoint, const char *path,
               json_t **out, struct errmsg *e)
{
    struct question q = {.endpoint = endpoint, .method = "GET", .path = path};
    uint64_t index;
    client_ask(&c->ctl->client, &q, 1);
    int rv = question_ok(&q) ? 0 : question_fail(&q, e);
    if (rv == 0 && q.json == NULL)
        rv =
            errmsg_set(e, ERR_CORRUPT, "%s answers, but not in JSON", endpoint);
    if (rv == 0 && view_uint(q.json, "applied_index", &index)) {
        if (c->index_min == 0 || index < c->index_min)
            c->index_min = index;
        if (index > c->index_max)
            c->index_max = index;
    }
    *out = rv == 0 ? json_incref(q.json) : NULL;
    question_deinit(&q);
    return rv;
}

struct source {
    const char *endpoint, *tier;
    const struct window *window;
    const json_t *location;
};

static uint64_t id_of(const json_t *row)
{
    uint64_t id = 0;
    (void)view_uint(row, "id", &id);
    return id;
}

/* One page of sums; @gateway 0: of all. */
static int ask_sums(struct check *c, const struct source *s, const char *by,
                    uint64_t gateway, uint64_t after, json_t **out,
                    struct errmsg *e)
{
    char path[PATH_SIZE], filter[40] = "";
    if (gateway != 0)
        snprintf(filter, sizeof filter, "&gateway=%" PRIu64, gateway);
    snprintf(path, sizeof path,
             "/api/v1/overview?location=%" PRIu64 "&by=%s&points=0"
             "&resolution=%s&from=%" PRIu64 "&to=%" PRIu64 "&limit=%d"
             "&after=%" PRIu64 "%s&at_least=%" PRIu64,
             id_of(s->location), by, s->tier, s->window->from_s,
             s->window->to_s, PAGE_SIZE, after, filter, c->index_max);
    return ask(c, s->endpoint, path, out, e);
}

static int add_series(struct ledger *l, const struct source *s,
                      const json_t *series, const json_t *gateway,
                      bool of_device, struct errmsg *e)
{
    struct ledger_key key = {id_of(s->location), 0, 0};
    uint64_t upload = 0, download = 0;
    if (gateway != NULL)
        key.gateway = id_of(gateway);
    if (of_device)
        key.device = id_of(series);
    (void)view_uint(series, "upload", &upload);
    (void)view_uint(series, "download", &download);
    return ledger_add(l, key, view_text(s->location, "name"),
                      gateway != NULL ? view_text(gateway, "key") : NULL,
                      of_device ? view_text(series, "key") : NULL, upload,
                      download, e);
}

/* All pages of the devices that a gateway saw. */
static int add_devices(struct check *c, const struct source *s,
                       const json_t *gateway, struct ledger *l,
                       struct errmsg *e)
{
    uint64_t after = 0;
    bool more = true;
    int rv = 0;
    while (rv == 0 && more) {
        json_t *page = NULL, *series;
        size_t i;
        rv = ask_sums(c, s, "device", id_of(gateway), after, &page, e);
        json_array_foreach(json_object_get(page, "series"), i, series)
        {
            if (rv == 0)
                rv = add_series(l, s, series, gateway, true, e);
        }
        more = view_uint(page, "next", &after);
        json_decref(page);
    }
    return rv;
}

static int add_location(struct check *c, const struct source *s,
                        struct ledger *l, struct errmsg *e)
{
    json_t *total = NULL, *gateways = NULL, *gateway;
    size_t i;
    int rv = ask_sums(c, s, "none", 0, 0, &total, e);
    if (rv == 0)
        rv = add_series(l, s,
                        json_array_get(json_object_get(total, "series"), 0),
                        NULL, false, e);
    if (rv == 0)
        rv = ask_sums(c, s, "gateway", 0, 0, &gateways, e);
    json_array_foreach(json_object_get(gateways, "series"), i, gateway)
    {
        if (rv == 0)
            rv = add_series(l, s, gateway, gateway, false, e);
        if (rv == 0)
            rv = add_devices(c, s, gateway, l, e);
    }
    json_decref(total);
    json_decref(gateways);
    return rv;
}

static int collect(struct check *c, const char *endpoint, const char *tier,
                   const struct window *w, struct ledger *out, struct errmsg *e)
{
    size_t i;
    json_t *location;
    int rv = ledger_init(out, e);
    json_array_foreach(c->locations, i, location)
    {
        struct source s = {endpoint, tier, w, location};
        if (rv == 0)
            rv = add_location(c, &s, out, e);
    }
    return rv;
}

/* --- what must be equal --------------------------------------------------- */

/* Within one tier of one node. */
static int check_sums(struct check *c, const struct ledger *l,
                      const char *endpoint, const char *tier, struct errmsg *e)
{
    struct ledger sums = {0}, totals = {0};
    char name[64];
    snprintf(name, sizeof name, "total and parts, by %s", tier);
    int rv = ledger_sum_up(l, &sums, e);
    if (rv == 0)
        rv = ledger_totals(l, &totals, e);
    if (rv == 0)
        rv = ledger_compare(&totals, &sums, name, endpoint, c->findings, e);
    ledger_deinit(&sums);
    ledger_deinit(&totals);
    return rv;
}

static int check_window(struct check *c, const char *endpoint, size_t i,
                        struct errmsg *e)
{
    const struct window *w = &c->windows[i];
    struct ledger fine = {0}, coarse = {0};
    char name[64];
    snprintf(name, sizeof name, "%ss and %ss", w->fine, w->coarse);
    int rv = collect(c, endpoint, w->fine, w, &fine, e);
    if (rv == 0)
        rv = collect(c, endpoint, w->coarse, w, &coarse, e);
    if (rv == 0)
        rv = check_sums(c, &fine, endpoint, w->fine, e);
    if (rv == 0)
        rv = check_sums(c, &coarse, endpoint, w->coarse, e);
    if (rv == 0)
        rv = ledger_compare(&fine, &coarse, name, endpoint, c->findings, e);
    if (rv == 0 && c->first[i].rows != NULL) {
        rv =
            ledger_compare(&coarse, &c->first[i], "the first node and this one",
                           endpoint, c->findings, e);
    } else if (rv == 0) {
        c->rows += json_object_size(coarse.rows);
        c->first[i] = coarse;
        coarse.rows = NULL;
    }
    ledger_deinit(&fine);
    ledger_deinit(&coarse);
    return rv;
}

/* The devices of the ledger alone: a file has no totals. */
static int devices_of(const struct ledger *l, struct ledger *out,
                      struct errmsg *e)
{
    const char *text;
    json_t *row;
    int rv = ledger_init(out, e);
    json_object_foreach(l->rows, text, row)
    {
        uint64_t device = 0;
        (void)view_uint(row, "device_id", &device);
        if (device != 0 && json_object_set(out->rows, text, row) != 0)
            rv = errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    return rv;
}

/* The coarsest tier that the range fits has the most history. */
static int check_file(struct check *c, const char *path, struct errmsg *e)
{
    size_t i = WINDOW_COUNT - 1;
    struct ledger devices = {0}, file = {0};
    while (i > 0 && c->first[i].rows == NULL)
        i--;
    int rv = devices_of(&c->first[i], &devices, e);
    if (rv == 0)
        rv = ledger_read(path, &devices, &file, e);
    if (rv == 0)
        rv = ledger_compare(&devices, &file, "cluster and file", c->nodes[0],
                            c->findings, e);
    ledger_deinit(&devices);
    ledger_deinit(&file);
    return rv;
}

/* --- the windows ---------------------------------------------------------- */

static uint64_t up_to(uint64_t s, uint64_t step)
{
    return (s + step - 1) / step * step;
}

/* What has expired in a tier, and the buckets that go while we look. */
static int kept_from(struct check *c, const char *tier, uint64_t *out,
                     struct errmsg *e)
{
    char path[PATH_SIZE];
    json_t *answer = NULL;
    snprintf(path, sizeof path, "/api/v1/overview?resolution=%s&points=0",
             tier);
    int rv = ask(c, c->nodes[0], path, &answer, e);
    *out = 0;
    (void)view_uint(answer, "kept_from", out);
    json_decref(answer);
    return rv;
}

static int take_time(const struct ctl *c, enum flag_id flag, uint64_t *out,
                     struct errmsg *e)
{
    if (!ctl_has(c, flag))
        return 0;
    if (time_text_parse(c->values[flag], out))
        return 0;
    return errmsg_set(e, ERR_INVALID,
                      "--%s %s: Unix seconds or 2026-11-22T12:00:00Z is wanted",
                      flags[flag].name, c->values[flag]);
}

/* Nothing that differs, where nothing was compared, is no proof. */
static int want_buckets(const struct check *c, struct errmsg *e)
{
    for (size_t i = 0; i < WINDOW_COUNT; i++)
        if (c->windows[i].from_s < c->windows[i].to_s)
            return 0;
    return errmsg_set(e, ERR_NOTFOUND,
                      "nothing was compared: no whole hour that has begun, and "
                      "that both tiers still have, is between --from and --to");
}

static int find_windows(struct check *c, struct errmsg *e)
{
    static const struct window tiers[WINDOW_COUNT] = {
        {.fine = "minute", .coarse = "hour", .step_s = HOUR_S},
        {.fine = "hour", .coarse = "day", .step_s = DAY_S},
    };
    uint64_t now_s = (uint64_t)time(NULL);
    uint64_t from_s = 0, to_s = up_to(now_s + 1, DAY_S);
    int rv = take_time(c->ctl, FLAG_FROM, &from_s, e);
    if (rv == 0)
        rv = take_time(c->ctl, FLAG_TO, &to_s, e);
    for (size_t i = 0; i < WINDOW_COUNT && rv == 0; i++) {
        struct window *w = &c->windows[i];
        uint64_t fine_s = 0, coarse_s = 0;
        *w = tiers[i];
        rv = kept_from(c, w->fine, &fine_s, e);
        if (rv == 0)
            rv = kept_from(c, w->coarse, &coarse_s, e);
        if (fine_s > 0)
            fine_s += HOUR_S;
        w->from_s = from_s > fine_s ? from_s : fine_s;
        w->from_s =
            up_to(w->from_s > coarse_s ? w->from_s : coarse_s, w->step_s);
        w->to_s = to_s / w->step_s * w->step_s;
        /* A node refuses what is yet to come. */
        if (w->to_s < w->from_s || w->from_s > now_s)
            w->to_s = w->from_s;
    }
    return rv == 0 ? want_buckets(c, e) : rv;
}

/* --- one try -------------------------------------------------------------- */

static void forget(struct check *c)
{
    for (size_t i = 0; i < WINDOW_COUNT; i++)
        ledger_deinit(&c->first[i]);
    json_array_clear(c->findings);
    c->index_min = 0;
    c->rows = 0;
}

static int check_all(struct check *c, struct errmsg *e)
{
    int rv = 0;
    for (size_t n = 0; n < c->node_count; n++)
        for (size_t i = 0; i < WINDOW_COUNT && rv == 0; i++)
            if (c->windows[i].from_s < c->windows[i].to_s)
                rv = check_window(c, c->nodes[n], i, e);
    if (rv == 0 && ctl_has(c->ctl, FLAG_EXPECT))
        rv = check_file(c, c->ctl->values[FLAG_EXPECT], e);
    return rv;
}

/* As long as something is off, and reports went on coming in. */
static int check_until_calm(struct check *c, struct errmsg *e)
{
    int rv = 0;
    for (unsigned i = 0; i < TRIES && rv == 0; i++) {
        if (i > 0)
            nanosleep(&(struct timespec){TRY_EVERY_S, 0}, NULL);
        forget(c);
        rv = find_windows(c, e);
        if (rv == 0)
            rv = check_all(c, e);
        if (json_array_size(c->findings) == 0 || c->index_min == c->index_max)
            break;
    }
    return rv;
}

/* Who does not answer is told of, and the others are compared. */
static int find_nodes(struct check *c, struct errmsg *e)
{
    struct survey *s = &c->survey;
    int rv = survey_find_members(c->ctl, s, e);
    if (rv != 0)
        return rv;
    survey_ask(c->ctl, s, "GET", "/api/v1/network");
    for (size_t i = 0; i < s->count; i++)
        if (question_ok(&s->questions[i]))
            c->nodes[c->node_count++] = s->questions[i].endpoint;
    return c->node_count > 0 ? 0 : question_fail(&s->questions[0], e);
}

static int find_locations(struct check *c, struct errmsg *e)
{
    json_t *all = NULL, *one = NULL;
    const char *wanted = c->ctl->values[FLAG_LOCATION];
    if (wanted == NULL)
        return client_get(&c->ctl->client, "/api/v1/network", &c->locations,
                          NULL, e);
    int rv =
        lookup(c->ctl, "/api/v1/network", wanted, NULL, "location", &one, e);
    if (rv == 0) {
        all = json_pack("[o]", one);
        rv = all != NULL ? 0 : errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    c->locations = all;
    return rv;
}

/* --- the verdict ---------------------------------------------------------- */

static void put_pair(struct grid *t, const json_t *row, const char *have,
                     const char *want)
{
    grid_put_member(t, row, have);
    grid_put_member(t, row, want);
}

static int print_findings(const struct check *c, struct errmsg *e)
{
    static const struct column columns[] = {
        {"OFF", NULL, false},       {"NODE", NULL, false},
        {"LOCATION", NULL, false},  {"GATEWAY", NULL, false},
        {"DEVICE", NULL, false},    {"UPLOAD", "UP", true},
        {"SHOULD BE", "NOT", true}, {"DOWNLOAD", "DOWN", true},
        {"SHOULD BE", "NOT", true},
    };
    struct grid t;
    size_t i;
    json_t *row;
    grid_init(&t, columns, sizeof columns / sizeof *columns);
    json_array_foreach(c->findings, i, row)
    {
        grid_put_member(&t, row, "check");
        grid_put_member(&t, row, "node");
        grid_put_member(&t, row, "location");
        grid_put_member(&t, row, "gateway");
        grid_put_member(&t, row, "device");
        put_pair(&t, row, "upload", "wanted_upload");
        put_pair(&t, row, "download", "wanted_download");
    }
    int rv = grid_print(&t, stdout, e);
    grid_deinit(&t);
    return rv;
}

static bool all_asked(const struct check *c)
{
    return c->node_count == c->survey.count &&
           json_array_size(c->survey.unasked) == 0;
}

static int print_json(const struct check *c, struct errmsg *e)
{
    size_t off = json_array_size(c->findings);
    json_t *failed = json_array();
    for (size_t i = 0; i < c->survey.count; i++) {
        const struct question *q = &c->survey.questions[i];
        if (!question_ok(q))
            json_array_append_new(failed,
                                  json_pack("{s:s,s:s}", "endpoint",
                                            q->endpoint, "error", q->error));
    }
    return ctl_print_json(
        json_pack("{s:b,s:I,s:I,s:I,s:o,s:I,s:I,s:O}", "exact",
                  off == 0 && all_asked(c), "rows", (json_int_t)c->rows,
                  "nodes", (json_int_t)c->node_count, "unasked",
                  (json_int_t)json_array_size(c->survey.unasked), "failed",
                  failed, "applied_from", (json_int_t)c->index_min,
                  "applied_to", (json_int_t)c->index_max, "off", c->findings),
        e);
}

static void print_missing(const struct check *c)
{
    size_t i;
    json_t *name;
    if (all_asked(c))
        return;
    puts("Not all could be asked:");
    for (i = 0; i < c->survey.count; i++) {
        const struct question *q = &c->survey.questions[i];
        if (question_ok(q))
            continue;
        printf("  %s: ", q->endpoint);
        text_put(stdout, q->error);
        putchar('\n');
    }
    json_array_foreach(c->survey.unasked, i, name)
    {
        fputs("  ", stdout);
        text_put(stdout, json_string_value(name));
        puts(": list its HTTP address in --endpoints");
    }
}

static int print(const struct check *c, struct errmsg *e)
{
    size_t off = json_array_size(c->findings);
    int rv = 0;
    if (c->ctl->output == OUTPUT_JSON)
        return print_json(c, e);
    if (off > 0) {
        rv = print_findings(c, e);
        printf("\n%zu sums are off%s\n", off,
               c->index_min == c->index_max
                   ? ": keep all data directories as they are, and report it."
                   : "; but reports came in meanwhile: ask again with a --to "
                     "that is some minutes past.");
    } else {
        printf("exact: %zu sums of devices, gateways and locations, on %zu "
               "node%s, at log index %" PRIu64 "\n",
               c->rows, c->node_count, c->node_count == 1 ? "" : "s",
               c->index_max);
    }
    print_missing(c);
    return rv;
}

int run_check_totals(struct ctl *ctl, struct errmsg *e)
{
    struct check c = {.ctl = ctl, .findings = json_array()};
    int rv = find_nodes(&c, e);
    if (rv == 0)
        rv = find_locations(&c, e);
    if (rv == 0)
        rv = check_until_calm(&c, e);
    if (rv == 0)
        rv = print(&c, e);
    if (rv == 0 && (json_array_size(c.findings) > 0 || !all_asked(&c)))
        rv = CTL_FAILED;
    forget(&c);
    json_decref(c.findings);
    json_decref(c.locations);
    survey_deinit(&c.survey);
    return rv;
}
