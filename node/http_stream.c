#include "node/http_stream.h"

#include "base/assert.h"
#include "base/log.h"
#include "node/http_wait.h"

#include <string.h>

/* --- the maker ------------------------------------------------------------ */

bool http_stream_is_closed(const struct http_stream *s)
{
    return atomic_load(&s->task.abandoned);
}

/* The http thread looks at the streams that wait whenever it is awake. */
static void wake(struct http_stream *s)
{
    s->task.waits->wake(s->task.waits->arg);
}

int http_stream_put(struct http_stream *s, struct buf *piece)
{
    pthread_mutex_lock(&s->lock);
    while (s->ready.size > STREAM_READY_BYTES_MAX && !http_stream_is_closed(s))
        pthread_cond_wait(&s->room, &s->lock);
    buf_put(&s->ready, piece->data, piece->size);
    bool failed = buf_failed(&s->ready) || buf_failed(piece);
    pthread_mutex_unlock(&s->lock);
    buf_clear(piece);
    wake(s);
    if (failed)
        return ERR_NOMEM;
    return http_stream_is_closed(s) ? ERR_CLOSED : 0;
}

static void *stream_main(void *arg)
{
    struct http_stream *s = arg;
    struct errmsg e = {""};
    int rv = s->make(s, &e);
    if (rv < 0 && rv != ERR_CLOSED)
        log_warn("stream", "an answer was cut short: %s", e.text);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    s->status = rv;
    pthread_mutex_unlock(&s->lock);
    http_task_end(&s->task); /* also wakes the http thread */
    return NULL;
}

/* --- the http thread ------------------------------------------------------ */

static void let_go(struct http_stream *s)
{
    ASSERT(s->holders > 0);
    if (--s->holders > 0)
        return;
    pthread_join(s->thread, NULL); /* its last act was to say so */
    pthread_cond_destroy(&s->room);
    pthread_mutex_destroy(&s->lock);
    buf_deinit(&s->ready);
    s->destroy(s);
}

static void maker_ended(struct http_task *t)
{
    waits_stream_end(t->waits);
    let_go(CONTAINER_OF(t, struct http_stream, task));
}

int http_stream_start(struct http_request *rq, struct http_stream *s)
{
    s->task.destroy = maker_ended;
    if (waits_stream_begin(rq->waits, &s->task, STREAMS_MAX) != 0) {
        http_error(rq, 429, "busy",
                   "this node streams %d answers already: try again later, or "
                   "ask another node",
                   STREAMS_MAX);
        http_header(rq, "Retry-After", "10");
        return ERR_LIMIT;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->room, NULL);
    s->holders = 2;
    if (pthread_create(&s->thread, NULL, stream_main, s) != 0) {
        waits_stream_withdraw(rq->waits);
        pthread_cond_destroy(&s->room);
        pthread_mutex_destroy(&s->lock);
        http_error(rq, 503, "overload", "cannot start a thread");
        return ERR_NOMEM;
    }
    rq->stream = s;
    rq->status = 200;
    return 0;
}

long http_stream_take(struct http_stream *s, char *out, size_t capacity)
{
    pthread_mutex_lock(&s->lock);
    size_t left = s->ready.size - s->sent;
    size_t size = left < capacity ? left : capacity;
    long rv = (long)size;
    if (size > 0)
        memcpy(out, s->ready.data + s->sent, size);
    else if (s->ended)
        rv = s->status == 0 ? STREAM_OVER : STREAM_FAILED;
    s->sent += size;
    if (s->sent == s->ready.size) {
        buf_clear(&s->ready);
        s->sent = 0;
        pthread_cond_signal(&s->room);
    }
    pthread_mutex_unlock(&s->lock);
    return rv;
}

bool http_stream_is_ready(struct http_stream *s)
{
    pthread_mutex_lock(&s->lock);
    bool ready = s->ready.size > s->sent || s->ended;
    pthread_mutex_unlock(&s->lock);
    return ready;
}

void http_stream_leave(struct http_stream *s)
{
    atomic_store(&s->task.abandoned, true);
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->room);
    pthread_mutex_unlock(&s->lock);
    let_go(s);
}
