/* Gateways of a location, as defguard's GatewayState with what we know better:
 * last_seen, and connected = a batch came within the location's
 * peer_disconnect_threshold. See api.h. */
#include "node/api.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int gateway_order_make(const struct roster *r, struct gateway_order *out)
{
    size_t capacity = 0;
    *out = (struct gateway_order){0};
    for (const struct gateway *g = roster_next_gateway(r, 0); g != NULL;
         g = roster_next_gateway(r, g->id)) {
        if (out->count == capacity) {
            capacity = capacity == 0 ? 64 : 2 * capacity;
            uint64_t *keys = realloc(out->keys, capacity * sizeof *keys);
            if (keys == NULL) {
                gateway_order_deinit(out);
                return ERR_NOMEM;
            }
            out->keys = keys;
        }
        out->keys[out->count++] = (uint64_t)g->location << 32 | g->id;
    }
    if (out->count > 0)
        qsort(out->keys, out->count, sizeof *out->keys, compare_keys);
    return 0;
}

void gateway_order_deinit(struct gateway_order *o)
{
    free(o->keys);
    *o = (struct gateway_order){0};
}

/* The first position whose key is not below @key. */
static size_t lower_bound(const struct gateway_order *o, uint64_t key)
{
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (o->keys[middle] < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool out_gateway(struct json_out *o, const struct gateway *g,
                        const struct location *l, uint64_t now_ms)
{
    uint64_t quiet = clock_elapsed(g->seen_ms, now_ms);
    bool connected = g->seen_ms != 0 &&
                     quiet <= (uint64_t)l->peer_disconnect_threshold_s * 1000;
    char uid[40], seen[TIME_TEXT_SIZE];
    /* defguard's uid is a UUID; ours is the id in that form. */
    snprintf(uid, sizeof uid, "00000000-0000-0000-0000-%012x", g->id);
    time_format(g->seen_ms, seen);
    out_object(o);
    out_member(o, "uid", uid);
    out_member_uint(o, "id", g->id);
    out_member_bool(o, "connected", connected);
    out_member_uint(o, "network_id", l->id);
    out_member(o, "network_name", l->name);
    out_member(o, "name", g->name[0] != '\0' ? g->name : NULL);
    out_member(o, "hostname", g->hostname);
    out_member_null(o, "connected_at");
    out_member(o, "disconnected_at",
               !connected && g->seen_ms != 0 ? seen : NULL);
    out_member_null(o, "version");
    out_member(o, "kind", g->kind == GATEWAY_NATIVE ? "native" : "defguard");
    out_member(o, "last_seen", g->seen_ms != 0 ? seen : NULL);
    out_object_end(o);
    return connected;
}

bool out_gateways(struct http_request *rq, const struct roster *r,
                  const struct gateway_order *order, const struct location *l)
{
    struct json_out *o = &rq->json;
    uint64_t now_ms = node_now_ms(rq->node);
    bool any = false;
    out_array(o);
    for (size_t i = lower_bound(order, (uint64_t)l->id << 32);
         i < order->count && order->keys[i] >> 32 == l->id; i++) {
        const struct gateway *g =
            roster_gateway(r, (uint32_t)(order->keys[i] & UINT32_MAX));
        if (g != NULL)
            any = out_gateway(o, g, l, now_ms) || any;
    }
    out_array_end(o);
    return any;
}

void api_gateway_list(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    struct gateway_order order;
    char id[12];
    roster_read_lock(r);
    if (gateway_order_make(r, &order) != 0) {
        roster_read_unlock(r);
        http_error(rq, 503, "overload", "out of memory");
        return;
    }
    out_object(&rq->json);
    for (const struct location *l = roster_next_location(r, 0); l != NULL;
         l = roster_next_location(r, l->id)) {
        snprintf(id, sizeof id, "%u", l->id);
        out_key(&rq->json, id);
        (void)out_gateways(rq, r, &order, l);
    }
    out_object_end(&rq->json);
    roster_read_unlock(r);
    gateway_order_deinit(&order);
    http_answer(rq, 200);
}

void api_gateway_list_of_location(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    struct gateway_order order;
    roster_read_lock(r);
    const struct location *l = roster_location(r, rq->id);
    if (l == NULL) {
        roster_read_unlock(r);
        http_error(rq, 404, "not_found", "location: not found");
        return;
    }
    if (gateway_order_make(r, &order) == 0) {
        (void)out_gateways(rq, r, &order, l);
        http_answer(rq, 200);
    } else {
        http_error(rq, 503, "overload", "out of memory");
    }
    roster_read_unlock(r);
    gateway_order_deinit(&order);
}

static void deleted(struct http_request *rq, int status)
{
    if (http_write_failed(rq, status, "gateway"))
        return;
    out_null(&rq->json);
    http_answer(rq, 200);
}

void api_gateway_delete(struct http_request *rq)
{
    struct buf record = {0};
    if (!api_level_is_there(rq, RECORD_GATEWAY_DELETE))
        return;
    record_put_gateway_delete(&record, rq->id);
    http_submit(rq, &record, deleted);
}
