/* What requests wait for: the outcome of a write, an applied index, a barrier,
 * the end of a task. Waiting requests are a list on the http thread; other
 * threads only push what ended into a mailbox or say that the applied index
 * moved. */
#pragma once

#include "node/http.h"

/* In flight, abandoned ones included; tasks of streams count as tasks too. */
enum { HTTP_WRITES_MAX = 256, HTTP_TASKS_MAX = 64 };

/* The request is to be looked at again by the server. */
typedef void http_ready_fn(struct http_request *rq);

struct http_waits {
    struct node *node; /* borrowed */
    http_ready_fn *ready;
    mailbox_wake_fn *wake; /* any thread: makes the http thread run */
    void *arg;             /* of wake */
    /* any thread */
    struct mailbox ended;       /* struct http_write */
    struct mailbox ended_tasks; /* struct http_task */
    _Atomic unsigned waiting_count;
    /* http thread */
    struct http_request *first;
    size_t write_count, task_count, stream_count;
    struct http_write *barrier; /* in flight, NULL if none */
};

void waits_init(struct http_waits *w, struct node *n, http_ready_fn *ready,
                mailbox_wake_fn *wake, void *arg);
/* The replica must have ended all submissions: nothing is in flight. Waits for
 * tasks of other threads, which see that they are abandoned. */
void waits_deinit(struct http_waits *w);

/* Readies what is fulfilled or out of time; returns the ms until the next
 * deadline, @most if there is none sooner. */
unsigned waits_run(struct http_waits *w, unsigned most);

/* A stream's task begins, of at most @most streams, and has ended. ERR_LIMIT.
 */
NODISCARD int waits_stream_begin(struct http_waits *w, struct http_task *t,
                                 size_t most);
void waits_stream_end(struct http_waits *w);
/* It could not be started after all. */
void waits_stream_withdraw(struct http_waits *w);

/* Waits for something to send. */
void waits_stream(struct http_request *rq);

/* Readies everything with ERR_CLOSED. */
void waits_close(struct http_waits *w);

/* The request goes away; a write or a task in flight is left to itself, one
 * that ended is destroyed. */
void waits_forget(struct http_waits *w, struct http_request *rq);

/* Any thread: the applied index moved. */
void waits_applied(struct http_waits *w);
