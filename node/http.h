/* A request between the server (http_server.c, the only file that knows
 * libmicrohttpd) and its handlers (api_*.c). All of it on the http thread.
 *
 * A handler either answers, or asks to wait (http_submit, http_await_index) and
 * names the function that goes on; it never blocks. */
#pragma once

#include "base/thread.h"
#include "node/http_query.h"
#include "node/json_body.h"
#include "node/json_out.h"
#include "node/node.h"

extern struct thread_role http_thread;

enum http_method {
    HTTP_GET = 1, /* HEAD too: the server leaves the body out */
    HTTP_POST = 2,
    HTTP_PUT = 4,
    HTTP_DELETE = 8,
    HTTP_OPTIONS = 16,
    HTTP_METHOD_UNKNOWN = 0,
};

enum {
    HTTP_NAME_LENGTH_MAX = 64, /* of {username} and {name} */
    HTTP_HEADERS_MAX = 8,
    HTTP_WRITE_WAIT_MS = 10 * 1000,
    HTTP_READ_WAIT_MS = 2 * 1000, /* at_least, linearizable */
    HTTP_DIGEST_WAIT_MS = 5 * 1000,
    HTTP_CHANGE_WAIT_MS = 20 * 1000, /* of members or leader */
};

struct http_request;
struct http_task;
struct http_route;
struct http_waits;
struct http_write;
struct http_stream;
struct http_watch;

typedef void http_handler_fn(struct http_request *rq);

/* @status 0: what was waited for is there. Otherwise ERR_*. */
typedef void http_resume_fn(struct http_request *rq, int status);

struct http_header {
    const char *name; /* static */
    char value[128];
};

enum http_wait_kind {
    WAIT_NONE,
    WAIT_WRITE,        /* a submission's outcome, then its index */
    WAIT_TASK,         /* the end of a task */
    WAIT_STREAM,       /* something to send */
    WAIT_INDEX,        /* applied here */
    WAIT_NEXT_BARRIER, /* the one that has not been submitted yet */
    WAIT_BARRIER,
};

struct http_request {
    struct node *node; /* borrowed */
    const struct http_route *route;
    enum http_method method;

    /* the question */
    uint32_t id;                         /* {id} */
    char name[HTTP_NAME_LENGTH_MAX + 1]; /* {username} or {name} */
    struct query_params query;
    struct buf body;
    struct bytes path; /* as sent, still escaped */
    char host[256];    /* the Host header, "" if there is none */
    char if_none_match[128];
    bool accepts_gzip;
    const char *consistency; /* static: what the answer says of itself */

    /* the answer */
    int status; /* 0: not yet */
    const char *content_type;
    struct buf answer;
    struct json_out json; /* into answer */
    struct bytes fixed;   /* instead of answer: static storage */
    bool has_file;        /* instead of answer: this descriptor, owned */
    int file;
    uint64_t file_size;
    struct http_stream *stream; /* instead of answer: http_stream.h */
    unsigned answer_ms; /* time it may take from now on; 0 = the usual */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;

    /* waiting: http_wait.c */
    struct http_waits *waits;
    enum http_wait_kind wait;
    uint64_t wait_index, wait_until_ms;
    int wait_status;
    http_resume_fn *resume;
    struct http_write *write;
    struct outcome outcome; /* of the write */
    struct http_task *task; /* its owner when it has ended */
    struct http_request *previous, *next;

    void *connection;         /* the server's */
    struct http_watch *watch; /* its deadline; may be NULL */
};

/* The answer is the JSON that rq->json has written. */
void http_answer(struct http_request *rq, int status);

/* {"msg","code"}; what was written before is dropped. */
void http_error(struct http_request *rq, int status, const char *code,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

/* An error out of what a store or replica call returned. */
void http_error_of(struct http_request *rq, int err, const struct errmsg *e);

void http_header(struct http_request *rq, const char *name, const char *format,
                 ...) __attribute__((format(printf, 3, 4)));

/* The value of a query parameter, NULL if absent. */
static inline const char *http_param(const struct http_request *rq,
                                     const char *name)
{
    return query_find(&rq->query, name);
}

/* Reads the body by the route's field table; on failure the 400 is written and
 * the body must be closed all the same. */
NODISCARD int http_read_body(struct http_request *rq, struct body *b,
                             void *out);

/* Submits one framed record (taken over from @record, which is left empty) and
 * goes on in @resume when its outcome is known and applied on this replica, or
 * after HTTP_WRITE_WAIT_MS. Statuses: see http_write_failed. A refusal is told
 * with 0 then too, though this replica has not applied it. */
void http_submit(struct http_request *rq, struct buf *record,
                 http_resume_fn *resume);

/* Writes the error of a submission that did not end in OUTCOME_TAKEN and
 * returns true; @what names the thing in messages ("location"). */
bool http_write_failed(struct http_request *rq, int status, const char *what);
/* The leader's answer came and is yes, whatever the status: this replica may
 * not have applied it yet. */
bool http_write_is_done(const struct http_request *rq);

/* Work that another thread does for a request: embedded in what that thread
 * needs. It may outlive its request, which then is NULL. */
struct http_task {
    struct letter ended_letter;
    struct http_waits *waits;     /* borrowed: outlives its tasks */
    struct http_request *request; /* NULL: nobody waits */
    _Atomic bool abandoned;       /* any thread: nobody waits, give up */
    bool ended;
    /* The worker's, until it ends. */
    int status;
    struct errmsg message;
    /* Http thread, once, after the end: frees it. */
    void (*destroy)(struct http_task *t);
};

/* Enters a task that its caller starts right after: it must end. Goes on in
 * @resume with its status, rq->task still there; or with ERR_TIMEOUT after
 * @wait_ms and rq->task NULL. ERR_LIMIT: answered, not entered. */
NODISCARD int http_await_task(struct http_request *rq, struct http_task *t,
                              unsigned wait_ms, http_resume_fn *resume);

/* Any thread: the last thing that the worker does with @t. */
void http_task_end(struct http_task *t);

/* Goes on in @resume when this replica has applied @index: at once, or with
 * ERR_TIMEOUT after @wait_ms. */
void http_await_index(struct http_request *rq, uint64_t index, unsigned wait_ms,
                      http_resume_fn *resume);

/* Goes on in @resume when this replica has applied everything that was
 * committed anywhere before this call. */
void http_await_barrier(struct http_request *rq, http_resume_fn *resume);

/* Writes the error of a read whose wait ended with @status, not 0. */
void http_wait_failed(struct http_request *rq, int status);

/* How long ago this replica last heard from a leader; since the process
 * started if never. */
uint64_t http_age_ms(const struct node *n, const struct repl_status *status);
