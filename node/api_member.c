/* What an operator does to the cluster: members, leadership, draining. The
 * leader decides whether a change is safe (raft/membership.c); here are the
 * requests and the answers. See api.h. */
#include "node/api.h"

#include "base/log.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- a change on its way to the leader ------------------------------------ */

struct member_change {
    struct http_task task;
    struct repl_change change;
};

static void change_destroy(struct http_task *t)
{
    free(CONTAINER_OF(t, struct member_change, task));
}

/* Raft loop. */
static void change_done(struct repl_change *c, int status, const char *message)
{
    struct member_change *m = CONTAINER_OF(c, struct member_change, change);
    m->task.status = status;
    snprintf(m->task.message.text, sizeof m->task.message.text, "%s",
             message != NULL ? message : "");
    http_task_end(&m->task);
}

/* 503 means in both cases: again later. */
static const char *again_code(struct http_request *rq)
{
    struct repl_status status;
    repl_status(rq->node->repl, &status);
    return status.has_leader ? "again" : "no_leader";
}

static void change_failed(struct http_request *rq, int status, const char *why)
{
    if (why[0] == '\0')
        why = err_text(status);
    switch (status) {
    case ERR_NOTFOUND:
        http_error(rq, 404, "not_found", "%s", why);
        return;
    case ERR_DENIED:
        http_error(rq, 409, "denied", "%s", why);
        return;
    case ERR_INVALID:
        http_error(rq, 400, "invalid", "%s", why);
        return;
    case ERR_AGAIN:
        http_error(rq, 503, again_code(rq), "%s", why);
        return;
    case ERR_CLOSED:
        http_error(rq, 503, "stopping",
                   "this node is stopping: ask another whether it was done");
        return;
    case ERR_TIMEOUT:
        http_error(rq, 504, "outcome_unknown",
                   "not done within %d s; it may still be: look at "
                   "/api/v1/cluster before you repeat it",
                   HTTP_CHANGE_WAIT_MS / 1000);
        return;
    default:
        http_error(rq, 503, "outcome_unknown",
                   "%s: look at /api/v1/cluster before you repeat it", why);
    }
}

static const char *kind_text(enum repl_change_kind kind)
{
    switch (kind) {
    case REPL_REMOVE:
        return "remove";
    case REPL_PROMOTE:
        return "promote";
    case REPL_DEMOTE:
        return "demote";
    case REPL_TRANSFER:
        break;
    }
    return "transfer";
}

static void changed(struct http_request *rq, int status)
{
    const struct member_change *m =
        rq->task != NULL ? CONTAINER_OF(rq->task, struct member_change, task)
                         : NULL;
    const char *message = m != NULL ? m->task.message.text : "";
    if (status != 0 || m == NULL) {
        change_failed(rq, status, message);
        return;
    }
    log_info("member", "%s %s: done; asked over HTTP",
             kind_text(m->change.kind), m->change.name);
    out_object(&rq->json);
    out_member(&rq->json, "done", kind_text(m->change.kind));
    out_member(&rq->json, "name", m->change.name);
    out_member(&rq->json, "msg", message);
    out_object_end(&rq->json);
    http_answer(rq, 200);
}

/* @name fits: it came from a route or through a schema. */
static void change_start(struct http_request *rq, enum repl_change_kind kind,
                         const char *name)
{
    struct member_change *m = calloc(1, sizeof *m);
    if (m == NULL) {
        http_error(rq, 503, "overload", "out of memory");
        return;
    }
    m->task.destroy = change_destroy;
    m->change.kind = kind;
    m->change.done = change_done;
    snprintf(m->change.name, sizeof m->change.name, "%s", name);
    if (http_await_task(rq, &m->task, HTTP_CHANGE_WAIT_MS, changed) != 0) {
        free(m);
        return;
    }
    repl_change(rq->node->repl, &m->change);
}

/* --- members -------------------------------------------------------------- */

struct member_action {
    const char *action;
};

static const struct body_field member_fields[] = {
    {"action", BODY_TEXT, true, 1, 16, offsetof(struct member_action, action),
     "promote: to voter; demote: to standby, and kept there"},
};
const struct body_schema member_schema = {
    member_fields, sizeof member_fields / sizeof *member_fields};

/* No node has a name this long. */
static bool name_is_long(struct http_request *rq)
{
    if (strlen(rq->name) <= NODE_NAME_LENGTH_MAX)
        return false;
    http_error(rq, 404, "not_found", "%s: no such node", rq->name);
    return true;
}

void api_member_change(struct http_request *rq)
{
    struct member_action wish = {NULL};
    struct body body = {NULL};
    if (http_read_body(rq, &body, &wish) == 0 && !name_is_long(rq)) {
        if (strcmp(wish.action, "promote") == 0)
            change_start(rq, REPL_PROMOTE, rq->name);
        else if (strcmp(wish.action, "demote") == 0)
            change_start(rq, REPL_DEMOTE, rq->name);
        else
            http_error(rq, 400, "invalid", "action: must be promote or demote");
    }
    body_close(&body);
}

void api_member_remove(struct http_request *rq)
{
    if (!name_is_long(rq))
        change_start(rq, REPL_REMOVE, rq->name);
}

/* --- leadership ----------------------------------------------------------- */

struct leader_wish {
    const char *name;
};

static const struct body_field leader_fields[] = {
    {"name", BODY_TEXT, false, 0, NODE_NAME_LENGTH_MAX,
     offsetof(struct leader_wish, name),
     "who is to lead; empty: whoever is best"},
};
const struct body_schema leader_schema = {
    leader_fields, sizeof leader_fields / sizeof *leader_fields};

void api_leader_transfer(struct http_request *rq)
{
    struct leader_wish wish = {NULL};
    struct body body = {NULL};
    if (http_read_body(rq, &body, &wish) == 0)
        change_start(rq, REPL_TRANSFER, wish.name != NULL ? wish.name : "");
    body_close(&body);
}

/* --- draining ------------------------------------------------------------- */

struct drain_wish {
    bool drain;
};

static const struct body_field drain_fields[] = {
    {"drain", BODY_BOOL, true, 0, 0, offsetof(struct drain_wish, drain),
     "true: give leadership and gateways away; false: take them again"},
};
const struct body_schema drain_schema = {
    drain_fields, sizeof drain_fields / sizeof *drain_fields};

void api_drain(struct http_request *rq)
{
    struct drain_wish wish = {false};
    struct body body = {NULL};
    if (http_read_body(rq, &body, &wish) == 0) {
        node_drain(rq->node, wish.drain);
        out_object(&rq->json);
        out_member_bool(&rq->json, "draining", wish.drain);
        out_object_end(&rq->json);
        http_answer(rq, 200);
    }
    body_close(&body);
}
