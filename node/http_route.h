/* The table of routes: what is served, who may ask, what it takes. Matching,
 * 405's Allow and /api/v1/openapi.json all come from it. */
#pragma once

#include "node/http.h"

enum route_flag {
    ROUTE_PUBLIC = 1, /* no token */
    ROUTE_READ = 2,   /* takes consistency and at_least */
    ROUTE_FRESH = 4,  /* a write that begins with what this replica knows: after
                         a barrier, or a lagging one would say 404 */
    ROUTE_ACTION = 8, /* a POST that makes nothing: 200, not 201 */
};

struct http_route {
    enum http_method method;
    const char *pattern; /* "/api/v1/network/{id}/token" */
    unsigned flags;
    http_handler_fn *handler;
    const char *summary;            /* for openapi.json */
    const char *const *params;      /* names, NULL-terminated, or NULL */
    const struct body_schema *body; /* or NULL */
};

/* node/api_routes.c; earlier ones win. */
extern const struct http_route api_routes[];
extern const size_t api_route_count;

struct route_match {
    const struct http_route *route; /* NULL: none */
    unsigned allowed; /* enum http_method of routes on this path */
    uint32_t id;
    char name[HTTP_NAME_LENGTH_MAX + 1];
};

/* @path is as sent: segments are split before escapes are decoded, so that no
 * escape can make a slash. */
void route_find(const struct http_route *routes, size_t count,
                enum http_method method, struct bytes path,
                struct route_match *out);

/* "GET, HEAD, OPTIONS" of a set of methods. */
void route_allow_text(unsigned allowed, char out[64]);

/* ERR_INVALID: a query parameter that the route does not take; named. */
NODISCARD int route_check_params(const struct http_route *route,
                                 const struct query_params *query,
                                 struct errmsg *e);
