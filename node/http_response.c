/* See http_response.h. */
#include "node/http_response.h"

#include <stdio.h>

#include <microhttpd.h>

#include "node/http_stream.h"
#include "node/http_wait.h"
#include "node/http_watch.h"

enum { STREAM_BLOCK = 32 * 1024 };

static void put_header(struct MHD_Response *response, const char *name,
                       const char *value)
{
    /* Fails only for lack of memory; the answer is still right without. */
    (void)MHD_add_response_header(response, name, value);
}

static void put_common_headers(const struct http_request *rq,
                               struct MHD_Response *response)
{
    static const char *const fixed[][2] = {
        {"Content-Security-Policy",
         "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
         "'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
         "form-action 'self'; frame-ancestors 'none'"},
        {"X-Content-Type-Options", "nosniff"},
        {"Referrer-Policy", "no-referrer"},
        {"Cross-Origin-Resource-Policy", "same-origin"},
        {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        put_header(response, fixed[i][0], fixed[i][1]);

    /* Told over TLS only: a browser must not come back in plain text. */
    if (rq->node->config->tls_cert != NULL)
        put_header(response, "Strict-Transport-Security", "max-age=31536000");

    struct repl_status status;
    char number[24];
    repl_status(rq->node->repl, &status);
    snprintf(number, sizeof number, "%llu",
             (unsigned long long)store_applied_index(rq->node->store));
    put_header(response, "Holdfast-Applied-Index", number);
    snprintf(number, sizeof number, "%llu",
             (unsigned long long)http_age_ms(rq->node, &status));
    put_header(response, "Holdfast-Age-Ms", number);
    put_header(response, "Holdfast-Consistency", rq->consistency);
    if (rq->fixed.data == NULL && rq->status != 304)
        put_header(response, "Cache-Control", "no-store");
}

/* The library wants more of the body. */
static ssize_t read_stream(void *arg, uint64_t at, char *out, size_t capacity)
{
    struct http_request *rq = arg;
    (void)at;
    long size = rq->wait_status != 0
                    ? STREAM_FAILED
                    : http_stream_take(rq->stream, out, capacity);
    if (size == STREAM_OVER)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (size == STREAM_FAILED)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (size == STREAM_NOT_YET) {
        http_watch_set(rq->watch, STREAM_WAIT_MS + STREAM_SEND_MS);
        waits_stream(rq);
        MHD_suspend_connection(rq->connection);
        return 0;
    }
    http_watch_set(rq->watch, STREAM_SEND_MS);
    return size;
}

static struct MHD_Response *make_body(struct http_request *rq)
{
    if (rq->stream != NULL)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK,
                                                 read_stream, rq, NULL);
    if (rq->has_file) {
        rq->has_file = false; /* closed with the response */
        return MHD_create_response_from_fd64(rq->file_size, rq->file);
    }
    union {
        const uint8_t *from;
        void *to;
    } fixed = {rq->fixed.data}; /* the library does not write there */
    if (fixed.from != NULL)
        return MHD_create_response_from_buffer(rq->fixed.size, fixed.to,
                                               MHD_RESPMEM_PERSISTENT);
    if (rq->answer.size == 0)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_buffer(
        rq->answer.size, rq->answer.data, MHD_RESPMEM_MUST_FREE);
    if (response != NULL)
        rq->answer = (struct buf){0};
    return response;
}

struct MHD_Response *response_make(struct http_request *rq)
{
    if (buf_failed(&rq->answer))
        http_error(rq, 503, "overload", "out of memory");
    struct MHD_Response *response = make_body(rq);
    if (response == NULL)
        return NULL;
    if (rq->content_type != NULL)
        put_header(response, "Content-Type", rq->content_type);
    put_common_headers(rq, response);
    for (size_t i = 0; i < rq->header_count; i++)
        put_header(response, rq->headers[i].name, rq->headers[i].value);
    return response;
}
