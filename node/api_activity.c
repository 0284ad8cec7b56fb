/* GET /api/v1/activity: how many users, devices and gateways are active now,
 * and were in a window. See api.h. */
#include "node/api.h"

#include "node/activity.h"
#include "node/api_range.h"

#include <stdlib.h>

int api_read_location(struct http_request *rq, uint32_t *out)
{
    const char *text = http_param(rq, "location");
    uint64_t id;
    *out = 0;
    if (text == NULL || strcmp(text, "all") == 0)
        return 0;
    if (uint_parse(text, UINT32_MAX, &id) != 0 || id == 0) {
        http_error(rq, 400, "invalid", "location: must be all or an id");
        return ERR_INVALID;
    }
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    bool there = roster_location(r, (uint32_t)id) != NULL;
    roster_read_unlock(r);
    if (!there) {
        http_error(rq, 404, "not_found", "location: not found");
        return ERR_NOTFOUND;
    }
    *out = (uint32_t)id;
    return 0;
}

/* --- activity ------------------------------------------------------------- */

struct activity_answer {
    uint32_t location;
    struct api_range range;
    struct activity_counts now, window;
    uint64_t gateways_now, gateways_window;
    uint64_t applied_index;
};

/* Those that a batch came from within their location's threshold. */
static uint64_t gateways_heard(struct http_request *rq, uint32_t location)
{
    struct roster *r = store_roster(rq->node->store);
    uint64_t count = 0, now_ms = node_now_ms(rq->node);
    roster_read_lock(r);
    for (const struct gateway *g = roster_next_gateway(r, 0); g != NULL;
         g = roster_next_gateway(r, g->id)) {
        const struct location *l = roster_location(r, g->location);
        count += l != NULL && (location == 0 || location == l->id) &&
                 g->seen_ms != 0 &&
                 g->seen_ms + l->peer_disconnect_threshold_s * UINT64_C(1000) >=
                     now_ms;
    }
    roster_read_unlock(r);
    return count;
}

static int count_now(struct http_request *rq, struct activity_answer *a,
                     const struct active_peer *peers, size_t count)
{
    struct activity active = {0};
    uint64_t now_s = node_now_ms(rq->node) / 1000;
    int rv = activity_of_peers(peers, count, now_s - ACTIVE_NOW_S, UINT64_MAX,
                               &active);
    if (rv == 0)
        rv = activity_count(&active, store_roster(rq->node->store), &a->now);
    activity_deinit(&active);
    a->gateways_now = gateways_heard(rq, a->location);
    return rv;
}

static struct query window_query(const struct activity_answer *a,
                                 enum query_by by)
{
    return (struct query){.location = a->location,
                          .from_s = a->range.from_s,
                          .to_s = a->range.to_s,
                          .resolution = a->range.resolution,
                          .by = by,
                          .sums_only = true};
}

static int count_gateways(struct http_request *rq, struct activity_answer *a,
                          struct errmsg *e)
{
    struct answer gateways = {0};
    struct query q = window_query(a, BY_GATEWAY);
    int rv = query_run(rq->node->store, &q, &gateways, e);
    a->gateways_window = gateways.series_total;
    a->applied_index = gateways.applied_index;
    answer_deinit(&gateways);
    return rv;
}

/* In the window: who moved bytes, or whose last handshake is in it. */
static int count_window(struct http_request *rq, struct activity_answer *a,
                        const struct active_peer *peers, size_t count,
                        struct errmsg *e)
{
    struct activity active = {0};
    struct answer devices = {0};
    struct query q = window_query(a, BY_DEVICE);
    int rv = query_run(rq->node->store, &q, &devices, e);
    if (rv == 0)
        rv = activity_of_peers(peers, count, a->range.from_s, a->range.to_s,
                               &active);
    for (size_t i = 0; i < devices.series_count && rv == 0; i++)
        rv = activity_add(&active, devices.series[i].id);
    if (rv == 0)
        rv = activity_count(&active, store_roster(rq->node->store), &a->window);
    if (rv == 0)
        rv = count_gateways(rq, a, e);
    activity_deinit(&active);
    answer_deinit(&devices);
    return rv;
}

static void out_counts(struct json_out *o, const char *key,
                       const struct activity_counts *c, uint64_t gateways)
{
    out_key(o, key);
    out_object(o);
    out_member_uint(o, "users", c->users);
    out_member_uint(o, "user_devices", c->user_devices);
    out_member_uint(o, "network_devices", c->network_devices);
    out_member_uint(o, "gateways", gateways);
    out_object_end(o);
}

static void answer_activity(struct http_request *rq,
                            const struct activity_answer *a)
{
    struct json_out *o = &rq->json;
    out_object(o);
    out_member_uint(o, "from", a->range.from_s);
    out_member_uint(o, "to", a->range.to_s);
    out_member(o, "resolution", api_resolution_text(a->range.resolution));
    out_member_uint(o, "applied_index", a->applied_index);
    out_counts(o, "now", &a->now, a->gateways_now);
    out_counts(o, "window", &a->window, a->gateways_window);
    out_object_end(o);
    http_answer(rq, 200);
}

void api_activity(struct http_request *rq)
{
    struct activity_answer a = {0};
    struct active_peer *peers = NULL;
    size_t count = 0;
    struct errmsg e = {0};
    if (api_read_location(rq, &a.location) != 0 ||
        api_read_range(rq, &a.range) != 0)
        return;
    uint64_t since_s = node_now_ms(rq->node) / 1000 - ACTIVE_NOW_S;
    if (a.range.from_s < since_s)
        since_s = a.range.from_s > 0 ? a.range.from_s : 1;
    int rv = query_active(rq->node->store, a.location, since_s, &peers, &count);
    if (rv == 0)
        rv = count_now(rq, &a, peers, count);
    if (rv == 0)
        rv = count_window(rq, &a, peers, count, &e);
    if (rv == 0)
        answer_activity(rq, &a);
    else
        http_error_of(rq, rv, &e);
    free(peers);
}
