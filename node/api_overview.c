/* GET /api/v1/overview: sums and series from this replica's buckets. CONTRACT,
 * "HTTP"; the reading itself is store/query.h. See api.h. */
#include "node/api.h"

#include "node/api_range.h"
#include "node/user_map.h"
#include "node/wg_text.h"

#include <stdio.h>
#include <stdlib.h>

enum { POINTS_MAX = 2 * 1000 * 1000 }; /* of one answer, some 100 MB of JSON */

enum overview_by {
    OVERVIEW_NONE,
    OVERVIEW_GATEWAY,
    OVERVIEW_USER,
    OVERVIEW_DEVICE
};

struct overview {
    struct query query;
    enum overview_by by;
    uint32_t *devices;     /* owned: what query.devices borrows */
    struct user_map users; /* by=user */
};

static void overview_deinit(struct overview *v)
{
    free(v->devices);
    user_map_deinit(&v->users);
}

/* --- the question --------------------------------------------------------- */

static int refuse(struct http_request *rq, const char *message)
{
    http_error(rq, 400, "invalid", "%s", message);
    return ERR_INVALID;
}

static int read_location(struct http_request *rq, struct overview *v)
{
    return api_read_location(rq, &v->query.location);
}

static int read_by(struct http_request *rq, struct overview *v)
{
    static const struct {
        const char *name;
        enum overview_by by;
        enum query_by query;
    } kinds[] = {
        {"none", OVERVIEW_NONE, BY_NONE},
        {"gateway", OVERVIEW_GATEWAY, BY_GATEWAY},
        {"user", OVERVIEW_USER, BY_GROUP},
        {"device", OVERVIEW_DEVICE, BY_DEVICE},
    };
    const char *text = http_param(rq, "by");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(text != NULL ? text : "none", kinds[i].name) != 0)
            continue;
        v->by = kinds[i].by;
        v->query.by = kinds[i].query;
        return 0;
    }
    return refuse(rq, "by: must be none, gateway, user or device");
}

static int read_range(struct http_request *rq, struct overview *v)
{
    struct api_range range;
    int rv = api_read_range(rq, &range);
    if (rv != 0)
        return rv;
    v->query.from_s = range.from_s;
    v->query.to_s = range.to_s;
    v->query.resolution = range.resolution;
    return 0;
}

static int read_page(struct http_request *rq, struct overview *v)
{
    const char *limit = http_param(rq, "limit"),
               *after = http_param(rq, "after");
    uint64_t count = 0, skipped = 0;
    if (limit != NULL &&
        (uint_parse(limit, QUERY_SERIES_MAX, &count) != 0 || count == 0))
        return refuse(rq, "limit: must be a number from 1 to 10000");
    if (after != NULL && uint_parse(after, UINT32_MAX, &skipped) != 0)
        return refuse(rq, "after: must be what next said");
    const char *points = http_param(rq, "points");
    if (points != NULL && strcmp(points, "0") != 0 && strcmp(points, "1") != 0)
        return refuse(rq, "points: must be 1, or 0 for totals only");
    v->query.sums_only = points != NULL && points[0] == '0';
    /* The rest is the next page's, as next says. */
    uint64_t most = QUERY_SERIES_MAX;
    uint64_t buckets =
        (v->query.to_s - v->query.from_s) / (uint64_t)v->query.resolution;
    if (!v->query.sums_only && most > POINTS_MAX / buckets)
        most = POINTS_MAX / buckets > 0 ? POINTS_MAX / buckets : 1;
    v->query.limit = (uint32_t)(count == 0 || count > most ? most : count);
    v->query.after = (uint32_t)skipped;
    return 0;
}

/* --- filters -------------------------------------------------------------- */

static bool is_in_question(const struct gateway *g, const struct overview *v)
{
    return v->query.location == 0 || g->location == v->query.location;
}

/* A forgotten one too: by=gateway tells of it, and nobody knows any more where
 * it was. Returns how many there are. */
static size_t find_gateway(const struct roster *r, uint32_t id,
                           struct overview *v)
{
    const struct gateway *g = roster_gateway(r, id);
    v->query.gateway = id;
    return g != NULL ? is_in_question(g, v) : roster_gave_gateway(r, id);
}

static size_t find_hostname(const struct roster *r, const char *hostname,
                            struct overview *v)
{
    size_t found = 0;
    for (const struct gateway *g = roster_next_gateway(r, 0); g != NULL;
         g = roster_next_gateway(r, g->id)) {
        if (strcmp(g->hostname, hostname) != 0 || !is_in_question(g, v))
            continue;
        v->query.gateway = g->id;
        found++;
    }
    return found;
}

/* gateway=: an id, or a hostname that one gateway of the location has. */
static int read_gateway(struct http_request *rq, struct overview *v)
{
    const char *text = http_param(rq, "gateway");
    uint64_t id = 0;
    if (text == NULL)
        return 0;
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    size_t found = uint_parse(text, UINT32_MAX, &id) == 0
                       ? find_gateway(r, (uint32_t)id, v)
                       : find_hostname(r, text, v);
    roster_read_unlock(r);
    if (found == 1)
        return 0;
    if (found > 1)
        return refuse(rq, "gateway: several have this hostname: give the id");
    http_error(rq, 404, "not_found", "gateway: not found");
    return ERR_NOTFOUND;
}

/* device=: a public key, or an id: a deleted one has no key any more. */
static int read_device(struct http_request *rq, struct overview *v)
{
    const char *text = http_param(rq, "device");
    uint8_t key[PUBLIC_KEY_SIZE];
    uint64_t id = 0;
    bool by_id = uint_parse(text, UINT32_MAX, &id) == 0;
    if (!by_id && key_parse(text, key) != 0)
        return refuse(rq, "device: must be a public key, base64 of 32 bytes, "
                          "or an id");
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    if (!by_id)
        v->devices[0] = roster_device_by_key(r, key);
    else if (roster_gave_device(r, (uint32_t)id))
        v->devices[0] = (uint32_t)id;
    roster_read_unlock(r);
    v->query.device_count = v->devices[0] != 0;
    return 0;
}

/* The devices of a user, in the order of their ids. */
static int read_user(struct http_request *rq, struct overview *v)
{
    const char *user = http_param(rq, "user");
    struct roster *r = store_roster(rq->node->store);
    size_t capacity = 1;
    int rv = 0;
    roster_read_lock(r);
    for (const struct device *d = roster_next_device(r, 0);
         d != NULL && rv == 0; d = roster_next_device(r, d->id)) {
        if (d->kind != DEVICE_USER || strcmp(d->user, user) != 0)
            continue;
        if (v->query.device_count == capacity) {
            capacity *= 2;
            uint32_t *more = realloc(v->devices, capacity * sizeof *more);
            if (more == NULL) {
                rv = ERR_NOMEM;
                break;
            }
            v->devices = more;
        }
        v->devices[v->query.device_count++] = d->id;
    }
    roster_read_unlock(r);
    if (rv != 0)
        http_error(rq, 503, "overload", "out of memory");
    return rv;
}

/* device= or user=: which devices' bytes are asked for. */
static int read_devices(struct http_request *rq, struct overview *v)
{
    bool by_key = http_param(rq, "device") != NULL;
    bool by_user = http_param(rq, "user") != NULL;
    if (!by_key && !by_user)
        return 0;
    if (by_key && by_user)
        return refuse(rq, "device, user: only one of them");
    v->devices = calloc(1, sizeof *v->devices);
    if (v->devices == NULL) {
        http_error(rq, 503, "overload", "out of memory");
        return ERR_NOMEM;
    }
    int rv = by_key ? read_device(rq, v) : read_user(rq, v);
    v->query.devices = v->devices;
    if (rv == 0 && v->query.device_count == 0) {
        http_error(rq, 404, "not_found",
                   by_key ? "device: not found" : "user: has no devices");
        rv = ERR_NOTFOUND;
    }
    return rv;
}

/* On failure the answer is written. */
static int read_question(struct http_request *rq, struct overview *v)
{
    int (*const parts[])(struct http_request *, struct overview *) = {
        read_location, read_range,   read_by,
        read_page,     read_gateway, read_devices,
    };
    int rv = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && rv == 0; i++)
        rv = parts[i](rq, v);
    return rv;
}

/* --- the answer ----------------------------------------------------------- */

static void out_series(struct json_out *o, const struct overview *v,
                       const char *key, const char *name,
                       const struct series *s, const struct answer *a)
{
    out_object(o);
    out_member(o, "key", key);
    out_member(o, "name", name);
    if (v->by == OVERVIEW_GATEWAY || v->by == OVERVIEW_DEVICE)
        out_member_uint(o, "id", s->id);
    out_member_uint(o, "upload", s->upload);
    out_member_uint(o, "download", s->download);
    out_key(o, "points");
    out_array(o);
    for (size_t i = 0; i < a->bucket_count; i++) {
        const struct point *p = &s->points[i];
        if (!p->observed) {
            out_null(o);
            continue;
        }
        out_object(o);
        out_member_uint(o, "t", a->from_s + i * (uint64_t)v->query.resolution);
        out_member_uint(o, "upload", p->upload);
        out_member_uint(o, "download", p->download);
        out_object_end(o);
    }
    out_array_end(o);
    out_object_end(o);
}

static const char *either(const char *first, const char *second)
{
    return first[0] != '\0' ? first : second;
}

static void out_named_series(struct http_request *rq, const struct overview *v,
                             const struct series *s, const struct answer *a)
{
    struct roster *r = store_roster(rq->node->store);
    char id[KEY_TEXT_SIZE], name[256];
    snprintf(id, sizeof id, "%u", s->id);
    snprintf(name, sizeof name, "%s", id);
    roster_read_lock(r);
    const struct location *l =
        v->by == OVERVIEW_NONE ? roster_location(r, s->id) : NULL;
    const struct gateway *g =
        v->by == OVERVIEW_GATEWAY ? roster_gateway(r, s->id) : NULL;
    const struct device *d =
        v->by == OVERVIEW_DEVICE ? roster_device(r, s->id) : NULL;
    char hostname[256] = "";
    if (l != NULL)
        snprintf(name, sizeof name, "%s", l->name);
    if (g != NULL) {
        snprintf(hostname, sizeof hostname, "%s", g->hostname);
        snprintf(name, sizeof name, "%s", either(g->name, g->hostname));
    }
    if (d != NULL) {
        key_format(d->public_key, id);
        snprintf(name, sizeof name, "%s", either(d->name, id));
    }
    roster_read_unlock(r);
    if (v->by == OVERVIEW_NONE && s->id == 0) {
        snprintf(id, sizeof id, "all");
        snprintf(name, sizeof name, "all locations");
    }
    out_series(&rq->json, v, hostname[0] != '\0' ? hostname : id, name, s, a);
}

static void out_user_series(struct http_request *rq, const struct overview *v,
                            const struct series *s, const struct answer *a)
{
    const char *user = v->users.names[s->id];
    out_series(&rq->json, v, user, either(user, "(no user)"), s, a);
}

static void out_all_series(struct http_request *rq, const struct overview *v,
                           const struct answer *a)
{
    uint64_t next = (uint64_t)v->query.after + a->series_count;
    out_key(&rq->json, "series");
    out_array(&rq->json);
    for (size_t i = 0; i < a->series_count; i++) {
        if (v->by == OVERVIEW_USER)
            out_user_series(rq, v, &a->series[i], a);
        else
            out_named_series(rq, v, &a->series[i], a);
    }
    out_array_end(&rq->json);
    out_member_uint(&rq->json, "series_total", a->series_total);
    out_key(&rq->json, "next");
    if (next < a->series_total)
        out_uint(&rq->json, next);
    else
        out_null(&rq->json);
}

static void answer_overview(struct http_request *rq, const struct overview *v,
                            const struct answer *a)
{
    struct repl_status status;
    struct json_out *o = &rq->json;
    repl_status(rq->node->repl, &status);
    out_object(o);
    out_member_uint(o, "from", a->from_s);
    out_member_uint(o, "to", v->query.to_s);
    out_member(o, "resolution", api_resolution_text(v->query.resolution));
    out_member_uint(o, "kept_from", a->kept_from_s);
    out_member_uint(o, "applied_index", a->applied_index);
    out_member_uint(o, "age_ms", http_age_ms(rq->node, &status));
    out_all_series(rq, v, a);
    out_object_end(o);
    http_answer(rq, 200);
}

static int run_query(struct http_request *rq, struct overview *v,
                     struct answer *a, struct errmsg *e)
{
    int rv = 0;
    if (v->by == OVERVIEW_USER) {
        rv = user_map_init(&v->users, store_roster(rq->node->store));
        v->query.group = user_map_get;
        v->query.group_arg = &v->users;
    }
    if (rv == 0)
        rv = query_run(rq->node->store, &v->query, a, e);
    return rv == 0 && v->users.failed ? ERR_NOMEM : rv;
}

void api_overview(struct http_request *rq)
{
    struct overview v = {.by = OVERVIEW_NONE};
    struct answer a = {0};
    struct errmsg e = {0};
    if (read_question(rq, &v) == 0) {
        int rv = run_query(rq, &v, &a, &e);
        if (rv == 0)
            answer_overview(rq, &v, &a);
        else
            http_error_of(rq, rv, &e);
    }
    overview_deinit(&v);
    answer_deinit(&a);
}
