/* GET /api/v1/export: raw reports or buckets as CSV or JSON lines, streamed
 * (http_stream.h) in bounded memory. See api.h. */
#include "node/api.h"
#include "node/export.h"

#include "store/raw.h"

#include <stdlib.h>

struct export_kind {
    const char *name;
    const char *const *columns;
    int (*make)(struct export *x, struct errmsg *e);
    bool raw;
};

static const struct export_kind kinds[] = {
    {"raw", export_raw_columns, export_raw, true},
    {"minute", export_bucket_columns, export_minutes, false},
    {"hour", export_bucket_columns, export_hours, false},
    {"day", export_bucket_columns, export_days, false},
};

struct export_question {
    const struct export_kind *kind;
    bool csv;
    uint64_t from_ms, to_ms;
    uint32_t location;
};

/* --- the stream's thread -------------------------------------------------- */

int export_send(struct export *x, bool all)
{
    struct buf *buf = &x->rows.buf;
    if (buf->size < EXPORT_PIECE_SIZE && !buf_failed(buf) && !all)
        return 0;
    return http_stream_put(&x->stream, buf);
}

static bool may_go_on(void *arg)
{
    const struct export *x = arg;
    return !http_stream_is_closed(&x->stream);
}

struct export_job {
    struct export x;
    const struct export_kind *kind;
};

static int make_rows(struct http_stream *s, struct errmsg *e)
{
    struct export *x = CONTAINER_OF(s, struct export, stream);
    const struct export_job *job = CONTAINER_OF(x, struct export_job, x);
    int rv = node_await_flush(x->node, may_go_on, x, e);
    if (rv == 0)
        rv = job->kind->make(x, e);
    if (rv == 0)
        rv = export_send(x, true);
    if (rv == ERR_NOMEM)
        errmsg_set(e, rv, "export: out of memory");
    return rv;
}

/* --- the http thread ------------------------------------------------------ */

static void export_destroy(struct http_stream *s)
{
    struct export *x = CONTAINER_OF(s, struct export, stream);
    rows_deinit(&x->rows);
    free(CONTAINER_OF(x, struct export_job, x));
}

static int refuse(struct http_request *rq, const char *message)
{
    http_error(rq, 400, "invalid", "%s", message);
    return ERR_INVALID;
}

static int read_kind(struct http_request *rq, struct export_question *q)
{
    const char *what = http_param(rq, "what"),
               *format = http_param(rq, "format");
    for (size_t i = 0; what != NULL && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(what, kinds[i].name) == 0)
            q->kind = &kinds[i];
    if (q->kind == NULL)
        return refuse(rq, "what: must be raw, minute, hour or day");
    q->csv = format == NULL || strcmp(format, "csv") == 0;
    if (!q->csv && strcmp(format, "json") != 0)
        return refuse(rq, "format: must be csv or json");
    return 0;
}

static int read_range(struct http_request *rq, struct export_question *q)
{
    const char *from = http_param(rq, "from"), *to = http_param(rq, "to");
    q->to_ms = UINT64_MAX;
    if (from != NULL && time_parse(from, &q->from_ms) != 0)
        return refuse(rq, "from: must be an RFC 3339 time or Unix seconds");
    if (to != NULL && time_parse(to, &q->to_ms) != 0)
        return refuse(rq, "to: must be an RFC 3339 time or Unix seconds");
    if (q->from_ms >= q->to_ms)
        return refuse(rq, "from: must be before to");
    return 0;
}

static int read_location(struct http_request *rq, struct export_question *q)
{
    const char *text = http_param(rq, "location");
    uint64_t id;
    if (text == NULL || strcmp(text, "all") == 0)
        return 0;
    if (uint_parse(text, UINT32_MAX, &id) != 0 || id == 0)
        return refuse(rq, "location: must be all or an id");
    q->location = (uint32_t)id; /* also of one that was deleted */
    return 0;
}

/* What of the raw reports is there at all: gaps are normal, and said. */
static int tell_coverage(struct http_request *rq)
{
    struct raw_log *raw = store_raw(rq->node->store);
    struct raw_coverage c;
    struct errmsg e;
    if (raw == NULL) {
        http_error(rq, 404, "not_found",
                   "this node keeps no raw reports (--retain-raw, "
                   "--retain-raw-bytes)");
        return ERR_NOTFOUND;
    }
    int rv = raw_file_cover(raw_log_file(raw), 0, &c, &e);
    if (rv != 0) {
        http_error_of(rq, rv, &e);
        return rv;
    }
    http_header(rq, "Holdfast-Raw-First-Index", "%llu",
                (unsigned long long)c.first_index);
    char time[TIME_TEXT_SIZE];
    time_format(c.first_ms, time);
    if (c.chunks > 0)
        http_header(rq, "Holdfast-Raw-First-Time", "%sZ", time);
    http_header(rq, "Holdfast-Raw-Gaps", "%llu", (unsigned long long)c.gaps);
    if (c.gaps > 0)
        http_header(rq, "Holdfast-Raw-Last-Gap", "%llu-%llu",
                    (unsigned long long)c.gap_after + 1,
                    (unsigned long long)c.gap_before - 1);
    return 0;
}

static void start(struct http_request *rq, const struct export_question *q)
{
    struct export_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        http_error(rq, 503, "overload", "out of memory");
        return;
    }
    job->kind = q->kind;
    job->x = (struct export){
        .stream = {.make = make_rows, .destroy = export_destroy},
        .node = rq->node,
        .from_ms = q->from_ms,
        .to_ms = q->to_ms,
        .location = q->location};
    rows_begin(&job->x.rows, q->csv, q->kind->columns);
    rq->content_type =
        q->csv ? "text/csv; charset=utf-8" : "application/x-ndjson";
    http_header(rq, "Content-Disposition",
                "attachment; filename=\"holdfast-%s.%s\"", q->kind->name,
                q->csv ? "csv" : "ndjson");
    if (http_stream_start(rq, &job->x.stream) != 0)
        export_destroy(&job->x.stream);
}

void api_export(struct http_request *rq)
{
    struct export_question q = {0};
    if (read_kind(rq, &q) != 0 || read_range(rq, &q) != 0 ||
        read_location(rq, &q) != 0)
        return;
    if (!q.kind->raw || tell_coverage(rq) == 0)
        start(rq, &q);
}
