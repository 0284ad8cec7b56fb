/* GET /api/v1/overview: sums and series from this replica's buckets. CONTRACT,
 * "HTTP"; the reading itself is store/query.h. See api.h. */
#include "node/api.h"

#include "node/wg_text.h"
#include "store/query.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DEFAULT_RANGE_S = 3600,
    POINTS_MAX = 2 * 1000 * 1000, /* of one answer, some 100 MB of JSON */
};

enum overview_by {
    OVERVIEW_NONE,
    OVERVIEW_GATEWAY,
    OVERVIEW_USER,
    OVERVIEW_DEVICE
};

struct overview {
    struct query query;
    enum overview_by by;
    uint64_t limit, after;
    bool totals_only; /* points=0 */
};

/* --- the question --------------------------------------------------------- */

static int refuse(struct http_request *rq, const char *message)
{
    http_error(rq, 400, "invalid", "%s", message);
    return ERR_INVALID;
}

static int read_location(struct http_request *rq, struct overview *v)
{
    const char *text = http_param(rq, "location");
    uint64_t id;
    if (text == NULL || strcmp(text, "all") == 0)
        return 0;
    if (uint_parse(text, UINT32_MAX, &id) != 0 || id == 0)
        return refuse(rq, "location: must be all or an id");
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    bool there = roster_location(r, (uint32_t)id) != NULL;
    roster_read_unlock(r);
    if (!there) {
        http_error(rq, 404, "not_found", "location: not found");
        return ERR_NOTFOUND;
    }
    v->query.location = (uint32_t)id;
    return 0;
}

/* [from, to) in whole buckets: from goes down to its bucket's start, to up to
 * its bucket's end. By default the hour that ends with the running minute. */
static int read_range(struct http_request *rq, struct overview *v)
{
    const char *from = http_param(rq, "from"), *to = http_param(rq, "to");
    uint64_t now_ms = node_now_ms(rq->node), from_ms = 0, to_ms = now_ms;
    const uint64_t step = BY_MINUTE;
    if (to != NULL && time_parse(to, &to_ms) != 0)
        return refuse(rq, "to: must be an RFC 3339 time or Unix seconds");
    v->query.to_s =
        (to_ms / 1000 + (to_ms % 1000 != 0) + step - 1) / step * step;
    if (from == NULL) {
        v->query.from_s = v->query.to_s > DEFAULT_RANGE_S
                              ? v->query.to_s - DEFAULT_RANGE_S
                              : 0;
    } else {
        if (time_parse(from, &from_ms) != 0)
            return refuse(rq, "from: must be an RFC 3339 time or Unix seconds");
        if (from_ms > now_ms + step * 1000)
            return refuse(rq, "from: is in the future");
        v->query.from_s = from_ms / 1000 / step * step;
    }
    if (v->query.from_s >= v->query.to_s)
        return refuse(rq, "from: must be before to");
    if ((v->query.to_s - v->query.from_s) / step > QUERY_BUCKETS_MAX)
        return refuse(rq, "from: more than 11000 buckets up to to");
    return 0;
}

static int read_resolution(struct http_request *rq, struct overview *v)
{
    const char *text = http_param(rq, "resolution");
    v->query.resolution = BY_MINUTE;
    if (text == NULL || strcmp(text, "auto") == 0 ||
        strcmp(text, "minute") == 0)
        return 0;
    if (strcmp(text, "hour") == 0 || strcmp(text, "day") == 0)
        return refuse(rq, "resolution: hours and days are not stored yet");
    return refuse(rq, "resolution: must be auto, minute, hour or day");
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
        {"user", OVERVIEW_USER, BY_DEVICE},
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

static int read_page(struct http_request *rq, struct overview *v)
{
    const char *limit = http_param(rq, "limit"),
               *after = http_param(rq, "after");
    if (limit != NULL &&
        (uint_parse(limit, QUERY_SERIES_MAX, &v->limit) != 0 || v->limit == 0))
        return refuse(rq, "limit: must be a number from 1 to 10000");
    if (after != NULL && uint_parse(after, UINT32_MAX, &v->after) != 0)
        return refuse(rq, "after: must be what next said");
    const char *points = http_param(rq, "points");
    if (points != NULL && strcmp(points, "0") != 0 && strcmp(points, "1") != 0)
        return refuse(rq, "points: must be 1, or 0 for totals only");
    v->totals_only = points != NULL && points[0] == '0';
    /* The rest is the next page's, as next says. */
    uint64_t buckets = (v->query.to_s - v->query.from_s) / BY_MINUTE;
    uint64_t most = POINTS_MAX / buckets;
    if (v->limit == 0 || v->limit > most)
        v->limit = most;
    return 0;
}

/* --- by=user: the devices of each, added up ------------------------------- */

struct user_series {
    char *user;        /* owned; "" for devices of nobody */
    struct series sum; /* points owned */
};

struct user_sums {
    struct user_series *users; /* owned */
    size_t count;
};

static void user_sums_deinit(struct user_sums *u)
{
    for (size_t i = 0; i < u->count; i++) {
        free(u->users[i].user);
        free(u->users[i].sum.points);
    }
    free(u->users);
}

static int compare_users(const void *a, const void *b)
{
    return strcmp(((const struct user_series *)a)->user,
                  ((const struct user_series *)b)->user);
}

static int compare_sums(const void *a, const void *b)
{
    const struct series *x = &((const struct user_series *)a)->sum;
    const struct series *y = &((const struct user_series *)b)->sum;
    uint64_t total_x = x->upload + x->download;
    uint64_t total_y = y->upload + y->download;
    if (total_x != total_y)
        return total_x > total_y ? -1 : 1;
    return compare_users(a, b);
}

static char *user_of(struct roster *r, uint32_t device)
{
    roster_read_lock(r);
    const struct device *d = roster_device(r, device);
    char *user = strdup(d != NULL ? d->user : "");
    roster_read_unlock(r);
    return user;
}

static void add_series(struct series *sum, const struct series *s,
                       size_t bucket_count)
{
    sum->upload += s->upload;
    sum->download += s->download;
    for (size_t i = 0; i < bucket_count; i++) {
        sum->points[i].upload += s->points[i].upload;
        sum->points[i].download += s->points[i].download;
        sum->points[i].observed |= s->points[i].observed;
    }
}

/* Takes the points of the answer over; neighbours of one user melt. */
static int sum_users(struct roster *r, struct answer *a, struct user_sums *out)
{
    *out = (struct user_sums){0};
    if (a->series_count == 0)
        return 0;
    out->users = calloc(a->series_count, sizeof *out->users);
    if (out->users == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < a->series_count; i++) {
        struct user_series *u = &out->users[out->count];
        u->user = user_of(r, a->series[i].id);
        if (u->user == NULL)
            return ERR_NOMEM;
        u->sum = a->series[i];
        a->series[i].points = NULL;
        out->count++;
    }
    qsort(out->users, out->count, sizeof *out->users, compare_users);
    size_t kept = 1;
    for (size_t i = 1; i < out->count; i++) {
        struct user_series *last = &out->users[kept - 1];
        if (strcmp(last->user, out->users[i].user) != 0) {
            out->users[kept++] = out->users[i];
            continue;
        }
        add_series(&last->sum, &out->users[i].sum, a->bucket_count);
        free(out->users[i].user);
        free(out->users[i].sum.points);
    }
    out->count = kept;
    qsort(out->users, out->count, sizeof *out->users, compare_sums);
    return 0;
}

/* --- the answer ----------------------------------------------------------- */

static void out_series(struct json_out *o, const struct overview *v,
                       const char *key, const char *name,
                       const struct series *s, const struct answer *a)
{
    out_object(o);
    out_member(o, "key", key);
    out_member(o, "name", name);
    out_member_uint(o, "upload", s->upload);
    out_member_uint(o, "download", s->download);
    out_key(o, "points");
    out_array(o);
    for (size_t i = 0; i < a->bucket_count && !v->totals_only; i++) {
        const struct point *p = &s->points[i];
        if (!p->observed) {
            out_null(o);
            continue;
        }
        out_object(o);
        out_member_uint(o, "t", a->from_s + i * BY_MINUTE);
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

static void out_all_series(struct http_request *rq, const struct overview *v,
                           const struct answer *a,
                           const struct user_sums *users)
{
    uint64_t total = a->series_total, shown = 0;
    out_key(&rq->json, "series");
    out_array(&rq->json);
    if (v->by == OVERVIEW_USER) {
        total = users->count;
        for (size_t i = v->after; i < users->count; i++) {
            if (v->limit != 0 && shown == v->limit)
                break;
            const struct user_series *u = &users->users[i];
            out_series(&rq->json, v, u->user, either(u->user, "(no user)"),
                       &u->sum, a);
            shown++;
        }
    } else {
        for (size_t i = 0; i < a->series_count; i++, shown++)
            out_named_series(rq, v, &a->series[i], a);
    }
    out_array_end(&rq->json);
    out_key(&rq->json, "next");
    if (v->after + shown < total)
        out_uint(&rq->json, v->after + shown);
    else
        out_null(&rq->json);
}

static void answer_overview(struct http_request *rq, const struct overview *v,
                            const struct answer *a,
                            const struct user_sums *users)
{
    struct repl_status status;
    struct json_out *o = &rq->json;
    repl_status(rq->node->repl, &status);
    out_object(o);
    out_member_uint(o, "from", a->from_s);
    out_member_uint(o, "to", v->query.to_s);
    out_member(o, "resolution", "minute");
    out_member_uint(o, "applied_index", a->applied_index);
    out_member_uint(o, "age_ms", http_age_ms(rq->node, &status));
    out_all_series(rq, v, a, users);
    out_object_end(o);
    http_answer(rq, 200);
}

void api_overview(struct http_request *rq)
{
    struct overview v = {0};
    struct answer a = {0};
    struct user_sums users = {0};
    struct errmsg e = {0};
    if (read_location(rq, &v) != 0 || read_resolution(rq, &v) != 0 ||
        read_range(rq, &v) != 0 || read_by(rq, &v) != 0 ||
        read_page(rq, &v) != 0)
        return;
    if (v.by != OVERVIEW_USER) {
        v.query.limit = (uint32_t)v.limit;
        v.query.after = (uint32_t)v.after;
    }
    int rv = query_run(rq->node->store, &v.query, &a, &e);
    if (rv == 0 && v.by == OVERVIEW_USER)
        rv = sum_users(store_roster(rq->node->store), &a, &users);
    if (rv == 0)
        answer_overview(rq, &v, &a, &users);
    else
        http_error_of(rq, rv, &e);
    user_sums_deinit(&users);
    answer_deinit(&a);
}
