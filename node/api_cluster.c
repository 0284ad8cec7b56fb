/* The cluster as this node sees it, and the digest by which nodes are compared
 * (DESIGN, rule 7). See api.h. */
#include "node/api.h"

#include "base/clock.h"

#include <stdio.h>

/* What only this node knows of itself. */
static void out_own_members(struct http_request *rq,
                            const struct repl_status *status)
{
    struct json_out *o = &rq->json;
    struct store_status store;
    store_status(rq->node->store, &store);
    out_member(o, "zone", rq->node->config->zone);
    out_member_uint(o, "term", status->term);
    out_member_uint(o, "commit", status->commit_index);
    out_member_uint(o, "applied", store.applied_index);
    out_member_uint(o, "flushed", store.flushed_index);
    out_member_uint(o, "age_ms", http_age_ms(rq->node, status));
    out_member(o, "version", HOLDFAST_VERSION);
    out_member_uint(o, "db_bytes", store.used_bytes);
}

static void out_node(struct http_request *rq, const struct repl_status *status,
                     const struct repl_node_status *n)
{
    static const char *const unknown[] = {"zone",    "term",    "commit",
                                          "applied", "flushed", "age_ms",
                                          "version", "db_bytes"};
    struct json_out *o = &rq->json;
    bool own = n->id == status->raft_id;
    out_object(o);
    out_member(o, "name", n->name);
    /* Raft ids use all 64 bits, JSON numbers of browsers 53. */
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)n->id);
    out_member(o, "id", id);
    out_member(o, "address", n->address);
    out_member(o, "role", n->role);
    out_member_bool(o, "leader", n->leader);
    out_member_bool(o, "self", own);
    out_member_bool(o, "connected", n->connected);
    out_key(o, "rtt_us");
    if (own || n->rtt_us == 0)
        out_null(o);
    else
        out_uint(o, n->rtt_us);
    if (own)
        out_own_members(rq, status);
    else
        for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
            out_member_null(o, unknown[i]);
    out_object_end(o);
}

void api_cluster(struct http_request *rq)
{
    struct repl_status status;
    struct json_out *o = &rq->json;
    const char *leader = NULL;
    char id[2 * CLUSTER_ID_SIZE + 1];
    repl_status(rq->node->repl, &status);
    for (size_t i = 0; i < CLUSTER_ID_SIZE; i++)
        snprintf(id + 2 * i, 3, "%02x", status.cluster_id[i]);
    for (size_t i = 0; i < status.node_count; i++)
        if (status.nodes[i].leader)
            leader = status.nodes[i].name;
    out_object(o);
    out_member(o, "cluster_id", status.bootstrapped ? id : NULL);
    out_member(o, "node", rq->node->config->name);
    out_member(o, "state", status.state);
    out_member_bool(o, "has_leader", status.has_leader);
    out_member(o, "leader", leader);
    out_member_uint(o, "term", status.term);
    out_member_uint(o, "commit", status.commit_index);
    out_member_uint(o, "applied", store_applied_index(rq->node->store));
    out_member_uint(o, "age_ms", http_age_ms(rq->node, &status));
    out_key(o, "nodes");
    out_array(o);
    for (size_t i = 0; i < status.node_count; i++)
        out_node(rq, &status, &status.nodes[i]);
    out_array_end(o);
    out_object_end(o);
    http_answer(rq, 200);
}

/* --- digest --------------------------------------------------------------- */

static void answer_digest(struct http_request *rq, uint64_t index,
                          uint64_t digest, int status)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)digest);
    out_object(&rq->json);
    out_member_uint(&rq->json, "index", index);
    out_member(&rq->json, "digest", text);
    out_object_end(&rq->json);
    http_answer(rq, status);
}

/* This replica's digest at @index, which it has applied. */
static void answer_own_digest(struct http_request *rq, uint64_t index,
                              int status)
{
    uint64_t digest;
    if (store_digest_at(rq->node->store, index, &digest) == 0)
        answer_digest(rq, index, digest, status);
    else
        http_error(rq, 404, "not_found",
                   "no digest at index %llu here: POST /api/v1/digest makes "
                   "one on every node",
                   (unsigned long long)index);
}

static void digest_taken(struct http_request *rq, int status)
{
    if (!http_write_failed(rq, status, "digest"))
        answer_own_digest(rq, rq->outcome.index, 201);
}

void api_digest_take(struct http_request *rq)
{
    struct buf record = {0};
    record_put_digest(&record);
    http_submit(rq, &record, digest_taken);
}

static void digest_reached(struct http_request *rq, int status)
{
    if (status == 0)
        answer_own_digest(rq, rq->wait_index, 200);
    else
        http_wait_failed(rq, status);
}

void api_digest_get(struct http_request *rq)
{
    const char *text = http_param(rq, "index");
    uint64_t index;
    if (text == NULL || uint_parse(text, UINT64_MAX, &index) != 0) {
        http_error(rq, 400, "invalid", "index: must be a log index");
        return;
    }
    http_await_index(rq, index, HTTP_DIGEST_WAIT_MS, digest_reached);
}
