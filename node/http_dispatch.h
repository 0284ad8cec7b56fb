/* From a request's head to its handler: route, token, parameters, and the
 * consistency that a read asks for. Knows nothing of libmicrohttpd. */
#pragma once

#include "node/http.h"

enum { HTTP_TARGET_SIZE_MAX = 4096, HTTP_TOKEN_LENGTH_MAX = 512 };

struct http_head {
    const char *method;  /* "GET" */
    struct bytes target; /* as sent: path and query; outlives the request */
    const char *authorization; /* header, or NULL */
};

/* The head is there. When rq->status is set afterwards the answer is ready and
 * the body is of no interest. */
void dispatch_head(struct http_request *rq, const struct http_head *head);

/* The body is there too. Afterwards rq->status is set, or rq->wait is. */
void dispatch_run(struct http_request *rq);

/* What was waited for came, or the time is up. As dispatch_run. */
void dispatch_resume(struct http_request *rq);
