/* Asking all nodes the same at once: those of --endpoints and, with --cluster,
 * every other member at the HTTP address that its peer address suggests (same
 * host, the port of the endpoint that named it). */
#pragma once

#include "ctl/ctl.h"

struct survey {
    struct question questions[ENDPOINTS_MAX];
    size_t count;
    json_t *unasked; /* owned: names of members with no address to ask */
};

/* Endpoints for --cluster into c->client, and the names of those for which
 * there is none into @s. Without the flag it does nothing. ERR_CLOSED when
 * nobody answers. */
NODISCARD int survey_find_members(struct ctl *c, struct survey *s,
                                  struct errmsg *e);

/* Asks all endpoints of @c; failures are in the questions. */
void survey_ask(const struct ctl *c, struct survey *s, const char *method,
                const char *path);
void survey_deinit(struct survey *s);

/* Forgets the answers, keeps the list of those that cannot be asked. */
void survey_clear(struct survey *s);

/* In an answer of /api/v1/cluster: the node that answered; NULL if absent. */
json_t *cluster_self(const json_t *cluster);
json_t *cluster_node(const json_t *cluster, const char *name);
