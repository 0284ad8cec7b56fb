/* See http_dispatch.h. */
#include "node/http_dispatch.h"

#include "base/assert.h"
#include "node/http_route.h"
#include "node/token.h"
#include "node/web_asset.h"

#include <stdio.h>
#include <strings.h>

static enum http_method method_of(const char *name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        {"GET", HTTP_GET}, {"HEAD", HTTP_GET},      {"POST", HTTP_POST},
        {"PUT", HTTP_PUT}, {"DELETE", HTTP_DELETE}, {"OPTIONS", HTTP_OPTIONS},
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(name, methods[i].name) == 0)
            return methods[i].method;
    return HTTP_METHOD_UNKNOWN;
}

static bool is_authorized(struct http_request *rq, const char *authorization)
{
    if (authorization == NULL || strncasecmp(authorization, "Bearer ", 7) != 0)
        return false;
    struct bytes token = bytes_of_string(authorization + 7);
    while (token.size > 0 && token.data[0] == ' ') {
        token.data++;
        token.size--;
    }
    if (token.size == 0 || token.size > HTTP_TOKEN_LENGTH_MAX)
        return false;
    uint8_t hash[API_TOKEN_HASH_SIZE];
    api_token_hash(token, hash);
    struct roster *roster = store_roster(rq->node->store);
    roster_read_lock(roster);
    bool known = roster_api_token(roster, hash);
    roster_read_unlock(roster);
    return known;
}

static void refuse_method(struct http_request *rq, unsigned allowed)
{
    char allow[64];
    route_allow_text(allowed, allow);
    http_header(rq, "Allow", "%s", allow);
    if (rq->method == HTTP_OPTIONS)
        rq->status = 204;
    else
        http_error(rq, 405, "method_not_allowed", "this path takes %s", allow);
}

/* No route: one of the page's files, or nothing. */
static void find_asset(struct http_request *rq)
{
    const struct web_asset *asset = web_asset_find(rq->path);
    if (asset == NULL)
        http_error(rq, 404, "not_found", "there is nothing at this path");
    else if (rq->method != HTTP_GET)
        refuse_method(rq, HTTP_GET);
    else
        web_asset_answer(rq, asset);
}

void dispatch_head(struct http_request *rq, const struct http_head *head)
{
    struct errmsg e = {0};
    struct bytes query = head->target;
    const uint8_t *mark =
        query.size > 0 ? memchr(query.data, '?', query.size) : NULL;
    rq->path = head->target;
    query.size = 0;
    if (mark != NULL) {
        rq->path.size = (size_t)(mark - head->target.data);
        query.data = mark + 1;
        query.size = head->target.size - rq->path.size - 1;
    }
    rq->consistency = "local";
    rq->method = method_of(head->method);
    if (head->target.size > HTTP_TARGET_SIZE_MAX) {
        http_error(rq, 414, "target_too_long",
                   "path and query are longer than %d bytes",
                   HTTP_TARGET_SIZE_MAX);
        return;
    }

    struct route_match match;
    route_find(api_routes, api_route_count, rq->method, rq->path, &match);
    if (match.allowed == 0) {
        find_asset(rq);
        return;
    }
    if (match.route == NULL) {
        refuse_method(rq, match.allowed);
        return;
    }
    rq->route = match.route;
    rq->id = match.id;
    memcpy(rq->name, match.name, sizeof rq->name);
    if ((rq->route->flags & ROUTE_PUBLIC) == 0 &&
        !is_authorized(rq, head->authorization)) {
        http_header(rq, "WWW-Authenticate", "Bearer realm=\"holdfast\"");
        http_error(rq, 401, "unauthorized",
                   "send an API token: Authorization: Bearer <token>");
        return;
    }
    int rv = query_parse(query, &rq->query, &e);
    if (rv == 0 && (rq->route->flags & ROUTE_PUBLIC) == 0)
        rv = route_check_params(rq->route, &rq->query, &e);
    if (rv != 0)
        http_error(rq, 400, "invalid", "%s", e.text);
}

/* --- consistency of reads (DESIGN, "Reading") ----------------------------- */

static void run_handler(struct http_request *rq, int status)
{
    if (status == 0)
        rq->route->handler(rq);
    else
        http_wait_failed(rq, status);
}

static void run_fresh(struct http_request *rq, int status)
{
    if (status == 0 || status == ERR_TIMEOUT || status == ERR_CLOSED)
        run_handler(rq, status);
    else
        http_error(rq, 503, "no_leader",
                   "not done: no leader takes writes now; try again");
}

/* "123", or "<first 8 hex digits of the cluster id>-123". */
static int parse_at_least(struct http_request *rq, const char *text,
                          uint64_t *index)
{
    const char *dash = strchr(text, '-');
    if (uint_parse(dash != NULL ? dash + 1 : text, UINT64_MAX, index) != 0 ||
        (dash != NULL && dash - text != 8)) {
        http_error(rq, 400, "invalid",
                   "at_least: must be an index, or <cluster>-<index>");
        return ERR_INVALID;
    }
    if (dash == NULL)
        return 0;
    struct repl_status status;
    repl_status(rq->node->repl, &status);
    char own[9];
    for (size_t i = 0; i < 4; i++)
        snprintf(own + 2 * i, 3, "%02x", status.cluster_id[i]);
    if (strncasecmp(own, text, 8) == 0)
        return 0;
    http_error(rq, 409, "foreign_cluster",
               "at_least is of cluster %.8s, this one is %s", text, own);
    return ERR_FOREIGN;
}

void dispatch_run(struct http_request *rq)
{
    const char *consistency = http_param(rq, "consistency");
    const char *at_least = http_param(rq, "at_least");
    out_begin(&rq->json, &rq->answer);
    if ((rq->route->flags & ROUTE_READ) == 0)
        consistency = at_least = NULL;
    if (consistency != NULL && strcmp(consistency, "local") != 0 &&
        (strcmp(consistency, "linearizable") != 0 || at_least != NULL)) {
        http_error(rq, 400, "invalid",
                   "consistency: must be local or linearizable (and then "
                   "without at_least)");
        return;
    }
    if (at_least != NULL) {
        uint64_t index;
        if (parse_at_least(rq, at_least, &index) != 0)
            return;
        rq->consistency = "at_least";
        http_await_index(rq, index, HTTP_READ_WAIT_MS, run_handler);
    } else if (consistency != NULL &&
               strcmp(consistency, "linearizable") == 0) {
        rq->consistency = "linearizable";
        http_await_barrier(rq, run_handler);
    } else if ((rq->route->flags & ROUTE_FRESH) != 0) {
        http_await_barrier(rq, run_fresh);
    } else {
        rq->route->handler(rq);
    }
    ASSERT((rq->status != 0) != (rq->wait != WAIT_NONE));
}

void dispatch_resume(struct http_request *rq)
{
    rq->resume(rq, rq->wait_status);
    ASSERT((rq->status != 0) != (rq->wait != WAIT_NONE));
}
