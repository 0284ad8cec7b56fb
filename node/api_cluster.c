/* The cluster as this node sees it, and the digest by which nodes are compared
 * (DESIGN, rule 7). See api.h. */
#include "node/api.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

/* Of itself a node need not be told anything. */
static struct repl_facts own_facts(struct http_request *rq,
                                   const struct repl_status *status)
{
    struct node *n = rq->node;
    struct store_status store;
    store_status(n->store, &store);
    struct repl_facts f = {
        .level = LEVEL_NEWEST,
        .release = HOLDFAST_VERSION,
        .term = status->term,
        .last_index = status->last_index,
        .commit_index = status->commit_index,
        .applied_index = status->applied_index > store.applied_index
                             ? status->applied_index
                             : store.applied_index,
        .flushed_index = store.flushed_index,
        .heard_ms_ago = http_age_ms(n, status),
        .store_bytes = store.used_bytes,
        .disk_free_bytes = status->disk_free_bytes,
        .disk_low = status->disk_low,
        .draining = status->draining || atomic_load(&n->draining),
    };
    if (n->config->zone != NULL)
        snprintf(f.zone, sizeof f.zone, "%s", n->config->zone);
    return f;
}

/* No cluster has level 0: it is not known yet. */
static void out_level(struct json_out *o, unsigned level)
{
    out_key(o, "level");
    if (level == 0)
        out_null(o);
    else
        out_uint(o, level);
}

static void out_lag(struct json_out *o, const struct repl_status *status,
                    const struct repl_facts *f)
{
    out_member_uint(o, "lag",
                    status->commit_index > f->applied_index
                        ? status->commit_index - f->applied_index
                        : 0);
}

/* @since_ms: how old the facts are. */
static void out_facts(struct json_out *o, const struct repl_status *status,
                      const struct repl_facts *f, uint64_t since_ms)
{
    out_member(o, "zone", f->zone[0] != '\0' ? f->zone : NULL);
    out_member_uint(o, "term", f->term);
    out_member_uint(o, "commit", f->commit_index);
    out_member_uint(o, "applied", f->applied_index);
    out_member_uint(o, "flushed", f->flushed_index);
    out_lag(o, status, f);
    out_key(o, "age_ms");
    if (f->heard_ms_ago == UINT64_MAX)
        out_null(o);
    else
        out_uint(o, f->heard_ms_ago + since_ms);
    out_member(o, "version", f->release);
    out_level(o, f->level);
    out_member_uint(o, "db_bytes", f->store_bytes);
    out_member_uint(o, "disk_free_bytes", f->disk_free_bytes);
    out_member_bool(o, "disk_low", f->disk_low);
    out_member_bool(o, "draining", f->draining);
}

static void out_no_facts(struct json_out *o)
{
    static const char *const names[] = {
        "zone",     "term",     "commit",          "applied",
        "flushed",  "lag",      "age_ms",          "version",
        "level",    "db_bytes", "disk_free_bytes", "disk_low",
        "draining",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        out_member_null(o, names[i]);
}

static void out_link(struct json_out *o, const struct repl_node_status *n,
                     bool own)
{
    bool known = !own && n->rtt_us != 0;
    out_member_bool(o, "connected", n->connected);
    out_key(o, "rtt_us");
    if (known)
        out_uint(o, n->rtt_us);
    else
        out_null(o);
    out_key(o, "clock_offset_ms");
    if (known)
        out_int(o, n->clock_offset_ms);
    else
        out_null(o);
}

static void out_node(struct http_request *rq, const struct repl_status *status,
                     const struct repl_node_status *n)
{
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
    out_link(o, n, own);
    if (own) {
        struct repl_facts facts = own_facts(rq, status);
        out_facts(o, status, &facts, 0);
    } else if (n->facts_ms != 0) {
        out_facts(o, status, &n->facts, clock_mono_ms() - n->facts_ms);
    } else {
        out_no_facts(o);
    }
    out_object_end(o);
}

static void out_fetch(struct json_out *o, const struct repl_status *status)
{
    out_key(o, "fetch");
    if (strcmp(status->state, "fetching") != 0) {
        out_null(o);
        return;
    }
    out_object(o);
    out_member_uint(o, "bytes", status->fetch_bytes);
    out_member_uint(o, "total", status->fetch_total);
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
    out_level(o, status.level);
    out_member_bool(o, "has_leader", status.has_leader);
    out_member(o, "leader", leader);
    out_member_uint(o, "term", status.term);
    out_member_uint(o, "commit", status.commit_index);
    out_member_uint(o, "applied", store_applied_index(rq->node->store));
    out_member_uint(o, "age_ms", http_age_ms(rq->node, &status));
    out_fetch(o, &status);
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
