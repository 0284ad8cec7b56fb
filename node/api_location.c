/* /api/v1/network: locations, with the bodies and answers of defguard 1.5
 * (reference: defguard-1.x.md, sections 3.1 and 4). See api.h. */
#include "node/api.h"

#include "node/http_route.h"
#include "node/token.h"
#include "node/wg_text.h"
#include "store/address.h"

#include <stdio.h>
#include <stdlib.h>

struct location_body {
    const char *name, *address, *endpoint, *allowed_ips, *dns;
    uint64_t port, keepalive_interval, peer_disconnect_threshold;
    bool accept_unknown_peers;
};

#define AT(member) offsetof(struct location_body, member)
static const struct body_field location_fields[] = {
    {"name", BODY_TEXT, true, 1, 100, AT(name), "shown to people"},
    {"address", BODY_TEXT, true, 1, 512, AT(address),
     "the gateway's addresses, a comma list of at most 16 CIDRs without "
     "overlap"},
    {"endpoint", BODY_TEXT, true, 1, 253, AT(endpoint),
     "host that clients dial"},
    {"port", BODY_UINT, true, 1, 65535, AT(port), "UDP port of the gateway"},
    {"allowed_ips", BODY_TEXT, false, 0, 4096, AT(allowed_ips),
     "what clients route into the tunnel, a comma list"},
    {"dns", BODY_TEXT, false, 0, 512, AT(dns), "name servers of clients"},
    {"keepalive_interval", BODY_UINT, false, 0, 65535, AT(keepalive_interval),
     "seconds"},
    {"peer_disconnect_threshold", BODY_UINT, false, 1, 86400,
     AT(peer_disconnect_threshold), "seconds since the last handshake"},
    {"accept_unknown_peers", BODY_BOOL, false, 0, 0, AT(accept_unknown_peers),
     "unknown keys become unclaimed devices"},
    {"allowed_groups", BODY_UNSET, false, 0, 0, 0, NULL},
    {"mfa_enabled", BODY_UNSET, false, 0, 0, 0, NULL},
    {"location_mfa_mode", BODY_UNSET, false, 0, 0, 0, NULL},
    {"service_location_mode", BODY_UNSET, false, 0, 0, 0, NULL},
    {"acl_enabled", BODY_UNSET, false, 0, 0, 0, NULL},
    {"acl_default_allow", BODY_UNSET, false, 0, 0, 0, NULL},
};
#undef AT
const struct body_schema location_schema = {
    location_fields, sizeof location_fields / sizeof *location_fields};

/* --- answers -------------------------------------------------------------- */

/* WireguardNetworkInfo of defguard, without the private key. */
static void out_location(struct http_request *rq, const struct roster *r,
                         const struct gateway_order *order,
                         const struct location *l)
{
    struct json_out *o = &rq->json;
    char key[KEY_TEXT_SIZE];
    key_format(l->public_key, key);
    out_object(o);
    out_member_uint(o, "id", l->id);
    out_member(o, "name", l->name);
    out_key(o, "address");
    out_comma_list(o, l->address);
    out_member_uint(o, "port", l->port);
    out_member(o, "pubkey", key);
    out_member(o, "endpoint", l->endpoint);
    out_member(o, "dns", l->dns[0] != '\0' ? l->dns : NULL);
    out_key(o, "allowed_ips");
    out_comma_list(o, l->allowed_ips);
    out_member_null(o, "connected_at");
    out_member_uint(o, "keepalive_interval", l->keepalive_interval_s);
    out_member_uint(o, "peer_disconnect_threshold",
                    l->peer_disconnect_threshold_s);
    out_member_bool(o, "accept_unknown_peers", l->accept_unknown_peers);
    out_member_bool(o, "mfa_enabled", false);
    out_member(o, "location_mfa_mode", "disabled");
    out_member_bool(o, "acl_enabled", false);
    out_member_bool(o, "acl_default_allow", false);
    out_key(o, "allowed_groups");
    out_comma_list(o, "");
    out_key(o, "gateways");
    bool connected = out_gateways(rq, r, order, l);
    out_member_bool(o, "connected", connected);
    out_object_end(o);
}

static void answer_location(struct http_request *rq, uint32_t id, int status)
{
    struct roster *r = store_roster(rq->node->store);
    struct gateway_order order = {0};
    roster_read_lock(r);
    const struct location *l = roster_location(r, id);
    if (l == NULL) {
        http_error(rq, 404, "not_found", "location: not found");
    } else if (gateway_order_make(r, &order) != 0) {
        http_error(rq, 503, "overload", "out of memory");
    } else {
        out_location(rq, r, &order, l);
        http_answer(rq, status);
    }
    roster_read_unlock(r);
    gateway_order_deinit(&order);
}

void api_location_list(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    struct gateway_order order = {0};
    roster_read_lock(r);
    if (gateway_order_make(r, &order) != 0) {
        http_error(rq, 503, "overload", "out of memory");
    } else {
        out_array(&rq->json);
        for (const struct location *l = roster_next_location(r, 0); l != NULL;
             l = roster_next_location(r, l->id))
            out_location(rq, r, &order, l);
        out_array_end(&rq->json);
        http_answer(rq, 200);
    }
    roster_read_unlock(r);
    gateway_order_deinit(&order);
}

void api_location_get(struct http_request *rq)
{
    answer_location(rq, rq->id, 200);
}

/* --- changes -------------------------------------------------------------- */

_Static_assert(SUBNETS_MAX == 16, "the texts say 16");

/* What the field table cannot say. On failure the 400 is written. */
static int check(struct http_request *rq, const struct location_body *b)
{
    const char *message = NULL;
    struct subnets subnets;
    if (!cidr_list_is_valid(b->address, false))
        message = "address: must be a comma list of CIDRs, such as 10.1.1.1/24";
    else if (subnets_parse(b->address, &subnets) != 0)
        message = "address: must be at most 16 CIDRs, no two of which overlap";
    else if (!host_text_is_valid(b->endpoint) ||
             strpbrk(b->endpoint, ", ") != NULL)
        message = "endpoint: must be a host name or an address";
    else if (b->allowed_ips != NULL && b->allowed_ips[0] != '\0' &&
             !cidr_list_is_valid(b->allowed_ips, true))
        message = "allowed_ips: must be a comma list of CIDRs";
    else if (b->dns != NULL && !host_text_is_valid(b->dns))
        message = "dns: must be a comma list of addresses or domains";
    if (message == NULL)
        return 0;
    http_error(rq, 400, "invalid", "%s", message);
    return ERR_INVALID;
}

static struct location_spec spec_of(const struct location_body *b)
{
    return (struct location_spec){
        .name = b->name,
        .address = b->address,
        .endpoint = b->endpoint,
        .allowed_ips = b->allowed_ips,
        .dns = b->dns,
        .port = (uint16_t)b->port,
        .keepalive_interval_s = (uint32_t)b->keepalive_interval,
        .peer_disconnect_threshold_s = (uint32_t)b->peer_disconnect_threshold,
        .accept_unknown_peers = b->accept_unknown_peers,
    };
}

static void created(struct http_request *rq, int status)
{
    if (!http_write_failed(rq, status, "location"))
        answer_location(rq, (uint32_t)rq->outcome.value, 201);
}

void api_location_create(struct http_request *rq)
{
    struct body body = {0};
    struct location_body b = {.keepalive_interval = 25,
                              .peer_disconnect_threshold = 300};
    if (http_read_body(rq, &body, &b) == 0 && check(rq, &b) == 0) {
        struct location_spec spec = spec_of(&b);
        struct buf record = {0};
        key_pair_make(spec.private_key, spec.public_key);
        record_put_location_create(&record, &spec);
        http_submit(rq, &record, created);
    }
    body_close(&body);
}

static void changed(struct http_request *rq, int status)
{
    if (status == 0 && rq->outcome.code == OUTCOME_EXISTS)
        http_error(rq, 409, "exists", "address: device %llu has this address",
                   (unsigned long long)rq->outcome.value);
    else if (!http_write_failed(rq, status, "location"))
        answer_location(rq, rq->id, 200);
}

/* A PUT names everything, but for what only we know: that keeps its value. */
static bool keep_current(struct http_request *rq, struct location_body *b)
{
    struct roster *r = store_roster(rq->node->store);
    roster_read_lock(r);
    const struct location *l = roster_location(r, rq->id);
    if (l != NULL) {
        b->keepalive_interval = l->keepalive_interval_s;
        b->peer_disconnect_threshold = l->peer_disconnect_threshold_s;
        b->accept_unknown_peers = l->accept_unknown_peers;
    }
    roster_read_unlock(r);
    if (l == NULL)
        http_error(rq, 404, "not_found", "location: not found");
    return l != NULL;
}

void api_location_change(struct http_request *rq)
{
    struct body body = {0};
    struct location_body b = {0};
    if (keep_current(rq, &b) && http_read_body(rq, &body, &b) == 0 &&
        check(rq, &b) == 0) {
        struct location_spec spec = spec_of(&b);
        struct buf record = {0};
        record_put_location_change(&record, rq->id, &spec);
        http_submit(rq, &record, changed);
    }
    body_close(&body);
}

static void deleted(struct http_request *rq, int status)
{
    if (http_write_failed(rq, status, "location"))
        return;
    out_null(&rq->json);
    http_answer(rq, 200);
}

void api_location_delete(struct http_request *rq)
{
    struct buf record = {0};
    record_put_location_delete(&record, rq->id);
    http_submit(rq, &record, deleted);
}

/* --- the gateways' token -------------------------------------------------- */

/* Where gateways reach this node: the host by which the client reached us, and
 * the gRPC port. */
static void grpc_url(const struct http_request *rq, char *out, size_t size)
{
    const char *given = getenv("DEFGUARD_GRPC_URL");
    if (given != NULL && given[0] != '\0') {
        snprintf(out, size, "%s", given);
        return;
    }
    const char *port = strrchr(rq->node->grpc_address, ':');
    char host[sizeof rq->host];
    snprintf(host, sizeof host, "%s",
             rq->host[0] != '\0' && host_text_is_valid(rq->host)
                 ? rq->host
                 : rq->node->grpc_address);
    char *colon = strrchr(host, ':');
    if (colon != NULL && strchr(colon, ']') == NULL)
        *colon = '\0';
    snprintf(out, size, "%s://%s%s",
             rq->node->config->tls_cert != NULL ? "https" : "http", host,
             port != NULL ? port : ":50055");
}

void api_location_token(struct http_request *rq)
{
    struct roster *r = store_roster(rq->node->store);
    char *token = NULL;
    roster_read_lock(r);
    const struct settings *settings = roster_settings(r);
    bool there = roster_location(r, rq->id) != NULL;
    if (there && settings != NULL && settings->present)
        token = gateway_token_make(settings->gateway_secret, rq->id,
                                   node_now_ms(rq->node) / 1000);
    roster_read_unlock(r);
    if (!there) {
        http_error(rq, 404, "not_found", "location: not found");
        return;
    }
    if (token == NULL) {
        http_error(rq, 500, "internal", "the token could not be signed");
        return;
    }
    char url[320];
    grpc_url(rq, url, sizeof url);
    out_object(&rq->json);
    out_member(&rq->json, "token", token);
    out_member(&rq->json, "grpc_url", url);
    out_object_end(&rq->json);
    http_answer(rq, 200);
    free(token);
}
