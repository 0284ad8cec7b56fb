/* See http_route.h. */
#include "node/http_route.h"

#include <stdio.h>

/* The segment at the front of *@path ("/a/b" -> "a"), false at the end. */
static bool next_segment(struct bytes *path, struct bytes *segment)
{
    if (path->size == 0 || path->data[0] != '/')
        return false;
    path->data++;
    path->size--;
    size_t length = 0;
    while (length < path->size && path->data[length] != '/')
        length++;
    *segment = (struct bytes){path->data, length};
    path->data += length;
    path->size -= length;
    return true;
}

static bool capture(struct bytes name, struct bytes raw,
                    struct route_match *match)
{
    char text[HTTP_NAME_LENGTH_MAX + 1];
    if (percent_decode(raw, text, sizeof text) <= 0)
        return false;
    if (bytes_equal(name, bytes_of_string("{id}"))) {
        uint64_t id;
        if (uint_parse(text, UINT32_MAX, &id) != 0 || id == 0)
            return false;
        match->id = (uint32_t)id;
        return true;
    }
    memcpy(match->name, text, sizeof text);
    return true;
}

static bool path_matches(const char *pattern, struct bytes path,
                         struct route_match *match)
{
    struct bytes rest = bytes_of_string(pattern);
    for (;;) {
        struct bytes want, have;
        bool more = next_segment(&rest, &want);
        if (more != next_segment(&path, &have))
            return false;
        if (!more)
            return path.size == 0;
        bool variable = want.size > 0 && want.data[0] == '{';
        if (variable ? !capture(want, have, match) : !bytes_equal(want, have))
            return false;
    }
}

void route_find(const struct http_route *routes, size_t count,
                enum http_method method, struct bytes path,
                struct route_match *out)
{
    *out = (struct route_match){0};
    for (size_t i = 0; i < count; i++) {
        struct route_match match = {0};
        if (!path_matches(routes[i].pattern, path, &match))
            continue;
        out->allowed |= routes[i].method;
        if (routes[i].method != method || out->route != NULL)
            continue;
        match.allowed = out->allowed;
        match.route = &routes[i];
        *out = match;
    }
}

void route_allow_text(unsigned allowed, char out[64])
{
    snprintf(out, 64, "%s%s%s%sOPTIONS",
             (allowed & HTTP_GET) != 0 ? "GET, HEAD, " : "",
             (allowed & HTTP_POST) != 0 ? "POST, " : "",
             (allowed & HTTP_PUT) != 0 ? "PUT, " : "",
             (allowed & HTTP_DELETE) != 0 ? "DELETE, " : "");
}

static bool takes_param(const struct http_route *route, const char *name)
{
    if ((route->flags & ROUTE_READ) != 0 &&
        (strcmp(name, "consistency") == 0 || strcmp(name, "at_least") == 0))
        return true;
    for (const char *const *p = route->params; p != NULL && *p != NULL; p++)
        if (strcmp(*p, name) == 0)
            return true;
    return false;
}

int route_check_params(const struct http_route *route,
                       const struct query_params *query, struct errmsg *e)
{
    for (size_t i = 0; i < query->count; i++)
        if (!takes_param(route, query->params[i].name))
            return errmsg_set(e, ERR_INVALID,
                              "query parameter %.60s: unknown here",
                              query->params[i].name);
    return 0;
}
