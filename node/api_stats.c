/* defguard's statistics (reference: defguard-1.x.md, 3.1 and 3.2) from our
 * buckets: WireguardNetworkStats of one location or of all. Unlike there the
 * series is never cut, and a reset loses nothing. From six hours on its points
 * are hours, and days where the hours have expired. See api.h. */
#include "node/api.h"

#include "node/activity.h"
#include "node/api_range.h"

#include <stdlib.h>

enum { HOURLY_FROM_S = 6 * 3600, DEFAULT_RANGE_MS = 3600 * 1000 };

int api_read_stats_range(struct http_request *rq, uint64_t *from_s,
                         struct api_range *out)
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
    *from_s = from_ms / 1000;
    bool hourly = now_ms / 1000 - *from_s >= HOURLY_FROM_S;
    enum query_resolution resolution =
        api_finest_tier(rq->node, *from_s, to_ms / 1000, QUERY_BUCKETS_MAX - 1);
    if (hourly && resolution == BY_MINUTE)
        resolution = BY_HOUR;
    *out = api_range_of(from_ms, to_ms, resolution);
    return 0;
}

void api_out_series(struct json_out *o, const struct series *s,
                    const struct answer *a, uint64_t step_s, uint32_t device)
{
    out_array(o);
    for (size_t i = 0; s != NULL && i < a->bucket_count; i++) {
        char at[TIME_TEXT_SIZE];
        if (!s->points[i].observed)
            continue;
        time_format((a->from_s + i * step_s) * 1000, at);
        out_object(o);
        if (device != 0)
            out_member_uint(o, "device_id", device);
        out_member(o, "collected_at", at);
        out_member_uint(o, "upload", s->points[i].upload);
        out_member_uint(o, "download", s->points[i].download);
        out_object_end(o);
    }
    out_array_end(o);
}

static void out_activity(struct json_out *o,
                         const struct activity_counts *current,
                         const struct activity_counts *active)
{
    out_member_uint(o, "current_active_users", current->users);
    out_member_uint(o, "current_active_user_devices", current->user_devices);
    out_member_uint(o, "current_active_network_devices",
                    current->network_devices);
    out_member_uint(o, "active_users", active->users);
    out_member_uint(o, "active_user_devices", active->user_devices);
    out_member_uint(o, "active_network_devices", active->network_devices);
}

static void answer_stats(struct http_request *rq, const struct query *q,
                         const struct answer *a,
                         const struct activity_counts *current,
                         const struct activity_counts *active)
{
    struct json_out *o = &rq->json;
    const struct series *s = a->series_count > 0 ? &a->series[0] : NULL;
    out_object(o);
    out_activity(o, current, active);
    out_member_uint(o, "upload", s != NULL ? s->upload : 0);
    out_member_uint(o, "download", s != NULL ? s->download : 0);
    out_key(o, "transfer_series");
    api_out_series(o, s, a, (uint64_t)q->resolution, 0);
    out_object_end(o);
    http_answer(rq, 200);
}

/* Devices with a handshake at @since_s or later. */
static int count_since(struct http_request *rq, const struct active_peer *peers,
                       size_t count, uint64_t since_s,
                       struct activity_counts *out)
{
    struct activity active = {0};
    int rv = activity_of_peers(peers, count, since_s, UINT64_MAX, &active);
    if (rv == 0)
        rv = activity_count(&active, store_roster(rq->node->store), out);
    activity_deinit(&active);
    return rv;
}

static int count_active(struct http_request *rq, uint32_t location,
                        uint64_t from_s, struct activity_counts *current,
                        struct activity_counts *active)
{
    struct active_peer *peers = NULL;
    size_t count = 0;
    uint64_t now_s = node_now_ms(rq->node) / 1000 - ACTIVE_NOW_S;
    uint64_t since_s = from_s < now_s ? from_s : now_s;
    int rv = query_active(rq->node->store, location, since_s > 0 ? since_s : 1,
                          &peers, &count);
    if (rv == 0)
        rv = count_since(rq, peers, count, now_s, current);
    if (rv == 0)
        rv = count_since(rq, peers, count, from_s, active);
    free(peers);
    return rv;
}

static void stats(struct http_request *rq, uint32_t location)
{
    struct api_range range;
    struct activity_counts current, active;
    struct answer a = {0};
    struct errmsg e = {0};
    uint64_t from_s;
    if (api_read_stats_range(rq, &from_s, &range) != 0)
        return;
    struct query q = {.location = location,
                      .from_s = range.from_s,
                      .to_s = range.to_s,
                      .resolution = range.resolution,
                      .by = BY_NONE};
    int rv = query_run(rq->node->store, &q, &a, &e);
    if (rv == 0)
        rv = count_active(rq, location, from_s, &current, &active);
    if (rv == 0)
        answer_stats(rq, &q, &a, &current, &active);
    else
        http_error_of(rq, rv, &e);
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
