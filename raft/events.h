/* What the replica has to tell: libraries do not log, so everything goes to the
 * daemon's repl_event_fn. Any thread. A fatal event is told once; afterwards
 * nothing of the replica takes new work, in case the process lives on (tests).
 * What strangers cause is told at most once a minute per source. */
#pragma once

#include "raft/replica.h"

#include <pthread.h>
#include <stdatomic.h>

enum { EVENT_SOURCES_MAX = 64, EVENT_QUIET_MS = 60 * 1000 };

struct events {
    repl_event_fn *fn; /* may be NULL */
    void *arg;         /* borrowed from the daemon */
    atomic_bool failed;
    /* the loop's: sources that were reported lately */
    struct {
        uint64_t key, until_ms;
    } quiet[EVENT_SOURCES_MAX];
};

void events_init(struct events *v, repl_event_fn *fn, void *arg);

void events_info(struct events *v, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void events_warn(struct events *v, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void events_fatal(struct events *v, int exit_code, const char *event,
                  const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What this node needs to go on lies on its disk: REPL_RESTART. Afterwards as
 * after a fatal event. */
void events_restart(struct events *v, const char *event, const char *format,
                    ...) __attribute__((format(printf, 3, 4)));

static inline bool events_failed(const struct events *v)
{
    return atomic_load_explicit(&v->failed, memory_order_acquire);
}

/* True if something about @source may be told now; false for the next minute.
 * Loop thread. */
bool events_may_tell(struct events *v, const char *source, uint64_t now_ms);
