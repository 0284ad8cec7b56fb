/* GET /api/v1/connected: who is there, and since when, the newest first. A peer
 * is connected while its last handshake is within the location's
 * peer_disconnect_threshold. See api.h. */
#include "node/api.h"

#include "node/wg_text.h"
#include "store/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECTED_DEFAULT = 100, CONNECTED_MAX = 1000, CURSOR_SIZE = 64 };

/* The newest first; the rest of the key makes the order total, for paging. */
static int compare_peers(const void *a, const void *b)
{
    const struct active_peer *x = a, *y = b;
    if (x->connected_s != y->connected_s)
        return x->connected_s > y->connected_s ? -1 : 1;
    if (x->location != y->location)
        return x->location < y->location ? -1 : 1;
    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return (x->gateway > y->gateway) - (x->gateway < y->gateway);
}

static void cursor_format(const struct active_peer *p, char out[CURSOR_SIZE])
{
    snprintf(out, CURSOR_SIZE, "%" PRIu64 "-%u-%u-%u", p->connected_s,
             p->location, p->device, p->gateway);
}

static bool cursor_parse(const char *text, struct active_peer *out)
{
    char copy[CURSOR_SIZE], *rest = NULL;
    uint64_t parts[4];
    if (strlen(text) >= sizeof copy)
        return false;
    memcpy(copy, text, strlen(text) + 1);
    for (size_t i = 0; i < 4; i++) {
        const char *part = strtok_r(i == 0 ? copy : NULL, "-", &rest);
        if (part == NULL ||
            uint_parse(part, i == 0 ? UINT64_MAX : UINT32_MAX, &parts[i]) != 0)
            return false;
    }
    *out = (struct active_peer){.connected_s = parts[0],
                                .location = (uint32_t)parts[1],
                                .device = (uint32_t)parts[2],
                                .gateway = (uint32_t)parts[3]};
    return strtok_r(NULL, "-", &rest) == NULL;
}

/* Keeps those whose handshake is within their location's threshold. */
static size_t keep_connected(struct http_request *rq, struct active_peer *peers,
                             size_t count)
{
    struct roster *r = store_roster(rq->node->store);
    uint64_t now_s = node_now_ms(rq->node) / 1000;
    size_t kept = 0;
    roster_read_lock(r);
    for (size_t i = 0; i < count; i++) {
        const struct location *l = roster_location(r, peers[i].location);
        if (l != NULL &&
            peers[i].handshake_s + l->peer_disconnect_threshold_s >= now_s)
            peers[kept++] = peers[i];
    }
    roster_read_unlock(r);
    return kept;
}

/* A handshake before it is not within any location's threshold. */
static uint64_t connected_since(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    uint64_t longest_s = 0, now_s = node_now_ms(rq->node) / 1000;
    roster_read_lock(r);
    for (const struct location *l = roster_next_location(r, 0); l != NULL;
         l = roster_next_location(r, l->id))
        if (l->peer_disconnect_threshold_s > longest_s)
            longest_s = l->peer_disconnect_threshold_s;
    roster_read_unlock(r);
    return now_s > longest_s ? now_s - longest_s : 1;
}

/* Under the roster's lock. */
static void out_names(struct json_out *o, const struct roster *r,
                      const struct presence *p)
{
    const struct device *d = roster_device(r, p->device);
    const struct gateway *g = roster_gateway(r, p->gateway);
    const struct location *l = roster_location(r, p->location);
    char key[KEY_TEXT_SIZE] = "";
    if (d != NULL)
        key_format(d->public_key, key);
    out_member(o, "key", d != NULL ? key : NULL);
    out_member(o, "name", d != NULL ? d->name : NULL);
    out_member(o, "user", d != NULL && d->user[0] != '\0' ? d->user : NULL);
    out_member_uint(o, "device_id", p->device);
    out_member_uint(o, "location", p->location);
    out_member(o, "location_name", l != NULL ? l->name : NULL);
    out_member(o, "gateway", g != NULL ? g->hostname : NULL);
    out_member_uint(o, "gateway_id", p->gateway);
}

static void out_connected(struct http_request *rq, const struct presence *p)
{
    struct roster *r = store_roster(rq->node->store);
    struct json_out *o = &rq->json;
    out_object(o);
    roster_read_lock(r);
    out_names(o, r, p);
    roster_read_unlock(r);
    out_member(o, "endpoint", p->endpoint[0] != '\0' ? p->endpoint : NULL);
    if (p->connected_s != 0)
        out_member_uint(o, "connected_since", p->connected_s);
    else
        out_member_null(o, "connected_since");
    out_member_uint(o, "last_handshake", p->handshake_s);
    out_member_uint(o, "upload", p->upload);
    out_member_uint(o, "download", p->download);
    out_object_end(o);
}

static void answer_connected(struct http_request *rq,
                             const struct active_peer *peers, size_t count,
                             size_t first, size_t limit)
{
    struct json_out *o = &rq->json;
    char cursor[CURSOR_SIZE] = "";
    size_t end = count - first > limit ? first + limit : count;
    out_object(o);
    out_member_uint(o, "total", count);
    out_member_uint(o, "applied_index", store_applied_index(rq->node->store));
    out_key(o, "connected");
    out_array(o);
    for (size_t i = first; i < end; i++) {
        struct presence p;
        if (query_peer(rq->node->store, &peers[i], &p) == 0)
            out_connected(rq, &p);
    }
    out_array_end(o);
    if (end < count)
        cursor_format(&peers[end - 1], cursor);
    out_member(o, "next", end < count ? cursor : NULL);
    out_object_end(o);
    http_answer(rq, 200);
}

void api_connected(struct http_request *rq)
{
    const char *limit_text = http_param(rq, "limit");
    const char *after = http_param(rq, "after");
    struct active_peer cursor = {0}, *peers = NULL;
    uint64_t limit = CONNECTED_DEFAULT;
    uint32_t location;
    size_t count, first = 0;
    if (api_read_location(rq, &location) != 0)
        return;
    if (limit_text != NULL &&
        (uint_parse(limit_text, CONNECTED_MAX, &limit) != 0 || limit == 0)) {
        http_error(rq, 400, "invalid", "limit: must be a number from 1 to %d",
                   CONNECTED_MAX);
        return;
    }
    if (after != NULL && !cursor_parse(after, &cursor)) {
        http_error(rq, 400, "invalid", "after: must be what next said");
        return;
    }
    int rv = query_active(rq->node->store, location, connected_since(rq),
                          &peers, &count);
    if (rv != 0) {
        http_error_of(rq, rv, &(struct errmsg){0});
        return;
    }
    count = keep_connected(rq, peers, count);
    if (count > 0)
        qsort(peers, count, sizeof *peers, compare_peers);
    while (after != NULL && first < count &&
           compare_peers(&peers[first], &cursor) <= 0)
        first++;
    answer_connected(rq, peers, count, first, (size_t)limit);
    free(peers);
}
