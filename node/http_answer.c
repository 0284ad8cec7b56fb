/* How handlers answer: JSON, errors and what became of a write, in one form
 * (CONTRACT, "HTTP"). See http.h. */
#include "node/http.h"
#include "node/http_route.h"

#include "base/clock.h"

#include <stdio.h>

void http_answer(struct http_request *rq, int status)
{
    rq->status = status;
    rq->content_type = "application/json";
}

void http_error(struct http_request *rq, int status, const char *code,
                const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    buf_clear(&rq->answer);
    out_begin(&rq->json, &rq->answer);
    out_object(&rq->json);
    out_member(&rq->json, "msg", text);
    out_member(&rq->json, "code", code);
    out_object_end(&rq->json);
    http_answer(rq, status);
    if (status == 503)
        http_header(rq, "Retry-After", "1");
}

void http_error_of(struct http_request *rq, int err, const struct errmsg *e)
{
    const char *text = e->text[0] != '\0' ? e->text : err_text(err);
    switch (err) {
    case ERR_INVALID:
    case ERR_LIMIT:
        http_error(rq, 400, "invalid", "%s", text);
        return;
    case ERR_NOTFOUND:
        http_error(rq, 404, "not_found", "%s", text);
        return;
    case ERR_NOMEM:
        http_error(rq, 503, "overload", "%s", text);
        return;
    default:
        http_error(rq, 500, "internal", "%s", text);
    }
}

void http_header(struct http_request *rq, const char *name, const char *format,
                 ...)
{
    if (rq->header_count == HTTP_HEADERS_MAX)
        return;
    struct http_header *h = &rq->headers[rq->header_count++];
    h->name = name;
    va_list args;
    va_start(args, format);
    vsnprintf(h->value, sizeof h->value, format, args);
    va_end(args);
}

int http_read_body(struct http_request *rq, struct body *b, void *out)
{
    struct errmsg e = {0};
    int rv = body_read(b, buf_bytes(&rq->body), rq->route->body, out, &e);
    if (rv != 0)
        http_error(rq, 400, "invalid", "%s", e.text);
    return rv;
}

/* No outcome arrived. */
static void submission_failed(struct http_request *rq, int status)
{
    switch (status) {
    case ERR_AGAIN:
        http_error(rq, 503, "no_leader",
                   "not done: no leader takes writes now; try again");
        return;
    case ERR_CLOSED:
        if (http_write_is_done(rq))
            http_error(rq, 503, "stopping",
                       "done at index %llu, but this node is stopping",
                       (unsigned long long)rq->outcome.index);
        else
            http_error(rq, 503, "stopping",
                       "this node is stopping; look whether it was done "
                       "before you repeat it on another");
        return;
    case ERR_TIMEOUT:
        if (http_write_is_done(rq)) {
            http_error(rq, 504, "behind",
                       "done at index %llu, but this replica has not "
                       "applied it yet",
                       (unsigned long long)rq->outcome.index);
            return;
        }
        http_error(rq, 504, "outcome_unknown",
                   "no outcome within %d s: look whether it was done before "
                   "you repeat it",
                   HTTP_WRITE_WAIT_MS / 1000);
        return;
    default:
        http_error(rq, 503, "outcome_unknown",
                   "the leader was lost on the way: look whether it was done "
                   "before you repeat it");
    }
}

bool http_write_is_done(const struct http_request *rq)
{
    return rq->outcome.index != 0 && rq->outcome.code == OUTCOME_TAKEN;
}

bool http_write_failed(struct http_request *rq, int status, const char *what)
{
    if (status != 0) {
        submission_failed(rq, status);
        return true;
    }
    switch (rq->outcome.code) {
    case OUTCOME_TAKEN:
        return false;
    case OUTCOME_NOTFOUND:
        http_error(rq, 404, "not_found", "%s: not found", what);
        return true;
    case OUTCOME_EXISTS:
        http_error(rq, 409, "exists", "%s: exists already, with id %llu", what,
                   (unsigned long long)rq->outcome.value);
        return true;
    case OUTCOME_LIMIT:
        http_error(rq, 507, "limit",
                   "%s: a limit is reached (addresses or count)", what);
        return true;
    case OUTCOME_DUPLICATE:
    case OUTCOME_GAP:
    case OUTCOME_SUPERSEDED:
    case OUTCOME_INVALID:
        break;
    }
    http_error(rq, 500, "internal", "%s: the command was refused (outcome %d)",
               what, (int)rq->outcome.code);
    return true;
}

void http_wait_failed(struct http_request *rq, int status)
{
    switch (status) {
    case ERR_TIMEOUT:
        http_error(rq, 504, "behind",
                   "this replica has applied %llu only; ask another node",
                   (unsigned long long)store_applied_index(rq->node->store));
        return;
    case ERR_CLOSED:
        http_error(rq, 503, "stopping", "this node is stopping");
        return;
    default:
        http_error(rq, 503, "no_leader",
                   "a linearizable read needs a leader; consistency=local "
                   "does not");
    }
}

uint64_t http_age_ms(const struct node *n, const struct repl_status *status)
{
    uint64_t now = clock_mono_ms();
    uint64_t heard = status->heard_ms != 0 ? status->heard_ms : n->started_ms;
    return clock_elapsed(heard, now);
}
