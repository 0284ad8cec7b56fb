/* GET /api/v1/network/{id}/stats/users: defguard's DevicesStatsResponse
 * (reference: defguard-1.x.md, 3.1), the devices of the location that are
 * active now, each with its series. Our users are names: what defguard knows of
 * them besides is empty. See api.h. */
#include "node/api.h"

#include "node/activity.h"
#include "node/api_range.h"

#include <stdio.h>
#include <stdlib.h>

struct active_device {
    struct active_peer peer; /* of the newest handshake */
    char *user;              /* owned; NULL: no user's device */
    const struct series *series;
};

struct active_devices {
    struct active_device *items; /* owned; users by name, the others behind */
    size_t count;
    uint32_t *ids; /* owned; in rising order */
    /* What the series are in: one query has no more than so many of them. */
    struct answer *answers; /* owned */
    size_t answer_count;
    size_t points;
};

static void active_devices_deinit(struct active_devices *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->items[i].user);
    for (size_t i = 0; i < d->answer_count; i++)
        answer_deinit(&d->answers[i]);
    free(d->items);
    free(d->ids);
    free(d->answers);
}

/* By device, the newest handshake first. */
static int compare_peers(const void *a, const void *b)
{
    const struct active_peer *x = a, *y = b;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->handshake_s > y->handshake_s ? -1
                                           : x->handshake_s < y->handshake_s;
}

static int compare_users(const void *a, const void *b)
{
    const struct active_device *x = a, *y = b;
    if (x->user == NULL || y->user == NULL)
        return (x->user == NULL) - (y->user == NULL);
    int order = strcmp(x->user, y->user);
    return order != 0 ? order
                      : (x->peer.device > y->peer.device) -
                            (x->peer.device < y->peer.device);
}

/* One item a device that is still there; under the roster's lock. */
static int take_device(struct active_devices *d, const struct roster *r,
                       const struct active_peer *peer)
{
    const struct device *device = roster_device(r, peer->device);
    struct active_device item = {.peer = *peer};
    if (device == NULL)
        return 0;
    if (device->kind == DEVICE_USER) {
        item.user = strdup(device->user);
        if (item.user == NULL)
            return ERR_NOMEM;
    }
    d->ids[d->count] = peer->device;
    d->items[d->count++] = item;
    return 0;
}

static int find_devices(struct http_request *rq, struct active_devices *out)
{
    struct roster *r = store_roster(rq->node->store);
    struct active_peer *peers = NULL;
    size_t count = 0;
    uint64_t since_s = node_now_ms(rq->node) / 1000 - ACTIVE_NOW_S;
    int rv = query_active(rq->node->store, rq->id, since_s, &peers, &count);
    if (rv != 0)
        return rv;
    if (count > 0)
        qsort(peers, count, sizeof *peers, compare_peers);
    out->items = calloc(count + 1, sizeof *out->items);
    out->ids = calloc(count + 1, sizeof *out->ids);
    if (out->items == NULL || out->ids == NULL)
        rv = ERR_NOMEM;
    roster_read_lock(r);
    for (size_t i = 0; i < count && rv == 0; i++)
        if (i == 0 || peers[i].device != peers[i - 1].device)
            rv = take_device(out, r, &peers[i]);
    roster_read_unlock(r);
    free(peers);
    return rv;
}

static int compare_ids(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* While items are in the order of ids. */
static void give_series(struct active_devices *d, const struct answer *a)
{
    for (size_t i = 0; i < a->series_count; i++) {
        const uint32_t *id = bsearch(&a->series[i].id, d->ids, d->count,
                                     sizeof *d->ids, compare_ids);
        if (id != NULL)
            d->items[id - d->ids].series = &a->series[i];
    }
}

/* --- the answer ----------------------------------------------------------- */

/* The endpoint without its port. */
static void out_public_ip(struct json_out *o, char *endpoint)
{
    char *colon = strrchr(endpoint, ':');
    if (colon != NULL)
        *colon = '\0';
    size_t length = strlen(endpoint);
    if (endpoint[0] == '[' && length > 1 && endpoint[length - 1] == ']') {
        endpoint[length - 1] = '\0';
        endpoint++;
    }
    out_member(o, "public_ip", endpoint[0] != '\0' ? endpoint : NULL);
}

static void out_device_stats(struct http_request *rq,
                             const struct active_device *d,
                             const struct answer *a, uint64_t step_s)
{
    struct roster *r = store_roster(rq->node->store);
    struct json_out *o = &rq->json;
    struct presence p = {.endpoint = ""};
    char since[TIME_TEXT_SIZE];
    int rv = query_peer(rq->node->store, &d->peer, &p);
    out_object(o);
    out_member_uint(o, "id", d->peer.device);
    out_member_null(o, "user_id");
    roster_read_lock(r);
    const struct device *device = roster_device(r, d->peer.device);
    const struct attachment *place =
        device != NULL ? device_attachment(device, rq->id) : NULL;
    out_member(o, "name", device != NULL ? device->name : "");
    out_key(o, "wireguard_ips");
    out_comma_list(o, place != NULL ? place->addresses : "");
    roster_read_unlock(r);
    out_public_ip(o, p.endpoint);
    time_format(p.connected_s * 1000, since);
    out_member(o, "connected_at", rv == 0 && p.connected_s != 0 ? since : NULL);
    out_key(o, "stats");
    api_out_series(o, d->series, a, step_s, d->peer.device);
    out_object_end(o);
}

/* defguard's UserInfo, as far as we have it. */
static void out_user(struct json_out *o, const char *name)
{
    out_key(o, "user");
    out_object(o);
    out_member_null(o, "id");
    out_member(o, "username", name);
    out_member(o, "last_name", "");
    out_member(o, "first_name", name);
    out_member(o, "email", "");
    out_member_null(o, "phone");
    out_member_bool(o, "mfa_enabled", false);
    out_member_bool(o, "totp_enabled", false);
    out_member_bool(o, "email_mfa_enabled", false);
    out_key(o, "groups");
    out_comma_list(o, "");
    out_member(o, "mfa_method", "None");
    out_key(o, "authorized_apps");
    out_comma_list(o, "");
    out_member_bool(o, "is_active", true);
    out_member_bool(o, "enrolled", true);
    out_member_bool(o, "is_admin", false);
    out_member_bool(o, "ldap_pass_requires_change", false);
    out_object_end(o);
}

static void answer_users(struct http_request *rq,
                         const struct active_devices *d, uint64_t step_s)
{
    struct json_out *o = &rq->json;
    const struct answer *a = d->answers; /* all are of the same time */
    size_t i = 0;
    out_object(o);
    out_key(o, "user_devices");
    out_array(o);
    while (i < d->count && d->items[i].user != NULL) {
        const char *user = d->items[i].user;
        out_object(o);
        out_user(o, user);
        out_key(o, "devices");
        out_array(o);
        for (; i < d->count && d->items[i].user != NULL &&
               strcmp(d->items[i].user, user) == 0;
             i++)
            out_device_stats(rq, &d->items[i], a, step_s);
        out_array_end(o);
        out_object_end(o);
    }
    out_array_end(o);
    out_key(o, "network_devices");
    out_array(o);
    for (; i < d->count; i++)
        out_device_stats(rq, &d->items[i], a, step_s);
    out_array_end(o);
    out_object_end(o);
    http_answer(rq, 200);
}

/* Those of one query after the other. */
static int find_some(struct http_request *rq, struct active_devices *d,
                     const struct query *q, struct errmsg *e)
{
    struct answer *a = &d->answers[d->answer_count];
    int rv = query_run(rq->node->store, q, a, e);
    if (rv != 0)
        return rv;
    d->answer_count++;
    d->points += a->series_count * a->bucket_count;
    if (d->points > QUERY_POINTS_MAX)
        return errmsg_set(e, ERR_LIMIT,
                          "the points of %zu devices are too many; ask for a "
                          "shorter time",
                          d->count);
    give_series(d, a);
    return 0;
}

/* The series of the devices that were found; without any there is no query, to
 * which an empty list would mean all. */
static int find_series(struct http_request *rq, struct active_devices *d,
                       const struct api_range *range, struct errmsg *e)
{
    struct query q = {.location = rq->id,
                      .from_s = range->from_s,
                      .to_s = range->to_s,
                      .resolution = range->resolution,
                      .by = BY_DEVICE};
    size_t buckets = (range->to_s - range->from_s) / range->resolution;
    size_t step = QUERY_POINTS_MAX / buckets;
    if (step == 0 || step > QUERY_SERIES_MAX) /* 0: the query refuses it */
        step = QUERY_SERIES_MAX;
    d->answers = calloc(d->count / step + 1, sizeof *d->answers);
    int rv = d->answers == NULL ? ERR_NOMEM : 0;
    for (size_t i = 0; i < d->count && rv == 0; i += step) {
        q.devices = d->ids + i;
        q.device_count = d->count - i < step ? d->count - i : step;
        rv = find_some(rq, d, &q, e);
    }
    if (rv == 0)
        qsort(d->items, d->count, sizeof *d->items, compare_users);
    return rv;
}

void api_stats_users(struct http_request *rq)
{
    struct active_devices devices = {0};
    struct api_range range;
    struct errmsg e = {0};
    uint64_t from_s;
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    bool there = roster_location(r, rq->id) != NULL;
    roster_read_unlock(r);
    if (!there) {
        http_error(rq, 404, "not_found", "location: not found");
        return;
    }
    if (api_read_stats_range(rq, &from_s, &range) != 0)
        return;
    int rv = find_devices(rq, &devices);
    if (rv == 0)
        rv = find_series(rq, &devices, &range, &e);
    if (rv == 0)
        answer_users(rq, &devices, (uint64_t)range.resolution);
    else
        http_error_of(rq, rv, &e);
    active_devices_deinit(&devices);
}
