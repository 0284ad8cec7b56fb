#include "ctl/survey.h"

#include "ctl/view.h"

#include <stdio.h>

void survey_clear(struct survey *s)
{
    for (size_t i = 0; i < s->count; i++)
        question_deinit(&s->questions[i]);
    s->count = 0;
}

void survey_deinit(struct survey *s)
{
    survey_clear(s);
    json_decref(s->unasked);
    s->unasked = NULL;
}

void survey_ask(const struct ctl *c, struct survey *s, const char *method,
                const char *path)
{
    survey_clear(s);
    for (size_t i = 0; i < c->client.endpoint_count; i++)
        s->questions[i] = (struct question){
            .endpoint = c->client.endpoints[i],
            .method = method,
            .path = path,
        };
    s->count = c->client.endpoint_count;
    client_ask(&c->client, s->questions, s->count);
}

json_t *cluster_self(const json_t *cluster)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        if (view_bool(node, "self"))
            return node;
    }
    return NULL;
}

json_t *cluster_node(const json_t *cluster, const char *name)
{
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(cluster, "nodes"), i, node)
    {
        if (strcmp(view_text(node, "name"), name) == 0)
            return node;
    }
    return NULL;
}

/* --- --cluster ------------------------------------------------------------ */

static bool answers_already(const struct survey *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(view_text(s->questions[i].json, "node"), name) == 0)
            return true;
    return false;
}

/* The host of @peer_address with scheme and port of @endpoint. */
static bool guess(const char *endpoint, const char *peer_address, char *out,
                  size_t size)
{
    const char *host = strstr(endpoint, "://");
    const char *colon = strrchr(endpoint, ':');
    const char *peer_colon = strrchr(peer_address, ':');
    if (host == NULL || peer_colon == NULL || peer_colon == peer_address)
        return false;
    /* Without a port, and not within an IPv6 address. */
    if (colon == host || strchr(colon, ']') != NULL)
        colon = "";
    int n =
        snprintf(out, size, "%.*s://%.*s%s", (int)(host - endpoint), endpoint,
                 (int)(peer_colon - peer_address), peer_address, colon);
    return n > 0 && (size_t)n < size;
}

static bool is_endpoint(const struct client *c, const char *address)
{
    for (size_t i = 0; i < c->endpoint_count; i++)
        if (strcmp(c->endpoints[i], address) == 0)
            return true;
    return false;
}

static int add_member(struct ctl *c, struct survey *s, const char *endpoint,
                      const json_t *node, struct errmsg *e)
{
    char address[URL_LENGTH_MAX + 1];
    const char *name = view_text(node, "name");
    if (answers_already(s, name))
        return 0;
    if (!guess(endpoint, view_text(node, "address"), address, sizeof address) ||
        is_endpoint(&c->client, address))
        return json_array_append_new(s->unasked, json_string(name)) == 0
                   ? 0
                   : errmsg_set(e, ERR_NOMEM, "out of memory");
    return client_add_endpoint(&c->client, address, e);
}

int survey_find_members(struct ctl *c, struct survey *s, struct errmsg *e)
{
    const struct question *source = NULL;
    int rv = 0;
    s->unasked = json_array();
    if (!ctl_has(c, FLAG_CLUSTER))
        return 0;
    survey_ask(c, s, "GET", "/api/v1/cluster");
    for (size_t i = 0; i < s->count && source == NULL; i++)
        if (question_ok(&s->questions[i]))
            source = &s->questions[i];
    if (source == NULL)
        return question_fail(&s->questions[0], e);
    size_t i;
    json_t *node;
    json_array_foreach(json_object_get(source->json, "nodes"), i, node)
    {
        if (rv == 0)
            rv = add_member(c, s, source->endpoint, node, e);
    }
    return rv;
}
