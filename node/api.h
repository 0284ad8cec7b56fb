/* The handlers that the route table (api_routes.c) names, by file. */
#pragma once

#include "node/http.h"

/* api_location.c */
extern const struct body_schema location_schema;
void api_location_list(struct http_request *rq);
void api_location_get(struct http_request *rq);
void api_location_create(struct http_request *rq);
void api_location_change(struct http_request *rq);
void api_location_delete(struct http_request *rq);
void api_location_token(struct http_request *rq);

/* api_gateway.c */
void api_gateway_list(struct http_request *rq);
void api_gateway_list_of_location(struct http_request *rq);
void api_gateway_delete(struct http_request *rq);

/* The gateways in the order of their locations, so that a list of locations
 * does not walk all gateways for each. */
struct gateway_order {
    uint64_t *keys; /* owned: location << 32 | gateway, sorted */
    size_t count;
};
/* Under the roster's read lock, as the others. */
NODISCARD int gateway_order_make(const struct roster *r,
                                 struct gateway_order *out);
void gateway_order_deinit(struct gateway_order *o);
/* The array of GatewayState; returns whether one of them is connected. */
bool out_gateways(struct http_request *rq, const struct roster *r,
                  const struct gateway_order *order, const struct location *l);

/* api_device.c */
extern const struct body_schema device_schema, network_device_schema;
void api_device_create(struct http_request *rq);
void api_device_list(struct http_request *rq);
void api_device_list_of_user(struct http_request *rq);
void api_device_get(struct http_request *rq);
void api_device_change(struct http_request *rq);
void api_device_delete(struct http_request *rq);
void api_network_device_create(struct http_request *rq);
void api_network_device_list(struct http_request *rq);
void api_network_device_get(struct http_request *rq);
void api_network_device_delete(struct http_request *rq);

/* api_token.c */
extern const struct body_schema token_schema;
void api_token_list(struct http_request *rq);
void api_token_create(struct http_request *rq);
void api_token_revoke(struct http_request *rq);

/* api_settings.c */
extern const struct body_schema settings_schema;
void api_settings(struct http_request *rq);
void api_settings_change(struct http_request *rq);
/* May records of this kind be written? If not, the answer is written. */
bool api_level_is_there(struct http_request *rq, enum record_kind kind);

/* api_activity.c */
void api_activity(struct http_request *rq);
/* location=: 0 for all. On failure the answer is written. */
NODISCARD int api_read_location(struct http_request *rq, uint32_t *out);

/* api_connected.c */
void api_connected(struct http_request *rq);

/* api_overview.c */
void api_overview(struct http_request *rq);

/* api_stats.c */
void api_stats(struct http_request *rq);
void api_stats_of_location(struct http_request *rq);

/* api_stats_users.c */
void api_stats_users(struct http_request *rq);

/* api_cluster.c */
void api_cluster(struct http_request *rq);
void api_digest_take(struct http_request *rq);
void api_digest_get(struct http_request *rq);

/* api_member.c */
extern const struct body_schema member_schema, leader_schema, drain_schema;
void api_member_change(struct http_request *rq);
void api_member_remove(struct http_request *rq);
void api_leader_transfer(struct http_request *rq);
void api_drain(struct http_request *rq);

/* api_export.c */
void api_export(struct http_request *rq);

/* api_snapshot.c */
void api_snapshot(struct http_request *rq);

/* api_health.c */
void api_livez(struct http_request *rq);
void api_readyz(struct http_request *rq);
void api_health(struct http_request *rq);

/* api_metrics.c */
void api_metrics(struct http_request *rq);

/* api_openapi.c */
void api_openapi(struct http_request *rq);
