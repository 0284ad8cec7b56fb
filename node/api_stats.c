/* defguard's statistics (reference: defguard-1.x.md, 3.1 and 3.2) from our
 * buckets: WireguardNetworkStats of one location or of all. Unlike there the
 * series is never cut, and a reset loses nothing. See api.h. */
#include "node/api.h"

#include "store/query.h"

#include <stdlib.h>

enum {
    CURRENT_S = 8 * 60, /* defguard's WIREGUARD_MAX_HANDSHAKE */
    HOURLY_FROM_S = 6 * 3600,
    BUCKET_S = BY_MINUTE,
    BUCKET_MS = 1000 * BUCKET_S,
    DEFAULT_RANGE_MS = 3600 * 1000,
};

struct seen {
    uint32_t device;
    uint64_t handshake_s; /* the newest of its gateways and locations */
    char *user;           /* owned; NULL for what is no user's device */
};

struct seen_list {
    struct seen *items; /* owned */
    size_t count, capacity;
    bool failed;
};

struct activity {
    uint64_t users, user_devices, network_devices;
};

/* --- who was there -------------------------------------------------------- */

static void seen_list_deinit(struct seen_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        free(l->items[i].user);
    free(l->items);
}

static void collect(void *arg, const struct presence *p)
{
    struct seen_list *l = arg;
    if (l->count == l->capacity) {
        size_t capacity = l->capacity == 0 ? 256 : 2 * l->capacity;
        struct seen *items = realloc(l->items, capacity * sizeof *items);
        if (items == NULL) {
            l->failed = true;
            return;
        }
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->count++] = (struct seen){p->device, p->handshake_s, NULL};
}

static int compare_devices(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->handshake_s > y->handshake_s ? -1
                                           : x->handshake_s < y->handshake_s;
}

/* Users first, by name; the rest after them. */
static int compare_users(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    if (x->user == NULL || y->user == NULL)
        return (x->user == NULL) - (y->user == NULL);
    return strcmp(x->user, y->user);
}

/* One item a device, its newest handshake, and whose it is. */
static int settle(struct roster *r, struct seen_list *l)
{
    size_t kept = 0;
    int rv = 0;
    if (l->count > 0)
        qsort(l->items, l->count, sizeof *l->items, compare_devices);
    roster_read_lock(r);
    for (size_t i = 0; i < l->count && rv == 0; i++) {
        if (i > 0 && l->items[i].device == l->items[i - 1].device)
            continue;
        const struct device *d = roster_device(r, l->items[i].device);
        if (d == NULL)
            continue; /* deleted: its history stays, it is active no more */
        struct seen item = l->items[i];
        item.user = d->kind == DEVICE_USER ? strdup(d->user) : NULL;
        if (d->kind == DEVICE_USER && item.user == NULL)
            rv = ERR_NOMEM;
        else
            l->items[kept++] = item;
    }
    roster_read_unlock(r);
    l->count = kept;
    if (kept > 0)
        qsort(l->items, kept, sizeof *l->items, compare_users);
    return rv;
}

/* Counts devices with a handshake since @since_s; items are sorted by user. */
static struct activity count_since(const struct seen_list *l, uint64_t since_s)
{
    struct activity a = {0};
    const char *last = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct seen *s = &l->items[i];
        if (s->handshake_s == 0 || s->handshake_s < since_s)
            continue;
        if (s->user == NULL) { /* unclaimed ones too: nobody's */
            a.network_devices++;
            continue;
        }
        a.user_devices++;
        if (last == NULL || strcmp(last, s->user) != 0)
            a.users++;
        last = s->user;
    }
    return a;
}

/* --- the answer ----------------------------------------------------------- */

/* Buckets of @step_s; those that nobody observed are left out, as there. */
static void out_transfer_series(struct json_out *o, const struct answer *a,
                                uint64_t step_s)
{
    const struct series *s = a->series_count > 0 ? &a->series[0] : NULL;
    out_array(o);
    for (size_t i = 0; s != NULL && i < a->bucket_count;) {
        uint64_t start = (a->from_s + i * BUCKET_S) / step_s * step_s;
        uint64_t upload = 0, download = 0;
        bool observed = false;
        for (; i < a->bucket_count && a->from_s + i * BUCKET_S < start + step_s;
             i++) {
            upload += s->points[i].upload;
            download += s->points[i].download;
            observed |= s->points[i].observed;
        }
        if (!observed)
            continue;
        char at[TIME_TEXT_SIZE];
        time_format(start * 1000, at);
        out_object(o);
        out_member(o, "collected_at", at);
        out_member_uint(o, "upload", upload);
        out_member_uint(o, "download", download);
        out_object_end(o);
    }
    out_array_end(o);
}

static void answer_stats(struct http_request *rq, const struct query *q,
                         const struct answer *a, const struct seen_list *seen)
{
    struct json_out *o = &rq->json;
    uint64_t now_s = node_now_ms(rq->node) / 1000;
    struct activity current = count_since(seen, now_s - CURRENT_S);
    struct activity active = count_since(seen, q->from_s);
    const struct series *s = a->series_count > 0 ? &a->series[0] : NULL;
    out_object(o);
    out_member_uint(o, "current_active_users", current.users);
    out_member_uint(o, "current_active_user_devices", current.user_devices);
    out_member_uint(o, "current_active_network_devices",
                    current.network_devices);
    out_member_uint(o, "active_users", active.users);
    out_member_uint(o, "active_user_devices", active.user_devices);
    out_member_uint(o, "active_network_devices", active.network_devices);
    out_member_uint(o, "upload", s != NULL ? s->upload : 0);
    out_member_uint(o, "download", s != NULL ? s->download : 0);
    out_key(o, "transfer_series");
    out_transfer_series(o, a,
                        now_s - q->from_s >= HOURLY_FROM_S ? 3600 : BUCKET_S);
    out_object_end(o);
    http_answer(rq, 200);
}

/* from as there, to is ours; on failure the 400 is written. */
static int read_range(struct http_request *rq, struct query *q)
{
    const char *from = http_param(rq, "from"), *to = http_param(rq, "to");
    uint64_t now_ms = node_now_ms(rq->node);
    uint64_t from_ms = now_ms - DEFAULT_RANGE_MS, to_ms = now_ms;
    const char *message = NULL;
    if (from != NULL && time_parse(from, &from_ms) != 0)
        message = "from: must be an RFC 3339 time or Unix seconds";
    else if (to != NULL && time_parse(to, &to_ms) != 0)
        message = "to: must be an RFC 3339 time or Unix seconds";
    else if (from_ms > now_ms)
        message = "from: is in the future";
    else if (from_ms >= to_ms)
        message = "from: must be before to";
    if (message != NULL) {
        http_error(rq, 400, "invalid", "%s", message);
        return ERR_INVALID;
    }
    q->from_s = from_ms / 1000 / BUCKET_S * BUCKET_S;
    q->to_s = (to_ms + BUCKET_MS - 1) / BUCKET_MS * BUCKET_S;
    return 0;
}

static void stats(struct http_request *rq, uint32_t location)
{
    struct query q = {
        .location = location, .resolution = BY_MINUTE, .by = BY_NONE};
    struct answer a = {0};
    struct seen_list seen = {0};
    struct errmsg e = {0};
    if (read_range(rq, &q) != 0)
        return;
    int rv = query_run(rq->node->store, &q, &a, &e);
    if (rv == 0)
        rv = query_presence(rq->node->store, location, collect, &seen);
    if (rv == 0 && seen.failed)
        rv = ERR_NOMEM;
    if (rv == 0)
        rv = settle(store_roster(rq->node->store), &seen);
    if (rv == 0)
        answer_stats(rq, &q, &a, &seen);
    else
        http_error_of(rq, rv, &e);
    seen_list_deinit(&seen);
    answer_deinit(&a);
}

void api_stats(struct http_request *rq)
{
    stats(rq, 0);
}

void api_stats_of_location(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    bool there = roster_location(r, rq->id) != NULL;
    roster_read_unlock(r);
    if (there)
        stats(rq, rq->id);
    else
        http_error(rq, 404, "not_found", "location: not found");
}
