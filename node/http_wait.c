/* See http_wait.h.
 *
 *   a body  -- waits_stream ------> WAIT_STREAM --something to send--> the body
 *   handler -- http_submit --> WAIT_WRITE --outcome--> WAIT_INDEX --> resume
 *           -- http_await_task ---> WAIT_TASK  --its end------------> resume
 *           -- http_await_index -------------------->  WAIT_INDEX --> resume
 *           -- http_await_barrier --> WAIT_NEXT_BARRIER --> WAIT_BARRIER
 *                                        --outcome-->  WAIT_INDEX --> resume
 *
 * A barrier that is in flight may have been ordered before a write that ended
 * just now, so a new reader joins the next one: one barrier serves all readers
 * that came while the last was under way. */
#include "node/http_wait.h"

#include "base/assert.h"
#include "base/clock.h"
#include "node/http_stream.h"

#include <stdlib.h>
#include <time.h>

/* A record on its way. It outlives its request when that is out of time, since
 * the replica holds the submission until it is done. */
struct http_write {
    struct submission submission;
    struct letter ended;
    struct buf record;            /* owned */
    struct http_waits *waits;     /* borrowed: outlives the replica */
    struct http_request *request; /* NULL: nobody waits, or a barrier */
    int status;
    bool barrier;
};

static void write_done(struct submission *s, int status)
{
    struct http_write *write = CONTAINER_OF(s, struct http_write, submission);
    write->status = status;
    mailbox_push(&write->waits->ended, &write->ended);
}

static void write_destroy(struct http_write *write)
{
    if (write == NULL)
        return;
    buf_deinit(&write->record);
    free(write);
}

/* Takes @record over in any case; NULL when memory or the limit says no. */
static struct http_write *write_start(struct http_waits *w, struct buf *record)
{
    struct http_write *write = NULL;
    if (!buf_failed(record) && w->write_count < HTTP_WRITES_MAX)
        write = calloc(1, sizeof *write);
    if (write == NULL) {
        buf_deinit(record);
        *record = (struct buf){0};
        return NULL;
    }
    write->record = *record;
    *record = (struct buf){0};
    write->waits = w;
    write->submission.record = buf_bytes(&write->record);
    write->submission.done = write_done;
    w->write_count++;
    return write;
}

void waits_init(struct http_waits *w, struct node *n, http_ready_fn *ready,
                mailbox_wake_fn *wake, void *arg)
{
    *w = (struct http_waits){
        .node = n, .ready = ready, .wake = wake, .arg = arg};
    mailbox_init(&w->ended, wake, arg);
    mailbox_init(&w->ended_tasks, wake, arg);
}

/* Hands the task to the request that waits for it, or destroys it. */
static void task_ended(struct http_waits *w, struct http_task *t);

static void take_tasks(struct http_waits *w)
{
    struct letter *letter = mailbox_take(&w->ended_tasks);
    while (letter != NULL) {
        struct letter *next = letter->next;
        task_ended(w, CONTAINER_OF(letter, struct http_task, ended_letter));
        letter = next;
    }
}

void waits_deinit(struct http_waits *w)
{
    struct letter *letter = mailbox_take(&w->ended);
    while (letter != NULL) {
        struct letter *next = letter->next;
        write_destroy(CONTAINER_OF(letter, struct http_write, ended));
        w->write_count--;
        letter = next;
    }
    ASSERT(w->write_count == 0);
    while (w->task_count > 0) {
        static const struct timespec pause = {0, 5 * 1000 * 1000};
        take_tasks(w);
        if (w->task_count > 0)
            nanosleep(&pause, NULL);
    }
}

/* --- the list ----------------------------------------------------------- */

static void enlist(struct http_request *rq, enum http_wait_kind kind,
                   unsigned wait_ms, http_resume_fn *resume)
{
    struct http_waits *w = rq->waits;
    ASSERT(rq->wait == WAIT_NONE);
    rq->wait = kind;
    rq->wait_until_ms = clock_mono_ms() + wait_ms;
    rq->wait_status = 0;
    rq->resume = resume;
    rq->previous = NULL;
    rq->next = w->first;
    if (w->first != NULL)
        w->first->previous = rq;
    w->first = rq;
    atomic_fetch_add(&w->waiting_count, 1);
    /* The applied index may have passed what we wait for before the applier
     * could see that somebody waits. */
    w->wake(w->arg);
}

static void delist(struct http_request *rq)
{
    struct http_waits *w = rq->waits;
    if (rq->previous != NULL)
        rq->previous->next = rq->next;
    else
        w->first = rq->next;
    if (rq->next != NULL)
        rq->next->previous = rq->previous;
    rq->previous = rq->next = NULL;
    rq->wait = WAIT_NONE;
    if (rq->write != NULL)
        rq->write->request = NULL;
    rq->write = NULL;
    if (rq->task != NULL && !rq->task->ended) {
        rq->task->request = NULL;
        atomic_store(&rq->task->abandoned, true);
        rq->task = NULL;
    }
    atomic_fetch_sub(&w->waiting_count, 1);
}

static void ready(struct http_request *rq, int status)
{
    /* What was refused was, whether this replica has come that far or not. */
    bool refused = rq->wait == WAIT_INDEX && rq->outcome.index != 0 &&
                   rq->outcome.code != OUTCOME_TAKEN;
    delist(rq);
    rq->wait_status = refused ? 0 : status;
    rq->waits->ready(rq);
}

/* --- barriers ----------------------------------------------------------- */

static void barrier_start(struct http_waits *w)
{
    struct buf record = {0};
    bool wanted = false;
    for (struct http_request *rq = w->first; rq != NULL; rq = rq->next)
        wanted = wanted || rq->wait == WAIT_NEXT_BARRIER;
    if (!wanted || w->barrier != NULL)
        return;
    record_put_tick(&record);
    struct http_write *write = write_start(w, &record);
    if (write == NULL)
        return; /* tried again when a write has ended; readers have deadlines */
    write->barrier = true;
    w->barrier = write;
    for (struct http_request *rq = w->first; rq != NULL; rq = rq->next)
        if (rq->wait == WAIT_NEXT_BARRIER)
            rq->wait = WAIT_BARRIER;
    repl_submit(w->node->repl, &write->submission);
}

static void barrier_ended(struct http_waits *w, struct http_write *write)
{
    struct http_request *next;
    w->barrier = NULL;
    for (struct http_request *rq = w->first; rq != NULL; rq = next) {
        next = rq->next;
        if (rq->wait != WAIT_BARRIER)
            continue;
        if (write->status != 0) {
            ready(rq, write->status);
            continue;
        }
        rq->wait = WAIT_INDEX;
        rq->wait_index = write->submission.outcome.index;
    }
}

/* --- the run ------------------------------------------------------------ */

static void write_ended(struct http_waits *w, struct http_write *write)
{
    struct http_request *rq = write->request;
    if (write->barrier) {
        barrier_ended(w, write);
    } else if (rq != NULL) {
        write->request = NULL;
        rq->write = NULL;
        rq->outcome = write->submission.outcome;
        rq->wait = WAIT_INDEX;
        rq->wait_index = rq->outcome.index;
        if (write->status != 0)
            ready(rq, write->status);
    }
    w->write_count--;
    write_destroy(write);
}

static void task_ended(struct http_waits *w, struct http_task *t)
{
    struct http_request *rq = t->request;
    w->task_count--;
    t->ended = true;
    if (rq != NULL)
        ready(rq, t->status);
    else
        t->destroy(t);
}

static bool is_barrier(const struct http_request *rq)
{
    return rq->wait == WAIT_NEXT_BARRIER || rq->wait == WAIT_BARRIER;
}

unsigned waits_run(struct http_waits *w, unsigned most)
{
    struct letter *letter = mailbox_take(&w->ended);
    while (letter != NULL) {
        struct letter *next = letter->next;
        write_ended(w, CONTAINER_OF(letter, struct http_write, ended));
        letter = next;
    }
    take_tasks(w);
    barrier_start(w);
    if (w->first == NULL)
        return most;

    uint64_t applied = store_applied_index(w->node->store);
    uint64_t now = clock_mono_ms();
    struct http_request *next;
    for (struct http_request *rq = w->first; rq != NULL; rq = next) {
        next = rq->next;
        if (rq->wait == WAIT_INDEX && applied >= rq->wait_index)
            ready(rq, 0);
        else if (rq->wait == WAIT_STREAM && http_stream_is_ready(rq->stream))
            ready(rq, 0);
        else if (rq->wait_until_ms <= now)
            ready(rq, is_barrier(rq) ? ERR_AGAIN : ERR_TIMEOUT);
        else if (rq->wait_until_ms - now < most)
            most = (unsigned)(rq->wait_until_ms - now);
    }
    return most;
}

void waits_close(struct http_waits *w)
{
    while (w->first != NULL)
        ready(w->first, ERR_CLOSED);
}

void waits_forget(struct http_waits *w, struct http_request *rq)
{
    (void)w;
    if (rq->wait != WAIT_NONE)
        delist(rq);
    if (rq->task != NULL)
        rq->task->destroy(rq->task);
    rq->task = NULL;
    if (rq->stream != NULL)
        http_stream_leave(rq->stream);
    rq->stream = NULL;
}

/* --- streams -------------------------------------------------------------- */

int waits_stream_begin(struct http_waits *w, struct http_task *t, size_t most)
{
    if (w->stream_count >= most || w->task_count == HTTP_TASKS_MAX)
        return ERR_LIMIT;
    w->stream_count++;
    w->task_count++;
    t->waits = w;
    return 0;
}

void waits_stream_end(struct http_waits *w)
{
    w->stream_count--;
}

void waits_stream_withdraw(struct http_waits *w)
{
    w->stream_count--;
    w->task_count--;
}

void waits_stream(struct http_request *rq)
{
    enlist(rq, WAIT_STREAM, STREAM_WAIT_MS, NULL);
}

void waits_applied(struct http_waits *w)
{
    if (atomic_load(&w->waiting_count) > 0)
        w->wake(w->arg);
}

/* --- what handlers call (node/http.h) ------------------------------------ */

void http_submit(struct http_request *rq, struct buf *record,
                 http_resume_fn *resume)
{
    struct http_write *write = write_start(rq->waits, record);
    if (write == NULL) {
        http_error(rq, 503, "overload", "too many writes are under way");
        return;
    }
    write->request = rq;
    rq->write = write;
    rq->outcome = (struct outcome){0}; /* of a write before */
    enlist(rq, WAIT_WRITE, HTTP_WRITE_WAIT_MS, resume);
    repl_submit(rq->node->repl, &write->submission);
}

int http_await_task(struct http_request *rq, struct http_task *t,
                    unsigned wait_ms, http_resume_fn *resume)
{
    struct http_waits *w = rq->waits;
    if (w->task_count == HTTP_TASKS_MAX) {
        http_error(rq, 503, "overload", "too many requests of this kind wait");
        return ERR_LIMIT;
    }
    w->task_count++;
    t->waits = w;
    t->request = rq;
    rq->task = t;
    enlist(rq, WAIT_TASK, wait_ms, resume);
    return 0;
}

void http_task_end(struct http_task *t)
{
    mailbox_push(&t->waits->ended_tasks, &t->ended_letter);
}

void http_await_index(struct http_request *rq, uint64_t index, unsigned wait_ms,
                      http_resume_fn *resume)
{
    rq->wait_index = index;
    if (store_applied_index(rq->node->store) >= index)
        resume(rq, 0);
    else
        enlist(rq, WAIT_INDEX, wait_ms, resume);
}

void http_await_barrier(struct http_request *rq, http_resume_fn *resume)
{
    enlist(rq, WAIT_NEXT_BARRIER, HTTP_READ_WAIT_MS, resume);
}
