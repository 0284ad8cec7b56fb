/* The HTTP listener: libmicrohttpd on a thread of its own, which this file
 * alone knows. It reads heads and bodies under limits, hands requests to
 * http_dispatch.c, keeps suspended those that wait (http_wait.c), and sends the
 * answers. The thread polls two descriptors: libmicrohttpd's epoll and an
 * eventfd by which other threads wake it. */
#define _GNU_SOURCE /* MSG flags behind microhttpd.h, eventfd */
#include "node/http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "node/http_dispatch.h"
#include "node/http_response.h"
#include "node/http_tls.h"
#include "node/http_wait.h"
#include "node/http_watch.h"
#include "node/listen.h"

enum {
    CONNECTIONS_MAX = 1024,
    CONNECTIONS_PER_ADDRESS_MAX = 512,
    CONNECTION_MEMORY = 16 * 1024, /* heads above it get 431 */
    IDLE_TIMEOUT_S = 15,           /* no byte moves */
    QUESTION_TIMEOUT_MS =
        30 * 1000,                 /* from the last answer to a whole request */
    ANSWER_TIMEOUT_MS = 60 * 1000, /* from there to its last byte */
    BODY_DISCARDED_MAX = 1024 * 1024, /* read and dropped for a polite 413 */
    ROUND_MS_MAX = 1000,
    DRAIN_ROUNDS = 50, /* of 10 ms, for last answers at the end */
};

struct thread_role http_thread = {"http"};

struct http_server {
    struct node *node;
    pthread_t thread;
    int wake_fd;
    _Atomic bool stopping;
    /* http thread */
    struct MHD_Daemon *daemon;
    struct http_waits waits;
    struct http_watches watches;
    struct https https; /* in use if there is a certificate */
};

enum phase { PHASE_HEAD, PHASE_BODY, PHASE_WAITING, PHASE_ANSWERED };

struct exchange {
    struct http_request rq;
    struct http_server *server;
    enum phase phase;
    size_t discarded;
    char *target; /* owned */
};

static enum MHD_Result send_answer(struct exchange *x,
                                   struct MHD_Connection *connection)
{
    x->phase = PHASE_ANSWERED;
    struct MHD_Response *response = response_make(&x->rq);
    if (response == NULL)
        return MHD_NO;
    enum MHD_Result rv =
        MHD_queue_response(connection, (unsigned)x->rq.status, response);
    MHD_destroy_response(response);
    return rv;
}

/* --- one request -------------------------------------------------------- */

static struct http_watch *watch_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

/* A copy of a header's value, "" if absent or too long. */
static void copy_header(struct MHD_Connection *connection, const char *name,
                        char *out, size_t capacity)
{
    const char *value =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    if (value == NULL || strlen(value) >= capacity)
        value = "";
    snprintf(out, capacity, "%s", value);
}

static bool takes_gzip(struct MHD_Connection *connection)
{
    const char *value = MHD_lookup_connection_value(
        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    return value != NULL && strstr(value, "gzip") != NULL &&
           strstr(value, "gzip;q=0,") == NULL &&
           strstr(value, "gzip;q=0 ") == NULL;
}

enum announced { BODY_NONE, BODY_FITS, BODY_TOO_LARGE };

static enum announced announced_body(struct MHD_Connection *connection)
{
    const char *value = MHD_lookup_connection_value(
        connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t size = 0;
    if (value != NULL && uint_parse(value, BODY_SIZE_MAX, &size) != 0)
        return BODY_TOO_LARGE;
    bool chunked =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
                                    MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
    return size > 0 || chunked ? BODY_FITS : BODY_NONE;
}

static void refuse_body(struct http_request *rq)
{
    http_error(rq, 413, "body_too_large", "a body has at most %d bytes",
               BODY_SIZE_MAX);
}

static enum MHD_Result on_head(struct exchange *x,
                               struct MHD_Connection *connection,
                               const char *method)
{
    struct http_request *rq = &x->rq;
    rq->connection = connection;
    rq->watch = watch_of(connection);
    copy_header(connection, MHD_HTTP_HEADER_HOST, rq->host, sizeof rq->host);
    copy_header(connection, MHD_HTTP_HEADER_IF_NONE_MATCH, rq->if_none_match,
                sizeof rq->if_none_match);
    rq->accepts_gzip = takes_gzip(connection);
    struct http_head head = {
        .method = method,
        .target = bytes_of_string(x->target),
        .authorization = MHD_lookup_connection_value(
            connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION),
    };
    dispatch_head(rq, &head);
    enum announced body = announced_body(connection);
    if (rq->status == 0 && body == BODY_TOO_LARGE)
        refuse_body(rq);
    x->phase = PHASE_BODY;
    /* An answer before the body ends the connection, which saves reading what
     * nobody wants; without a body it can wait and keep the connection. */
    if (rq->status != 0 && body != BODY_NONE)
        return send_answer(x, connection);
    return MHD_YES;
}

static enum MHD_Result on_body(struct exchange *x, const char *data,
                               size_t *size)
{
    struct http_request *rq = &x->rq;
    if (rq->status != 0 || rq->body.size + *size > BODY_SIZE_MAX) {
        if (rq->status == 0)
            refuse_body(rq); /* sent at the end: not possible before */
        x->discarded += *size;
        *size = 0;
        return x->discarded <= BODY_DISCARDED_MAX ? MHD_YES : MHD_NO;
    }
    buf_put(&rq->body, data, *size);
    *size = 0;
    if (buf_failed(&rq->body))
        http_error(rq, 503, "overload", "out of memory");
    return MHD_YES;
}

/* What takes longer than usual by its nature. */
static void allow_time(const struct http_request *rq,
                       struct MHD_Connection *connection)
{
    if (rq->answer_ms != 0)
        http_watch_set(watch_of(connection), rq->answer_ms);
}

static enum MHD_Result on_whole(struct exchange *x,
                                struct MHD_Connection *connection)
{
    struct http_request *rq = &x->rq;
    http_watch_set(watch_of(connection), ANSWER_TIMEOUT_MS);
    if (atomic_load(&x->server->stopping) && rq->status == 0)
        http_error(rq, 503, "stopping", "this node is stopping");
    if (rq->status == 0)
        dispatch_run(rq);
    allow_time(rq, connection);
    if (rq->status != 0)
        return send_answer(x, connection);
    x->phase = PHASE_WAITING;
    MHD_suspend_connection(connection);
    return MHD_YES;
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection,
                                 const char *url, const char *method,
                                 const char *version, const char *upload_data,
                                 size_t *upload_data_size, void **context)
{
    struct exchange *x = *context;
    (void)arg;
    (void)url;
    (void)version;
    if (x == NULL)
        return MHD_NO; /* on_target had no memory */
    switch (x->phase) {
    case PHASE_HEAD:
        return on_head(x, connection, method);
    case PHASE_BODY:
        if (*upload_data_size > 0)
            return on_body(x, upload_data, upload_data_size);
        return on_whole(x, connection);
    case PHASE_WAITING:
        dispatch_resume(&x->rq);
        allow_time(&x->rq, connection);
        if (x->rq.status != 0)
            return send_answer(x, connection);
        MHD_suspend_connection(connection);
        return MHD_YES;
    case PHASE_ANSWERED:
        *upload_data_size = 0; /* the rest of a refused body */
        return MHD_YES;
    }
    return MHD_NO;
}

/* The request line as it came: our own path and query are taken from it, not
 * what the library has decoded. The result becomes on_access' context. */
static void *on_target(void *arg, const char *uri,
                       struct MHD_Connection *connection)
{
    struct http_server *h = arg;
    struct exchange *x = calloc(1, sizeof *x);
    (void)connection;
    if (x == NULL)
        return NULL;
    x->target = strdup(uri);
    if (x->target == NULL) {
        free(x);
        return NULL;
    }
    x->server = h;
    x->rq.node = h->node;
    x->rq.waits = &h->waits;
    return x;
}

static void on_completed(void *arg, struct MHD_Connection *connection,
                         void **context, enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *context;
    (void)arg;
    (void)code;
    http_watch_set(watch_of(connection), QUESTION_TIMEOUT_MS);
    if (x == NULL)
        return;
    waits_forget(&x->server->waits, &x->rq);
    if (x->rq.has_file)
        close(x->rq.file);
    buf_deinit(&x->rq.body);
    buf_deinit(&x->rq.answer);
    free(x->target);
    free(x);
    *context = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *connection,
                          void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct http_server *h = arg;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        http_watch_close(&h->watches, *context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info != NULL)
        *context =
            http_watch_open(&h->watches, info->connect_fd, QUESTION_TIMEOUT_MS);
}

/* --- the thread ----------------------------------------------------------- */

/* Any thread. */
static void wake(void *arg)
{
    struct http_server *h = arg;
    uint64_t one = 1;
    while (write(h->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue; /* EAGAIN: it is awake already */
}

static void on_ready(struct http_request *rq)
{
    MHD_resume_connection(rq->connection);
}

/* A connection has come out of TLS. The library closes it if it has no room. */
static void on_https_open(void *arg, int fd, const struct sockaddr *address,
                          socklen_t size)
{
    struct http_server *h = arg;
    (void)MHD_add_connection(h->daemon, fd, address, size);
}

static void run_once(struct http_server *h, int epoll_fd, unsigned most_ms)
{
    MHD_UNSIGNED_LONG_LONG timeout;
    unsigned wait = waits_run(&h->waits, most_ms);
    /* Also lets the connections go on that waits_run has just resumed. */
    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &timeout) == MHD_YES && timeout < wait)
        wait = (unsigned)timeout;
    bool tls = h->node->tls != NULL;
    struct pollfd fds[] = {
        {.fd = epoll_fd, .events = POLLIN},
        {.fd = h->wake_fd, .events = POLLIN},
        {.fd = tls ? https_listener(&h->https) : -1, .events = POLLIN}};
    if (poll(fds, sizeof fds / sizeof *fds, (int)wait) > 0 &&
        (fds[1].revents & POLLIN) != 0) {
        uint64_t count;
        (void)!read(h->wake_fd, &count, sizeof count);
    }
    if (tls && (fds[2].revents & POLLIN) != 0)
        https_accept(&h->https);
    if (tls)
        https_collect(&h->https);
    MHD_run(h->daemon);
    http_watch_end_slow(&h->watches);
}

static bool is_busy(struct http_server *h)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info != NULL && info->num_connections > 0;
}

/* What was answered may still be on its way through TLS. */
static void await_last_bytes(struct tls *tls)
{
    static const struct timespec pause = {0, 10 * 1000 * 1000};
    struct tls_status status;
    for (int i = 0; i < DRAIN_ROUNDS; i++) {
        tls_status(tls, &status);
        if (status.connections == 0)
            return;
        nanosleep(&pause, NULL);
    }
}

static void *run(void *arg)
{
    struct http_server *h = arg;
    thread_role_take(&http_thread);
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    ASSERT(info != NULL);
    int epoll_fd = info->epoll_fd;
    while (!atomic_load(&h->stopping))
        run_once(h, epoll_fd, ROUND_MS_MAX);

    /* What waits is told; answers under way get half a second to leave. */
    int listener = MHD_quiesce_daemon(h->daemon);
    if (h->node->tls != NULL)
        https_quiesce(&h->https);
    for (int i = 0; i < DRAIN_ROUNDS && is_busy(h); i++) {
        waits_close(&h->waits);
        run_once(h, epoll_fd, 10);
    }
    waits_close(&h->waits);
    MHD_run(h->daemon);
    MHD_stop_daemon(h->daemon);
    if (listener >= 0)
        close(listener);
    h->daemon = NULL;
    if (h->node->tls != NULL)
        await_last_bytes(h->node->tls);
    return NULL;
}

/* @listener -1: connections are added one by one. */
static struct MHD_Daemon *start_daemon(struct http_server *h, int listener)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;
    struct MHD_OptionItem where[] = {
        {MHD_OPTION_LISTEN_SOCKET, listener, NULL},
        {MHD_OPTION_END, 0, NULL},
    };
    if (listener < 0) {
        flags |= MHD_USE_NO_LISTEN_SOCKET;
        where[0].option = MHD_OPTION_END;
    }
    return MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, h, MHD_OPTION_ARRAY, where,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, h, MHD_OPTION_NOTIFY_COMPLETED,
        on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT,
        (unsigned)CONNECTIONS_PER_ADDRESS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
}

int http_server_start(struct node *n, struct errmsg *e)
{
    int listener = -1, rv;
    struct http_server *h = calloc(1, sizeof *h);
    if (h == NULL)
        return errmsg_set(e, ERR_NOMEM, "http: out of memory");
    h->node = n;
    waits_init(&h->waits, n, on_ready, wake, h);
    h->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (h->wake_fd < 0) {
        rv = errmsg_set(e, ERR_IO, "http: eventfd: %s", strerror(errno));
        goto out;
    }
    rv = listen_open(n->config->http_bind, &listener, n->http_address, e);
    if (rv != 0) {
        errmsg_wrap(e, rv, "http");
        goto out;
    }
    h->daemon = start_daemon(h, n->tls != NULL ? -1 : listener);
    if (h->daemon == NULL) {
        close(listener);
        rv = errmsg_set(e, ERR_IO, "http: libmicrohttpd does not start");
        goto out;
    }
    if (n->tls != NULL)
        https_init(&h->https, n->tls, listener, wake, on_https_open, h);
    if (pthread_create(&h->thread, NULL, run, h) != 0) {
        MHD_stop_daemon(h->daemon); /* closes its listener */
        if (n->tls != NULL)
            https_quiesce(&h->https);
        rv = errmsg_set(e, ERR_IO, "http: cannot start a thread");
        goto out;
    }
    n->http = h;
    return 0;

out:
    if (h->wake_fd >= 0)
        close(h->wake_fd);
    free(h);
    return rv;
}

void http_server_stop(struct http_server *h)
{
    if (h == NULL)
        return;
    atomic_store(&h->stopping, true);
    wake(h);
    pthread_join(h->thread, NULL);
}

void http_server_destroy(struct http_server *h)
{
    if (h == NULL)
        return;
    waits_deinit(&h->waits);
    if (h->node->tls != NULL)
        https_deinit(&h->https);
    close(h->wake_fd);
    free(h);
}

void http_server_applied(struct http_server *h, uint64_t applied_index)
{
    (void)applied_index; /* the waits ask the store */
    if (h != NULL)
        waits_applied(&h->waits);
}
