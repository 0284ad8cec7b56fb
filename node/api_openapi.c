/* GET /api/v1/openapi.json, generated from the route table, so that it cannot
 * say what is not served. See api.h. */
#include "node/api.h"
#include "node/http_route.h"

static const char *method_name(enum http_method method)
{
    switch (method) {
    case HTTP_POST:
        return "post";
    case HTTP_PUT:
        return "put";
    case HTTP_DELETE:
        return "delete";
    case HTTP_GET:
    case HTTP_OPTIONS:
    case HTTP_METHOD_UNKNOWN:
        break;
    }
    return "get";
}

static void out_parameter(struct json_out *o, const char *name,
                          const char *where)
{
    out_object(o);
    out_member(o, "name", name);
    out_member(o, "in", where);
    out_member_bool(o, "required", strcmp(where, "path") == 0);
    out_key(o, "schema");
    out_object(o);
    out_member(o, "type", strcmp(name, "id") == 0 ? "integer" : "string");
    out_object_end(o);
    out_object_end(o);
}

static void out_parameters(struct json_out *o, const struct http_route *route)
{
    out_key(o, "parameters");
    out_array(o);
    if (strstr(route->pattern, "{id}") != NULL)
        out_parameter(o, "id", "path");
    if (strstr(route->pattern, "{username}") != NULL)
        out_parameter(o, "username", "path");
    if (strstr(route->pattern, "{name}") != NULL)
        out_parameter(o, "name", "path");
    for (const char *const *p = route->params; p != NULL && *p != NULL; p++)
        out_parameter(o, *p, "query");
    if ((route->flags & ROUTE_READ) != 0) {
        out_parameter(o, "consistency", "query");
        out_parameter(o, "at_least", "query");
    }
    out_array_end(o);
}

static void out_property(struct json_out *o, const struct body_field *f)
{
    out_key(o, f->name);
    out_object(o);
    if (f->about != NULL)
        out_member(o, "description", f->about);
    switch (f->kind) {
    case BODY_TEXT:
        out_member(o, "type", "string");
        out_member_uint(o, "minLength", f->min);
        out_member_uint(o, "maxLength", f->max);
        break;
    case BODY_UINT:
        out_member(o, "type", "integer");
        out_member_uint(o, "minimum", f->min);
        out_member_uint(o, "maximum", f->max);
        break;
    case BODY_DURATION:
        out_member(o, "type", "string");
        out_member(o, "example", "168h");
        break;
    case BODY_BOOL:
        out_member(o, "type", "boolean");
        break;
    case BODY_UNSET:
        out_member(o, "description", "accepted only where it asks for nothing");
        break;
    }
    out_object_end(o);
}

static void out_request_body(struct json_out *o,
                             const struct body_schema *schema)
{
    out_key(o, "requestBody");
    out_object(o);
    out_member_bool(o, "required", true);
    out_key(o, "content");
    out_object(o);
    out_key(o, "application/json");
    out_object(o);
    out_key(o, "schema");
    out_object(o);
    out_member(o, "type", "object");
    out_member_bool(o, "additionalProperties", false);
    out_key(o, "required");
    out_array(o);
    for (size_t i = 0; i < schema->count; i++)
        if (schema->fields[i].required)
            out_string(o, schema->fields[i].name);
    out_array_end(o);
    out_key(o, "properties");
    out_object(o);
    for (size_t i = 0; i < schema->count; i++)
        out_property(o, &schema->fields[i]);
    out_object_end(o);
    out_object_end(o);
    out_object_end(o);
    out_object_end(o);
    out_object_end(o);
}

static bool makes_something(const struct http_route *route)
{
    return route->method == HTTP_POST && (route->flags & ROUTE_ACTION) == 0;
}

static void out_operation(struct json_out *o, const struct http_route *route)
{
    out_key(o, method_name(route->method));
    out_object(o);
    out_member(o, "summary", route->summary);
    out_parameters(o, route);
    if (route->body != NULL)
        out_request_body(o, route->body);
    if ((route->flags & ROUTE_PUBLIC) == 0) {
        out_key(o, "security");
        out_array(o);
        out_object(o);
        out_key(o, "token");
        out_array(o);
        out_array_end(o);
        out_object_end(o);
        out_array_end(o);
    }
    out_key(o, "responses");
    out_object(o);
    out_key(o, makes_something(route) ? "201" : "200");
    out_object(o);
    out_member(o, "description", "done");
    out_object_end(o);
    out_key(o, "default");
    out_object(o);
    out_member(o, "description", "{\"msg\": \"...\", \"code\": \"...\"}");
    out_object_end(o);
    out_object_end(o);
    out_object_end(o);
}

/* Whether an earlier row has this pattern: its path was written there. */
static bool is_repeated(size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(api_routes[i].pattern, api_routes[at].pattern) == 0)
            return true;
    return false;
}

void api_openapi(struct http_request *rq)
{
    struct json_out *o = &rq->json;
    out_object(o);
    out_member(o, "openapi", "3.0.3");
    out_key(o, "info");
    out_object(o);
    out_member(o, "title", "Holdfast");
    out_member(o, "version", HOLDFAST_VERSION);
    out_object_end(o);
    out_key(o, "components");
    out_object(o);
    out_key(o, "securitySchemes");
    out_object(o);
    out_key(o, "token");
    out_object(o);
    out_member(o, "type", "http");
    out_member(o, "scheme", "bearer");
    out_object_end(o);
    out_object_end(o);
    out_object_end(o);
    out_key(o, "paths");
    out_object(o);
    for (size_t i = 0; i < api_route_count; i++) {
        if (is_repeated(i))
            continue;
        out_key(o, api_routes[i].pattern);
        out_object(o);
        for (size_t j = i; j < api_route_count; j++)
            if (strcmp(api_routes[i].pattern, api_routes[j].pattern) == 0)
                out_operation(o, &api_routes[j]);
        out_object_end(o);
    }
    out_object_end(o);
    out_object_end(o);
    http_answer(rq, 200);
}
