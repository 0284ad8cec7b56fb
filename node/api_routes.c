/* The table of routes (http_route.h). Earlier rows win where two match. */
#include "node/api.h"
#include "node/http_route.h"

static const char *const overview_params[] = {
    "location", "from", "to",    "resolution", "by",     "gateway",
    "device",   "user", "limit", "after",      "points", NULL};
static const char *const activity_params[] = {"location", "from", "to",
                                              "resolution", NULL};
static const char *const connected_params[] = {"location", "limit", "after",
                                               NULL};
static const char *const stats_params[] = {"from", "to", NULL};
static const char *const export_params[] = {"what", "format",   "from",
                                            "to",   "location", NULL};
static const char *const digest_params[] = {"index", NULL};

#define PROBE(path, handler, summary)                                          \
    {                                                                          \
        HTTP_GET, path, ROUTE_PUBLIC, handler, summary, NULL, NULL             \
    }
#define READ(path, handler, params, summary)                                   \
    {                                                                          \
        HTTP_GET, path, ROUTE_READ, handler, summary, params, NULL             \
    }
#define WRITE(method, path, handler, body, summary)                            \
    {                                                                          \
        method, path, 0, handler, summary, NULL, body                          \
    }
#define CHANGE(method, path, handler, body, summary)                           \
    {                                                                          \
        method, path, ROUTE_FRESH, handler, summary, NULL, body                \
    }
/* What an operator does to nodes; like every route without ROUTE_PUBLIC it
 * wants an API token, all of which have the admin role. */
#define OPERATE(method, path, handler, body, summary)                          \
    {                                                                          \
        method, path, ROUTE_ACTION, handler, summary, NULL, body               \
    }

const struct http_route api_routes[] = {
    PROBE("/livez", api_livez, "Every loop ticks"),
    PROBE("/readyz", api_readyz, "This replica can answer"),
    PROBE("/metrics", api_metrics, "Prometheus text"),
    PROBE("/api/v1/health", api_health, "Both probes as JSON"),
    PROBE("/api/v1/openapi.json", api_openapi, "This description"),

    READ("/api/v1/network", api_location_list, NULL, "All locations"),
    WRITE(HTTP_POST, "/api/v1/network", api_location_create, &location_schema,
          "Make a location; the server makes its key pair"),
    READ("/api/v1/network/gateways", api_gateway_list, NULL,
         "Gateways of all locations, by location id"),
    READ("/api/v1/network/stats", api_stats, stats_params,
         "Traffic and active users of all locations"),
    READ("/api/v1/network/{id}/stats", api_stats_of_location, stats_params,
         "Traffic and active users of a location"),
    READ("/api/v1/network/{id}/stats/users", api_stats_users, stats_params,
         "Devices that are active, by user, each with its traffic"),
    READ("/api/v1/network/{id}", api_location_get, NULL, "One location"),
    CHANGE(HTTP_PUT, "/api/v1/network/{id}", api_location_change,
           &location_schema, "Change a location"),
    WRITE(HTTP_DELETE, "/api/v1/network/{id}", api_location_delete, NULL,
          "Delete a location"),
    READ("/api/v1/network/{id}/gateways", api_gateway_list_of_location, NULL,
         "Gateways of a location"),
    WRITE(HTTP_DELETE, "/api/v1/gateway/{id}", api_gateway_delete, NULL,
          "Forget a gateway that is gone; its history stays"),
    READ("/api/v1/network/{id}/token", api_location_token, NULL,
         "What a gateway of this location is started with"),

    READ("/api/v1/device/network", api_network_device_list, NULL,
         "Network devices"),
    WRITE(HTTP_POST, "/api/v1/device/network", api_network_device_create,
          &network_device_schema,
          "Add a network device to one location, or claim one"),
    READ("/api/v1/device/network/{id}", api_network_device_get, NULL,
         "One network device"),
    CHANGE(HTTP_DELETE, "/api/v1/device/network/{id}",
           api_network_device_delete, NULL, "Delete a network device"),
    READ("/api/v1/device", api_device_list, NULL, "All devices"),
    READ("/api/v1/device/user/{username}", api_device_list_of_user, NULL,
         "Devices of a user, with their locations"),
    READ("/api/v1/device/{id}", api_device_get, NULL, "One device"),
    CHANGE(HTTP_PUT, "/api/v1/device/{id}", api_device_change, &device_schema,
           "Change a device"),
    WRITE(HTTP_DELETE, "/api/v1/device/{id}", api_device_delete, NULL,
          "Delete a device"),
    CHANGE(HTTP_POST, "/api/v1/device/{username}", api_device_create,
           &device_schema,
           "Add a user's device to all locations, or claim one"),

    READ("/api/v1/token", api_token_list, NULL, "API tokens, by name"),
    WRITE(HTTP_POST, "/api/v1/token", api_token_create, &token_schema,
          "Make an admin token; it is shown this once"),
    CHANGE(HTTP_DELETE, "/api/v1/token/{id}", api_token_revoke, NULL,
           "Revoke an API token; not the last one"),

    READ("/api/v1/settings", api_settings, NULL,
         "How long minutes, hours and days are kept"),
    CHANGE(HTTP_PUT, "/api/v1/settings", api_settings_change, &settings_schema,
           "Change that for the whole cluster"),

    READ("/api/v1/overview", api_overview, overview_params,
         "Traffic: upload is what gateways sent to peers"),
    READ("/api/v1/activity", api_activity, activity_params,
         "How many users, devices and gateways are active, now and in a "
         "window"),
    READ("/api/v1/connected", api_connected, connected_params,
         "Who is connected and since when, the newest first"),
    READ("/api/v1/cluster", api_cluster, NULL,
         "The cluster as this node sees it"),
    OPERATE(HTTP_POST, "/api/v1/cluster/members/{name}", api_member_change,
            &member_schema, "Promote a node to voter or demote it to standby"),
    OPERATE(HTTP_DELETE, "/api/v1/cluster/members/{name}", api_member_remove,
            NULL, "Take a node out of the cluster, for good"),
    OPERATE(HTTP_POST, "/api/v1/cluster/leader", api_leader_transfer,
            &leader_schema, "Hand leadership over"),
    OPERATE(HTTP_POST, "/api/v1/drain", api_drain, &drain_schema,
            "Give this node's leadership and gateways away, or take part "
            "again"),
    {HTTP_GET, "/api/v1/export", ROUTE_ACTION, api_export,
     "Raw reports or buckets as CSV or JSON lines, streamed", export_params,
     NULL},
    OPERATE(HTTP_GET, "/api/v1/snapshot", api_snapshot, NULL,
            "A copy of this node's store, as a file; one at a time"),
    READ("/api/v1/digest", api_digest_get, digest_params,
         "This replica's digest at a log index; waits at most 5 s"),
    WRITE(HTTP_POST, "/api/v1/digest", api_digest_take, NULL,
          "Have every node compute its digest at one log index"),
};
const size_t api_route_count = sizeof api_routes / sizeof *api_routes;
