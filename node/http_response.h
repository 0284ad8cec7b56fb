/* What handlers have written, as libmicrohttpd sends it: body or file, and the
 * headers that every answer carries. Http thread. */
#pragma once

#include "node/http.h"

struct MHD_Response;

/* The answer's memory, or its file, becomes the response's. NULL: no memory. */
struct MHD_Response *response_make(struct http_request *rq);
